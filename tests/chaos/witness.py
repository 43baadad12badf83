"""A witness of ends: it listens on the channel that every end is told on, and knows nothing of records or counters.

It may miss some (it is disconnected like everybody else), but two ends of one job, or an end that the record later denies, are a bug.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

import redis

CHANNEL = "celery-task-meta-*"
STATUS = {"SUCCESS": "completed", "FAILURE": "failed", "REVOKED": "cancelled"}


@dataclass(frozen=True, slots=True)
class Heard:
    """An end."""

    status: str
    at: float


class Witness:
    """`heard`: how each job was heard to end, as often as it was heard."""

    def __init__(self, url: str) -> None:
        self.heard: dict[str, list[Heard]] = defaultdict(list)
        self._url = url
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="witness", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _listen(self) -> None:
        while not self._closing.is_set():
            with redis.Redis.from_url(self._url, decode_responses=True, retry=None) as client:
                try:
                    with client.pubsub(ignore_subscribe_messages=True) as channel:
                        channel.psubscribe(CHANNEL)
                        self._hear(channel)
                except (redis.ConnectionError, redis.TimeoutError):
                    self._closing.wait(0.05)

    def _hear(self, channel: redis.client.PubSub) -> None:
        while not self._closing.is_set():
            message = channel.get_message(timeout=0.2)
            if message is not None:
                meta = json.loads(message["data"])
                if meta["status"] in STATUS:
                    self.heard[meta["task_id"]].append(Heard(STATUS[meta["status"]], time.time()))
