"""Where a process notes which job it runs, for whoever sees it die."""

from __future__ import annotations

import secrets

from pipeline_jobs.job import Job


class Seat:
    """What the executor says of each run, before and after it asks the store for a job.

    This one is for processes that nobody gives back for: it notes nothing, and is handed no next job (`worker.seats` has the other).
    """

    def handed(self, job_id: str) -> Job | None:
        """The job of this run, if the finish of the one before has handed it over."""
        return None

    def asks(self) -> str:
        """:return: the nonce of a claim, noted before the claim is sent."""
        return secrets.token_hex(8)

    def asks_for_next(self) -> str:
        """:return: the nonce of the run that a finish may hand over, noted before the finish is sent; empty: it is to hand over none."""
        return ""

    def has(self, job: Job) -> None:
        """The store has said: this one is its job."""

    def has_none(self) -> None:
        """The store has said: it has none."""
