"""What a cancel replies."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel found, and the record after it."""

    #: The status that the job had.
    was: JobStatus
    job: Job
