"""Every field of every record is stored, read back and shown as it declares, and the API's documents name each. The fields are those that
the classes declare: a new one is tested here without a change."""

from __future__ import annotations

import sys
from dataclasses import MISSING, Field, fields
from typing import Any

import pytest
from pydantic import BaseModel

from pipeline_jobs.access.api_keys import ApiKey, Role
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.files.upload import Upload
from pipeline_jobs.job import ACCEPTED, FORMER, STARTS, Job, NewJob, rfc3339
from pipeline_jobs.jobs.batches import Batch, NewBatch
from pipeline_jobs.jobs.workflows import NewWorkflow
from pipeline_jobs.records import APART, Layout, default_of
from pipeline_jobs.schedules.cron import Cron
from pipeline_jobs.schedules.schedule import NOT_IN_TEMPLATE, CatchUp, Overlap, Schedule
from pipeline_jobs.schedules.scheduler import NewSchedule
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.schemas.batches import Batch as BatchAnswer
from pipeline_jobs.web.schemas.batches import BatchItem, BatchRequest
from pipeline_jobs.web.schemas.jobs import Job as JobAnswer
from pipeline_jobs.web.schemas.jobs import JobRequest
from pipeline_jobs.web.schemas.keys import ApiKey as KeyAnswer
from pipeline_jobs.web.schemas.schedules import JobTemplate, ScheduleRequest
from pipeline_jobs.web.schemas.schedules import Schedule as ScheduleAnswer
from pipeline_jobs.web.schemas.uploads import Upload as UploadAnswer
from pipeline_jobs.web.schemas.webhooks import Delivery as DeliveryAnswer
from pipeline_jobs.web.schemas.webhooks import WebhookEndpoint as EndpointAnswer
from pipeline_jobs.web.schemas.workflows import WorkflowItem, WorkflowRequest
from pipeline_jobs.webhooks.endpoints import Endpoint
from pipeline_jobs.webhooks.ledger import Delivery
from tests.cases import each

#: A value by the type of a field, never its default.
VALUES: dict[str, Any] = {
    "JobStatus": JobStatus.RUNNING, "Role": Role.READ, "Overlap": Overlap.QUEUE, "CatchUp": CatchUp.ALL,
    "str": "text", "str | None": "text", "int": 7, "float": 12.5, "float | None": 12.5, "bool": True,
    "Moment": 1_704_326_400_005, "Moment | None": 1_704_326_400_005, "tuple[str, ...]": ("a", "b"),
    "tuple[Mapping[str, Any], ...]": ({"status": 200, "at": ["b"], "shown": "", "value": ""},),
    "Mapping[str, Any]": {"a": [1]}, "Mapping[str, str]": {"a": "b"}, "Mapping[str, Any] | None": {"a": [1]}, "Any": {"success": True},
    "Mapping[JobStatus, int]": dict.fromkeys(JobStatus, 1), "Cron": Cron("0 * * * *", "UTC"), "NewJob": NewJob(pipeline="sleep"),
}  # fmt: skip
RECORDS = [
    (Job, JobAnswer, {"urls"}), (Batch, BatchAnswer, {"urls"}), (Schedule, ScheduleAnswer, set()), (Upload, UploadAnswer, set()),
    (Endpoint, EndpointAnswer, set()), (ApiKey, KeyAnswer, set()), (Delivery, DeliveryAnswer, set()),
]  # fmt: skip


def full(cls: type[Any]) -> Any:
    return cls(**{f.name: value_of(f) for f in fields(cls)})


def value_of(f: Field[Any]) -> Any:
    """One that is not its default."""
    return f.default is not True if f.type == "bool" else VALUES[str(f.type)]


def layout(cls: type[Any]) -> Layout:
    """The one that the class uses."""
    found: Layout = sys.modules[cls.__module__].__dict__["_LAYOUT"]
    return found


@pytest.mark.parametrize("cls", [cls for cls, _, _ in RECORDS])
def test_what_a_record_stores_is_read_back(cls: type[Any]) -> None:
    one = full(cls)
    values = {f.name: getattr(one, f.name) for f in fields(cls)}
    stored = {f.name: values[f.name] for f in fields(cls) if f.metadata.get("stored", f.name)}
    flat = layout(cls).write(values)
    assert len(flat) == len(stored)
    assert layout(cls).read(flat) == stored


@pytest.mark.parametrize(("cls", "answer", "links"), RECORDS)
def test_what_a_record_shows_is_what_the_document_says(cls: type[Any], answer: type[BaseModel], links: set[str]) -> None:
    one = full(cls)
    body = one.to_dict()
    assert set(body) | links == set(answer.model_fields)
    # What is made of other fields or another way, the class shows by hand.
    for f in (f for f in fields(cls) if f.metadata != APART):
        assert (f.name in body) is f.metadata.get("shown", True), f.name
        if str(f.type).startswith("Moment") and f.name in body:
            assert body[f.name] == rfc3339(getattr(one, f.name))


def test_what_a_job_was_not_given_is_shown_as_if_it_had_been_given_the_default() -> None:
    needed = {f.name: value_of(f) for f in fields(Job) if default_of(f) is MISSING}
    default = {f.name: default_of(f) for f in fields(Job) if f.name not in needed}
    body = Job.of(needed).to_dict()
    assert list(body.items()) == list(Job.of({**needed, **default}).to_dict().items())
    # Nobody who changes a body changes the next one.
    for value in body.values():
        if isinstance(value, list):
            value.append("mine")
        elif isinstance(value, dict):
            value["mine"] = True
    assert Job.of(needed).to_dict() == Job.of({**needed, **default}).to_dict() != body


def test_a_job_survives_the_store_field_by_field() -> None:
    job = full(Job)
    assert Job.from_mapping(job.to_mapping()).evolve(queue=job.queue) == job
    for f in fields(Job):
        if f.name != "queue":
            assert getattr(Job.from_mapping(job.to_mapping()), f.name) == value_of(f), f.name


def test_a_job_of_the_release_before_has_its_last_start_for_the_first() -> None:
    flat = full(Job).to_mapping()
    assert (flat["started_at"], flat.pop("first_started_at")) == ("1704326400005", "1704326400005")
    assert Job.from_mapping(flat).started_at == Job.from_mapping(flat).attempt_started_at == 1_704_326_400_005


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        (JobRequest, set(ACCEPTED)),
        (BatchItem, set(ACCEPTED) - {"tenant_id", "workspace_id"}),
        (JobTemplate, set(ACCEPTED) - NOT_IN_TEMPLATE),
    ],
)
def test_the_api_takes_what_a_new_job_declares_with_the_same_defaults(model: type[BaseModel], taken: set[str]) -> None:
    assert set(model.model_fields) - set(FORMER) == taken
    new, asked = NewJob(), model().model_dump()
    assert {name: getattr(new, name) for name in taken} == {
        name: tuple(v) if isinstance(v, list) else v for name, v in asked.items() if name not in FORMER
    }


def test_a_job_of_a_workflow_takes_what_one_of_a_batch_does_and_a_name() -> None:
    assert set(WorkflowItem.model_fields) == {*BatchItem.model_fields, "name"}


def test_what_is_asked_for_is_kept_and_asked_again_but_for_when_to_start() -> None:
    job = full(Job)
    again = job.asked_again()
    default = NewJob()
    for name in ACCEPTED:
        assert getattr(again, name) == (getattr(default, name) if name in STARTS else getattr(job, name)), name


@pytest.mark.parametrize(("new", "request_"), [(NewBatch, BatchRequest), (NewSchedule, ScheduleRequest), (NewWorkflow, WorkflowRequest)])
def test_a_batch_and_a_schedule_take_what_they_declare(new: type[Any], request_: type[BaseModel]) -> None:
    ours = {"depends_within"}
    mine = {f.name for f in fields(new)} - ours
    # Whose they are a schedule's job says; `partial` is how to answer.
    mine = {"jobs" if name == "nodes" else name for name in mine}
    assert set(request_.model_fields) - {"partial", "tenant_id", "workspace_id"} == mine - {"tenant_id", "workspace_id"}


def test_a_type_that_nobody_described_stops_the_program_as_it_starts() -> None:
    with pytest.raises(KeyError, match="Overlap"):
        Layout(Schedule)


@each("name", sorted(ACCEPTED))
def test_a_value_of_another_type_is_refused_by_the_name_of_its_field(name: str) -> None:
    odd = [object(), [1]] + ([] if ACCEPTED[name].startswith("str") else ["text"]) + ([] if ACCEPTED[name] == "bool" else [True])
    for value in odd:
        with pytest.raises(InvalidInput, match=f"{name} must be an? ") as refused:
            NewJob.of({name: value})
        assert refused.value.field == name
    assert NewJob.of({name: None}) == NewJob()
    with pytest.raises(InvalidInput, match="unknown field 'depends_within'"):
        NewJob.of({"depends_within": "w"})


def test_no_field_of_a_job_has_a_name_that_the_script_of_a_batch_needs_for_itself() -> None:
    """`submit_batch` has a job's fields and what it notes of the job in one table."""
    noted = {"id", "key", "fields", "from", "bytes", "job", "deadline", "wait", "adopt", "needs", "known", "anyway"}
    assert noted.isdisjoint(name for name, _, _ in Layout(Job, JobStatus).writes.values())
