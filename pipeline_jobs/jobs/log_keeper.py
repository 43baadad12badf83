"""Writes the log of a run: its lines into the store, in batches, and if there are more than the store keeps, all of them into a file.

The file lies with the kept outputs, `{tenant}/_outputs/{sha256}-{bytes}`: it is counted for the tenant and removed with the record that
names it, as those are. The record names it before it is there, so no file is ever left that no record knows.

A log yields to the job: whatever cannot be written is lost, and the run goes on. It shows as missing lines.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TypeVar

import structlog

from pipeline_jobs.exceptions import PublishError, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job
from pipeline_jobs.jobs.outputs import FOLDER
from pipeline_jobs.runlog.capture import captured
from pipeline_jobs.runlog.masking import Mask
from pipeline_jobs.runlog.run_log import Batch, RunLog
from pipeline_jobs.runlog.secret_params import texts_of
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)

T = TypeVar("T")

#: Batches that wait for a store that is away; of more the oldest are dropped: the store would not keep them either.
MOST_UNSENT = 8


def file_path(tenant_id: str, blob: str) -> str:
    """Where the log of a run lies in the artifact store."""
    return f"{tenant_id}/{FOLDER}/{blob}"


class LogKeeper:
    """Of one run."""

    def __init__(self, store: Store, artifacts: ArtifactStore, job: Job, secrets: Iterable[str] = ()) -> None:
        """:param secrets: values that are not to be in the log, besides those that the job's record hides."""
        self._store, self._artifacts, self._job = store, artifacts, job
        self.log = RunLog(job.attempt, job.log_lines, Mask([*secrets, *texts_of(job.secret_params)]))
        if job.secret_params:
            self.log.shown = self.log.masked
        if job.part:
            self.log.suffix = f" part {job.part['number']}"
        self._unsent: deque[Batch] = deque(maxlen=MOST_UNSENT)
        #: One thread sends at a time: the lines are in their order.
        self._sending = threading.Lock()

    def __enter__(self) -> LogKeeper:
        self._captured = captured(self.log)
        self._captured.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._captured.__exit__(None, None, None)
        finally:
            self.close()

    def looking(self, look: Callable[[], T]) -> Callable[[], T]:
        """The look that a run is watched by, which also sends what has been said since the last one."""

        def looked() -> T:
            self.send()
            return look()

        return looked

    def send(self) -> None:
        """Send what there is. A job that says nothing costs no call."""
        with self._sending:
            if batch := self.log.take():
                self._unsent.append(batch)
            self._send_all()

    def close(self) -> None:
        """The stages are over: the last lines, and the file."""
        with self._sending:
            last = self.log.close()
            if last is None and not self._unsent and not self.log.overflowed:
                return
            self._unsent.append(last or Batch(self.log.number, ()))
            # Of a part there is no file: its numbers are not those of its job's log.
            self._send_all(*(self._file() if self.log.overflowed and not self._job.part_of else ("", b"")))

    def _send_all(self, row: str = "", data: bytes = b"") -> None:
        """Each batch as it was: sent again after a lost answer, the store knows it by its numbers. The last one names the file.

        What the store does not take now it is sent the next time.
        """
        try:
            while self._unsent:
                batch, final = self._unsent[0], len(self._unsent) == 1
                if not self._store.append_log(self._job.job_id, self._job.fence, batch.last, batch.pieces, row if final else ""):
                    # Another run has the job: nothing that this one says counts.
                    self._unsent.clear()
                    return
                self._unsent.popleft()
            if row:
                self._put(row.rpartition(":")[2], data)
        except StoreUnavailable as error:
            logger.warning("the log of a job cannot be written now", seldom=True, error=str(error))

    def _file(self) -> tuple[str, bytes]:
        """The row by which the record names it, `{first}:{last}:{sha256}-{bytes}`, and what is in it."""
        first, data = self.log.file()
        return f"{first}:{self.log.number}:{hashlib.sha256(data).hexdigest()}-{len(data)}", data

    def _put(self, blob: str, data: bytes) -> None:
        path = file_path(self._job.tenant_id, blob)
        try:
            if not self._artifacts.exists(path):
                self._artifacts.write(data, path)
        except (PublishError, StoreUnavailable) as error:
            logger.warning("the log of a job cannot be stored as a file", seldom=True, error=str(error))


def kept_log(store: Store, artifacts: ArtifactStore, job: Job, secrets: Iterable[str] = ()) -> AbstractContextManager[LogKeeper]:
    """What is said in this block is the job's log; it is written when the block is left, whichever way."""
    return LogKeeper(store, artifacts, job, secrets)
