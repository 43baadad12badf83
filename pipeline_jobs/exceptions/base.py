"""The root of every error of pipeline-jobs."""

from __future__ import annotations

from typing import ClassVar


class PipelineJobsError(Exception):
    """Something went wrong in pipeline-jobs."""

    #: Stable word for programs; clients may switch on it.
    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        return str(self)
