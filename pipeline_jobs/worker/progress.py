"""A run's progress by Celery's door: a run writes it by `update_state` of its own task, as a team's own code may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_jobs.store.store import Store

#: The state that progress is written with. Any other that Celery does not know does as well.
PROGRESS = "PROGRESS"


class TaskProgress:
    """Where a run of this task writes its progress (`run.Progress`)."""

    def __init__(self, task: Any, store: Store, request: Any) -> None:
        """:param request: the run's: the thread that writes has none of Celery's."""
        self._task, self._store, self._request = task, store, request

    def progress(
        self, job_id: str, fence: int, percent: float | None, stage: str, message: str | None, passed: Sequence[tuple[str, float | str]]
    ) -> str:
        """As `Store.progress`. With nothing to write the store is asked directly: that is no state of a task."""
        if percent is None:
            return self._store.progress(job_id, fence, None)
        meta = {"progress": percent, "stage": stage, "message": message}
        return str(self._task.update_state(job_id, PROGRESS, meta, request=self._request, passed=passed))


def progress_of(meta: Any) -> tuple[float | None, str, str | None]:
    """Percent, stage and message out of what `update_state(state="PROGRESS", meta=...)` was given.

    Understood: `progress` or `percent` (0-100), or `current` and `total`; `stage`; `message` or `status`.
    """
    if not isinstance(meta, Mapping):
        return None, "", None
    percent: float | None = None
    try:
        if "current" in meta and meta.get("total"):
            percent = 100.0 * float(meta["current"]) / float(meta["total"])
        elif (value := meta.get("progress", meta.get("percent"))) is not None:
            percent = float(value)
    except (TypeError, ValueError):
        percent = None
    if percent is not None:
        percent = round(min(max(percent, 0.0), 100.0), 1)
    message = meta.get("message", meta.get("status"))
    return percent, str(meta.get("stage") or ""), None if message is None else str(message)
