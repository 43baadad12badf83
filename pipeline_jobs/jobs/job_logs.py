"""The log of a job, page by page: what the store has of it, and the files that have the whole logs of its runs (`docs/logs.md`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from pipeline_jobs.events.job_log import JobLog
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.jobs.log_keeper import file_path
from pipeline_jobs.runlog.lines import Line, wanted

logger = structlog.get_logger(__name__)

#: Most lines of a page.
MAX_LINES = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines of a job's log."""

    lines: Sequence[Line]
    #: What the next page begins after; None: there is nothing more now.
    next_after: int | None
    #: The last line that was looked at: what is asked after it is new.
    reached: int
    #: The job has ended and the page reaches the end of its log.
    complete: bool


def page(log: JobLog, artifacts: ArtifactStore, limit: int = 100, attempt: int | None = None, level: int = 0) -> Page:
    """The first lines of what was read.

    :param attempt: only lines of this one. :param level: the least; that lines are missing is told all the same.
    """
    lines = list(wanted(log.with_lines_of(list(_texts(log, artifacts))).shown(), attempt, level))
    more = len(lines) > limit
    reached = lines[limit - 1].number if more else max(log.last, log.after)
    return Page(lines[:limit], reached if more else None, reached, log.ended and not more)


def _texts(log: JobLog, artifacts: ArtifactStore) -> Iterator[str]:
    """Of the files that have lines after the number that is asked for. One that cannot be read shows as missing lines."""
    for file in log.files:
        if file.last <= log.after:
            continue
        try:
            yield artifacts.read(file_path(log.tenant_id, file.blob)).decode(errors="replace")
        except (FileNotFoundError, StoreUnavailable) as error:
            logger.warning("the log of a run cannot be read", job_id=log.job_id, error=str(error))
