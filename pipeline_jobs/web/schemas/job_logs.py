"""The log of a job, as a page and as a stream."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from pipeline_jobs.jobs.job_logs import MAX_LINES
from pipeline_jobs.web.schemas.events import SocketRequest
from pipeline_jobs.web.schemas.fields import integer

LineLimit = Annotated[int, *integer(1, MAX_LINES, 100)]
Attempt = Annotated[int, *integer(1, 10**6, 1)]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class LogsRequest(SocketRequest):
    """Which lines."""

    limit: LineLimit = Field(100, description="Maximum number of lines on a page. A stream has no pages.")
    attempt: Attempt | None = Field(None, description="Only lines of this attempt.")
    level: Level | None = Field(None, description="Only lines of this level and above it. Where lines are missing is told all the same.")


class LogLine(BaseModel):
    """One line of a job's log."""

    number: int = Field(ge=1, description="Its number in the log, over all attempts; the lines that were dropped are counted.")
    time: str = Field(examples=["2025-01-03T12:00:00.000Z"], description="By the clock of the worker's machine.")
    attempt: int = Field(description="The attempt that wrote it.")
    stage: str | None = Field(description="The stage that ran.")
    level: Level = Field(description="How serious it is.")
    logger: str = Field(description="The logger's name; `stage` for `context.log`, `stdout` and `stderr` for what was printed.")
    message: str = Field(description="At most 3,000 bytes. Control characters are written out, but for new lines and tabs.")
    dropped: int = Field(description="If not 0, this line stands for so many that are missing, the last of them with this `number`.")


class LogLines(BaseModel):
    """One page of a job's log, oldest line first."""

    lines: list[LogLine] = Field(description="The lines.")
    count: int = Field(description="Number of lines on this page.")
    next_after: int | None = Field(description="The `after` of the next page; null: there are no more lines now.")
    reached: int = Field(description="The `after` to continue with later.")
    complete: bool = Field(description="True if the job has ended and this page has its last line.")
