"""How a process that waits for several tasks hears of their ends: Celery's consumer of the Redis backend, with jobs among them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from celery import states
from celery.backends.redis import ResultConsumer

#: Longest time between two looks at what is waited for, in seconds: the news of an end may be lost, or come before the subscription does.
LOOK_SECONDS = 2.0


class JobResultConsumer(ResultConsumer):
    """Looks at the records: a job's outcome is in no key of Celery's, and nobody subscribes to a job as it is submitted."""

    def _wait_for_pending(self, result: Any, on_interval: Callable[[], None] | None = None, **options: Any) -> Iterator[None]:
        due = time.monotonic()

        def each_interval() -> None:
            nonlocal due
            if on_interval:
                on_interval()
            if time.monotonic() >= due:
                self._look()
                due = time.monotonic() + LOOK_SECONDS

        return super()._wait_for_pending(result, on_interval=each_interval, **options)  # type: ignore[no-any-return]

    def on_state_change(self, meta: dict[str, Any], message: Any) -> None:
        """What was published of a job's end has the reference to a large result."""
        super().on_state_change(self.backend.with_result(meta), message)

    def cancel_later(self, task_id: str) -> None:
        """End a subscription with the next thing that is said to the server."""
        self._pending_unsubscribe.add(self._get_key_for_task(task_id))

    def _reconnect_pubsub(self) -> None:
        super()._reconnect_pubsub()
        self._look()

    def _look(self) -> None:
        """Hand on what has ended of all that somebody waits for, in a nested group as well."""
        waited_for = {task_id for mapping in self._pending_results for task_id in tuple(mapping)}
        for _, meta in self.backend.get_many(waited_for, max_iterations=1):
            if meta["status"] in states.READY_STATES:
                self.on_state_change(meta, None)
