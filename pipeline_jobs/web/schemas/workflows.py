"""`/pipeline/workflows`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from pipeline_jobs.exceptions import InvalidInput, InvalidItems
from pipeline_jobs.jobs.batches import MAX_JOBS, WrongJob
from pipeline_jobs.jobs.client import MAX_DEPENDENCIES
from pipeline_jobs.jobs.graph import NODE_NAME
from pipeline_jobs.jobs.workflows import NewNode
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.http.validation import check_json
from pipeline_jobs.web.http.validation_errors import field_errors
from pipeline_jobs.web.schemas.batches import Batch, BatchListRequest, BatchUrls
from pipeline_jobs.web.schemas.events import EventLimit, FeedPlace, StreamRequest
from pipeline_jobs.web.schemas.fields import Body, Name
from pipeline_jobs.web.schemas.jobs import JobFields
from pipeline_jobs.web.schemas.pages import page_of
from pipeline_jobs.web.server.giving_way import give_way_at_times

NodeName = Annotated[str, Field(pattern=f"^{NODE_NAME.pattern}$")]


class WorkflowItem(JobFields):
    """A job of a workflow: the fields of a job without its tenant and workspace, and a name. It depends on others by their names."""

    name: NodeName = Field(description="Its name in the workflow: no two jobs of it have the same.", examples=["cut"])
    depends_on: list[NodeName] = Field(
        default_factory=list, max_length=MAX_DEPENDENCIES, description="Names of jobs of the workflow that must end before it starts."
    )

    def to_node(self) -> NewNode:
        """:raises InvalidInput: as `to_new_job`."""
        return NewNode(self.name, self.to_new_job(), tuple(self.depends_on))


def _keep_errors(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """As for a batch; what is said of a job begins with its name."""
    give_way_at_times()
    try:
        return check(value)
    except ValidationError as error:
        name = value.get("name") if isinstance(value, dict) else None
        known = f"{name}: " if isinstance(name, str) and NODE_NAME.fullmatch(name) else ""
        return WrongJob(tuple({**one, "message": known + one["message"]} for one in field_errors(error)))


class WorkflowRequest(Body):
    """A workflow to create."""

    #: As of a batch.
    max_elements: ClassVar[int] = 50_000
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "acme",
                    "jobs": [
                        {"name": "film", "url": "https://example.com/1.mp4"},
                        {"name": "report", "pipeline": "report", "depends_on": ["film"], "on_dependency_failure": "run"},
                    ],
                }
            ]
        },
    )

    jobs: list[Annotated[WorkflowItem, WrapValidator(_keep_errors)]] = Field(
        min_length=1,
        max_length=MAX_JOBS,
        description="As for `POST /pipeline/jobs`, without `tenant_id` and `workspace_id`, with a `name`, and with names in `depends_on`.",
    )
    tenant_id: Name = Field(DEFAULT_TENANT, description="The tenant of the jobs.")
    workspace_id: Name = Field(DEFAULT_WORKSPACE, description="The workspace of the tenant.")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Your own data, returned unchanged. At most 16 KB of JSON.")

    def to_nodes(self) -> list[NewNode]:
        """:raises InvalidItems: names each job that could not be read. :raises InvalidInput: `metadata` cannot be stored."""
        check_json(self.metadata, "metadata")
        nodes, errors = [], []
        for number, item in enumerate(self.jobs):
            found = item if isinstance(item, WrongJob) else _node(item)
            if isinstance(found, NewNode):
                nodes.append(found)
            else:
                errors += [{**one, "field": f"jobs.{number}.{one['field']}"} for one in found.errors]
        if errors:
            raise InvalidItems(errors)
        return nodes


def _node(item: WorkflowItem) -> NewNode | WrongJob:
    try:
        return item.to_node()
    except InvalidInput as error:
        return WrongJob(({"field": error.field or "", "message": f"{item.name}: {error.message}", "code": error.code},))


class WorkflowPath(BaseModel):
    """Which workflow."""

    workflow_id: str = Field(description="The id of its batch: `batch_{unix seconds}_{8 hex}`.", examples=["batch_1704326400_abc12345"])


class WorkflowListRequest(BatchListRequest):
    """Which workflows."""


class WorkflowEventsRequest(StreamRequest):
    """Which events of a workflow."""

    after: FeedPlace | None = Field(None, description="Only events after this id of the tenant's feed. Absent: all that are kept.")
    limit: EventLimit = Field(100, description="Maximum number of events that a page looks at. A stream has no pages.")


class WorkflowUrls(BatchUrls):
    """Links of a workflow: absolute if PIPELINE_PUBLIC_URL is set, otherwise paths."""

    retry: str = Field(description="Where a POST runs again what did not complete.")
    events: str = Field(description="Its events, as pages and as a stream.")
    mermaid: str = Field(description="The graph as text for Mermaid.")
    svg: str = Field(description="The graph as a picture.")


class WorkflowJob(BaseModel):
    """A job of a workflow, in short."""

    name: str = Field(description="Its name in the workflow.")
    job_id: str = Field(description="The job.")
    status: JobStatus = Field(description="Its status.")
    reason: str | None = Field(description="Why it waits.")
    pipeline: str = Field(description="The pipeline that it runs.")
    progress: float = Field(ge=0, le=100, description="Progress in per cent.")
    depends_on: list[str] = Field(description="Names of the jobs that it depends on; of one that has been deleted its id.")
    on_dependency_failure: Literal["fail", "cancel", "run"] | None = Field(
        description="What happens if one of them does not complete; null: it depends on no job."
    )
    error_code: str | None = Field(description="Of a job that failed.")
    kept: bool = Field(description="It is of the workflow that this one is a retry of: it had completed there.")


class WorkflowInList(Batch):
    """A workflow without its jobs: the batch that it is."""

    urls: WorkflowUrls = Field(description="Links.")


class Workflow(WorkflowInList):
    """A workflow: a batch whose jobs have names and may depend on each other."""

    jobs: list[WorkflowJob] = Field(description="Each after those that it depends on.")


class NewWorkflow(WorkflowInList):
    """A new workflow, with the ids of its jobs."""

    job_ids: dict[str, str] = Field(description="By their names.")


WorkflowList = page_of(
    "WorkflowList", "workflows", WorkflowInList, "One page of workflows, newest first.", "How many workflows are on this page."
)


class WorkflowRemoval(BaseModel):
    """The result of DELETE."""

    batch_id: str = Field(description="The workflow.")
    status: Literal["cancelled", "deleted"] = Field(
        description="`cancelled`: it had not ended; its jobs are cancelled, and kept. `deleted`: it had ended; its jobs are deleted."
    )
    jobs: int = Field(description="How many.")
    more: bool = Field(description="Some are left: send the request again.")
