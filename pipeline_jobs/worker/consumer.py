"""Celery's consumer with a fix: a message that outlived its connection is not acknowledged.

Written against Celery 5.7.0 and kombu 5.7.0: look again at every bump (docs/decisions/0008-an-acknowledgement-after-the-end.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.utils.log import get_logger
from celery.worker.consumer import Consumer

logger = get_logger(__name__)


class JobConsumer(Consumer):
    """`worker_consumer`, for workers of every queue."""

    def call_soon_ack(self, p: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Acknowledge or reject a message in the event loop's next round. By then its channel may be closed."""
        return super().call_soon_ack(_unless_closed, p, *args, **kwargs)


def _unless_closed(answer: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """As a channel is closed, kombu delivers what lies in its socket. What Celery answers to that comes in the loop of the next connection.

    A queue that is acknowledged has the message again by then, and gives it anew; to any other there is nothing to say.
    """
    message = answer.__self__  # type: ignore[attr-defined]
    if message.channel.connection is None:
        logger.warning("message %s arrived while its connection was closing and is not acknowledged", message.delivery_tag)
        return
    answer(*args, **kwargs)
