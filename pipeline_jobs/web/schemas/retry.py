"""`/pipeline/jobs/{id}/retry`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from pipeline_jobs.job import Job
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.runlog.secret_params import sent_back, stay_hidden
from pipeline_jobs.web.http.validation import check_json
from pipeline_jobs.web.schemas.fields import Body


class RetryRequest(Body):
    """How to retry a job. The body is optional."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"from_stage": "transcribe", "params": {"language": "en"}}]})
    #: Looked at by `validated` and `openapi`.
    optional_body: ClassVar[bool] = True

    from_stage: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Run this stage and all later ones, with the outputs of the earlier ones. Absent: stages that succeeded are "
        "skipped, except the last.",
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="Parameters that take the place of the old job's by the same name; the others stay. Without `from_stage` no output of "
        "the old job is taken over then.",
    )
    quality: str | None = Field(
        None, max_length=64, description="One of the pipeline's `qualities`, in place of the old job's. Absent: that one's."
    )

    def changes(self, old: Job, pipelines: Registry) -> Mapping[str, Any]:
        """What is another one than the old job's: nothing, or `params` (all of them) and `quality`.

        :raises InvalidInput: `params` hold a value that no store keeps (names the path); or asterisks that may stand for several values, or
            for one that would be shown now.
        """
        if not self.params and self.quality is None and not old.secret_params:
            return {}
        check_json(self.params, "params")
        sent = {**old.params, **self.params}
        before, params = old.asked_again(), sent_back(sent, old.params, old.secret_params)
        if old.secret_params and self.params:
            stay_hidden(sent, old.secret_params, pipelines.get(old.pipeline).stored_params(params))
        asked = {"params": params, "quality": old.quality if self.quality is None else self.quality}
        return {name: value for name, value in asked.items() if value != getattr(before, name)}
