"""What the HTTP face needs from the rest, as protocols. `wsgi.py` brings the real ones, unit tests bring fakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from pipeline_jobs.client import JobPage, JobQuery
from pipeline_jobs.job import Job, NewJob, StepResult
from pipeline_jobs.pipelines import Registry, registry


class Client(Protocol):
    """The way in: `pipeline_jobs.client`."""

    def submit(self, new: NewJob) -> Job:
        """The job, durably accepted.

        :raises InvalidInput: names the field; `UnknownPipeline` is one.
        :raises StoreUnavailable: nothing was accepted.
        """

    def list(self, query: JobQuery) -> JobPage:
        """One page, newest first.

        :raises InvalidInput: a filter or the cursor is wrong.
        :raises StoreUnavailable: try again later.
        """


class JobHandle(Protocol):
    """Celery's AsyncResult of a job. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def record(self) -> Job:
        """:raises UnknownJob: there is none."""

    def revoke(self) -> Job:
        """Cancel. The record after it: `cancelled`, or `running` with `cancel_requested`, or unchanged if it had ended.

        :raises UnknownJob: there is none.
        """

    def forget(self) -> None:
        """Delete an ended job with its artifacts.

        :raises JobNotEnded: cancel it first.
        :raises UnknownJob: there is none.
        """

    def until_ended(self, timeout: float) -> Job:
        """The record when the job has ended, or as it is after `timeout` seconds.

        :raises UnknownJob: there is none (any more).
        """


class Artifacts(Protocol):
    """The artifact store. Paths are relative to it: `{tenant}/{workspace}/{job}/{fence}/{name}`."""

    def verify(self, path: str, signature: str) -> bool:
        """True if we signed this path."""

    def open(self, path: str) -> BinaryIO:
        """:raises FileNotFoundError: there is no such file."""

    def size(self, path: str) -> int:
        """In bytes.

        :raises FileNotFoundError: there is no such file.
        """


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the HTTP face stands on."""

    client: Client
    #: `results(job_id)` gives the handle; it asks the store nothing yet.
    results: Callable[[str], JobHandle]
    #: Runs a pipeline in this process (the queue is off). Raises `InvalidInput`, or `StageError` when a stage failed.
    run_in_process: Callable[[NewJob], StepResult]
    artifacts: Artifacts
    #: The Prometheus text.
    metrics: Callable[[], bytes]
    #: `{"store": {"ok": true, "reason": null}, "broker": ..., "workers": ..., "beat": ...}`.
    readiness: Callable[[], Mapping[str, Mapping[str, Any]]]
    pipelines: Registry = registry
