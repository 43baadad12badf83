"""What a cancel replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pipeline_jobs.job import Job
from pipeline_jobs.states import TERMINAL, JobStatus
from pipeline_jobs.store.readable import known


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel found, and what the job is after it."""

    #: What the script tells of a job whose whole record is not asked for.
    TOLD: ClassVar[tuple[str, ...]] = ("status", "order", "tenant_id", "workspace_id", "pipeline")

    #: The status that the job had.
    was: JobStatus
    #: Of the record after it: all of them where the caller asked for that, else `TOLD`. A damaged one may lack any but its status.
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
        return self.fields.get("tenant_id", "")

    @property
    def workspace_id(self) -> str:
        return self.fields.get("workspace_id", "")

    @property
    def pipeline(self) -> str:
        return self.fields.get("pipeline", "")

    @property
    def job(self) -> Job:
        """The whole record, which the caller has asked for. :raises DamagedRecord: it cannot be read."""
        return known(self.fields)
