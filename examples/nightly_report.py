"""`nightly-report`: a report that is published when a person has approved it (`POST /pipeline/jobs/{id}/signals/approval`, or its page).

Until then the job waits without a slot, and what `make` wrote is kept for it. A schedule runs it each night (docs/schedules.md).
"""

import csv
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import StageError
from pipeline_jobs.pipelines import Pipeline, Stage, Wait, register

THREE_DAYS = 3 * 86_400


class Refused(StageError):
    """The report was not approved."""

    code = "refused"


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rows: list[tuple[str, float]] = Field(description="What was sold, and for how much.")


def make(context: JobContext) -> dict[str, Any]:
    whole = sum(amount for _, amount in context.params["rows"])
    with (context.workdir / "report.csv").open("w", newline="") as file:
        csv.writer(file).writerows([*context.params["rows"], ("sum", whole)])
    return {"sum": whole}


def publish(context: JobContext) -> dict[str, Any]:
    if not isinstance(answer := context.data["approval"], dict) or answer.get("approved") is not True:
        raise Refused
    return {"report_url": context.publish(context.workdir / "report.csv", "report.csv")}


APPROVAL = Wait("approval", timeout=THREE_DAYS, prompt=lambda data: f"May the report be published? Its sum is {data['sum']:g}.")
REPORT = register(Pipeline("nightly-report", (Stage("make", make), APPROVAL, Stage("publish", publish)), Params, needs_url=False))
