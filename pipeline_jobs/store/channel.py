"""Listening to the server's channels."""

from __future__ import annotations

from collections.abc import Set
from types import TracebackType
from typing import Any

from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.reader import Reader


class Channel:
    """A connection that listens; not to be shared by threads. Every method raises `StoreUnavailable` when the server cannot be heard."""

    def __init__(self, store: Reader) -> None:
        self._listener: Any = store.client.pubsub()
        self._wanted: set[str] = set()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()

    def listen_to(self, names: Set[str]) -> set[str]:
        """To these channels and no others. :return: those that are not listened to any more."""
        come, gone = names - self._wanted, self._wanted - names
        with store_errors():
            if come:
                self._listener.subscribe(*come)
            if gone:
                self._listener.unsubscribe(*gone)
        self._wanted = set(names)
        return gone

    def begin_again(self) -> None:
        """On a new connection, to the same channels."""
        with store_errors():
            self._listener.reset()
            self._listener.subscribe(*self._wanted)

    def next(self, timeout: float) -> tuple[str, str | None] | None:
        """What is heard within so many seconds: (channel, text), or (channel, None) as the server begins to tell of it; None: nothing.

        It begins at first, and again after a lost connection: what was told before then was not heard.
        """
        with store_errors():
            message = self._listener.get_message(timeout=timeout)
        if message is None or message["type"] not in ("subscribe", "message"):
            return None
        return message["channel"], message["data"] if message["type"] == "message" else None
