"""Reads the log of a job as the store has it (`lua/jobs/log_page.lua`): its newest lines. The whole is read by `jobs/job_logs.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.runlog.lines import Line, merged, read, with_gaps
from pipeline_jobs.states import TERMINAL
from pipeline_jobs.store.store import Store


@dataclass(frozen=True, slots=True)
class LogFile:
    """The whole log of a run of the job, as far as the run kept it."""

    first: int
    last: int
    #: Its name among the kept outputs: `{sha256}-{bytes}`.
    blob: str


@dataclass(frozen=True, slots=True)
class JobLog:
    """Lines of a job, in order, after a number."""

    job_id: str
    tenant_id: str
    workspace_id: str
    lines: tuple[Line, ...]
    after: int
    #: Number of the last line that was sent.
    last: int
    files: tuple[LogFile, ...]
    #: The job has ended: nothing will follow.
    ended: bool
    #: Some line up to `after`, if one was read.
    before: Line | None = None

    def with_lines_of(self, files: Sequence[str]) -> JobLog:
        """The same with what these files have besides."""
        lines = merged(*(list(read(text)) for text in files), self.lines)
        before = next((line for line in reversed(lines) if line.number <= self.after), self.before)
        return replace(self, lines=tuple(line for line in lines if line.number > self.after), before=before)

    def shown(self) -> list[Line]:
        """The lines, and where some are missing one that says so."""
        return list(with_gaps(self.lines, self.after, self.last, self.before))


def read_many(store: Store, jobs: Sequence[tuple[str, int]]) -> list[JobLog | None]:
    """What the store has of several (job, number) in one round trip; None for a job that does not exist."""
    replies = store.run_each("log_page", [{"id": job_id, "after": after} for job_id, after in jobs])
    return [_log(job_id, reply, after) for (job_id, after), reply in zip(jobs, replies, strict=True)]


def read_one(store: Store, job_id: str, after: int = 0) -> JobLog:
    """What the store has of the log of one job, after the line of this number. :raises UnknownJob:"""
    (found,) = read_many(store, [(job_id, after)])
    if found is None:
        raise UnknownJob
    return found


def _log(job_id: str, found: Any, after: int) -> JobLog | None:
    if found is None:
        return None
    lines = [line for piece in found.pieces for line in read(piece)]
    before = next((line for line in reversed(lines) if line.number <= after), None)
    new, files, ended = tuple(line for line in lines if line.number > after), _files(found.files), found.status in TERMINAL
    return JobLog(job_id, found.tenant_id, found.workspace_id, new, after, int(found.last), files, ended, before)


def _files(text: str) -> tuple[LogFile, ...]:
    rows = [one.split(":") for one in text.split(",") if one]
    return tuple(LogFile(int(first), int(last), blob) for first, last, blob in rows)
