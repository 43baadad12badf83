"""`/pipeline/jobs/bulk`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.web.schemas.fields import Body
from pipeline_jobs.web.schemas.jobs import Filters
from pipeline_jobs.web.schemas.pages import Cursor

Action = Literal["cancel", "retry", "delete"]


class BulkFilter(Filters):
    """The filters of `GET /pipeline/jobs`, at least one of them."""

    model_config = ConfigDict(strict=True, extra="forbid")

    status: list[Literal["queued", "running", "completed", "failed", "cancelled"]] = Field(
        default_factory=list,
        max_length=5,
        description="Absent: `queued` and `running` to cancel, `failed` to retry, all that have ended to delete.",
    )


class BulkRequest(Body):
    """What to do, and to which jobs."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"action": "retry", "filter": {"tenant_id": "acme", "batch_id": "batch_1704326400_abc12345"}}]}
    )

    action: Action = Field(description="What is done to each job that matches.")
    filter: BulkFilter = Field(description="Which jobs.")
    dry_run: bool = Field(False, description="`true`: only count the jobs.")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the previous answer.")

    def to_query(self) -> JobQuery:
        """:raises InvalidInput: it names no filter: a request that says nothing must not change everything."""
        query = self.filter.narrowed(self.filter.status, cursor=self.cursor)
        if not query.filters():
            raise InvalidInput("name at least one filter, such as tenant_id", field="filter")
        if self.action == "cancel" and not {"queued", "running"}.issuperset(self.filter.status):
            raise InvalidInput("status must be of jobs that have not ended: queued, running", field="filter.status")
        if self.action != "cancel" and not {"queued", "running"}.isdisjoint(self.filter.status):
            raise InvalidInput("status must be of jobs that have ended: completed, failed, cancelled", field="filter.status")
        return query


class NotDone(BaseModel):
    """A job that was left as it was, and why."""

    job_id: str = Field(description="The job.")
    code: str = Field(description="Why it was left, for programs.")
    message: str = Field(description="Why it was left, for people.")


class Bulk(BaseModel):
    """What was done, or would be done."""

    action: Action = Field(description="As in the request.")
    dry_run: bool = Field(description="As in the request: `true` if the jobs were only counted.")
    matched: int = Field(description="Jobs that match, of those that this request looked at.")
    done: int = Field(description="Jobs that were cancelled (or are being stopped), retried or deleted; 0 with `dry_run`.")
    not_done: list[NotDone] = Field(description="Jobs that were left as they were.")
    next_cursor: str | None = Field(description="Send the request again with this `cursor`: there are more. null: that was all.")
