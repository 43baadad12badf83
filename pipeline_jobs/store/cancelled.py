"""What a cancel replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_jobs.job import Job
from pipeline_jobs.states import TERMINAL, JobStatus


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel found, and what the job is after it."""

    #: The status that the job had.
    was: JobStatus
    #: Of the record after it: all of them where the caller asked for that, else those that have a property here.
    fields: Mapping[str, str]

    @property
    def status(self) -> JobStatus:
        return JobStatus(self.fields["status"])

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def order(self) -> int | None:
        """None: the record is damaged, and has none."""
        return int(self.fields["order"]) if self.fields.get("order") else None

    @property
    def tenant_id(self) -> str:
        return self.fields["tenant_id"]

    @property
    def workspace_id(self) -> str:
        return self.fields["workspace_id"]

    @property
    def pipeline(self) -> str:
        return self.fields["pipeline"]

    @property
    def job(self) -> Job:
        """The whole record, which the caller has asked for."""
        return Job.from_mapping(self.fields)
