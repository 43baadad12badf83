"""What a server's clients are told by PUBLISH, whole, without a length of time.

A look with a time-out at a subscription finds nothing on a slow machine: neither that it has begun, nor what was published a moment ago.
A confirmation that comes late reads as the end of what there is.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tests.waiting import until

Message = dict[str, Any]


@contextmanager
def heard(client: redis.Redis, pattern: str) -> Iterator[Callable[[], list[Message]]]:
    """Inside it all that is published on these channels is kept; a call gives what was published since the last one.

    :param client: decodes what it is told.
    """
    mark = f"heard:{secrets.token_hex(8)}"
    with client.pubsub() as subscription:

        def told() -> Message:
            message: Message = until(lambda: subscription.get_message(timeout=1), "a message")
            return message

        subscription.psubscribe(pattern)
        subscription.subscribe(mark)
        assert {told()["type"], told()["type"]} == {"psubscribe", "subscribe"}

        def since() -> list[Message]:
            # A server tells in the order in which it was told: what comes before our own message is all.
            client.publish(mark, "")
            messages: list[Message] = []
            while (message := told())["type"] != "message":
                # The pattern may have the mark of the call before in it.
                messages += [message] if message["channel"] != mark else []
            return messages

        yield since
