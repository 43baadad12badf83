"""Every way in takes every field of a job, and every field is stored, read back and shown. The fields are those that `NewJob` declares: a
new one is tested here without a change, by its type, or by a value of its own in `SPECIAL` where not any value will do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Ignore
from click.testing import CliRunner
from flask.testing import FlaskClient
from pydantic import BaseModel, ConfigDict
from werkzeug.test import TestResponse

from pipeline_jobs import cli, pipelines
from pipeline_jobs.job import ACCEPTED, STARTS, Job, NewJob, differing, rfc3339
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.pipelines import Pipeline, Stage
from pipeline_jobs.schedules.schedule import NOT_IN_TEMPLATE
from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings
from pipeline_jobs.tracing import correlation
from pipeline_jobs.tracing.correlation import Correlation
from pipeline_jobs.worker.app import JobsCelery, create_celery


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")

    depth: int = 1


EVERY = Pipeline("every", (Stage("only", lambda context: {}),), Params, qualities=("low", "high"))
#: A value for a field that says nothing special of itself, by its type.
BY_TYPE: Mapping[str, Any] = {
    "str": "other",
    "str | None": "other",
    "bool": False,
    "int": 7,
    "int | None": 7,
    "float | None": 3600.5,
    "Moment | None": 4_102_444_800_000,
    "tuple[str, ...]": ("one", "two"),
    "Mapping[str, Any]": {"a": [1, "x"]},
}
SPECIAL: Mapping[str, Any] = {
    "url": "https://example.com/talk.mp4",
    "quality": "high",
    "pipeline": "every",
    "params": {"depth": 2},
    "on_dependency_failure": "run",
    "webhook": {"url": "https://hooks.example/x", "events": ["job.failed"]},
}


class Ways:
    """All ways in, each from the fields as Python has them to the id of the job."""

    def __init__(self, app: JobsCelery, web: FlaskClient) -> None:
        self.app, self.web = app, web
        self.client: Client = app.cell.client
        #: Of each request over HTTP, and of each message.
        self.headers: dict[str, str] = {}

    def post(self, fields: Mapping[str, Any]) -> str:
        return str(self._sent("/pipeline/jobs", as_json(fields))["job_id"])

    def run_and_wait(self, fields: Mapping[str, Any]) -> str:
        return str(self._sent("/pipeline/run", {**as_json(fields), "timeout": 0})["job_id"])

    def batch(self, fields: Mapping[str, Any]) -> str:
        own = as_json(fields)
        whose = {name: own.pop(name) for name in ("tenant_id", "workspace_id")}
        return str(self._sent("/pipeline/batches", {**whose, "jobs": [{"url": SPECIAL["url"]}, own]})["job_ids"][1])

    def bulk(self, fields: Mapping[str, Any]) -> str:
        made = Batches(self.client).create(NewBatch([NewJob(**fields)], fields["tenant_id"], fields["workspace_id"]))
        return str(made.job_ids[0])

    def schedule(self, fields: Mapping[str, Any]) -> str:
        job = {name: value for name, value in as_json(fields).items() if name not in NOT_IN_TEMPLATE}
        whose = {name: fields[name] for name in ("tenant_id", "workspace_id")}
        made = self._sent("/pipeline/schedules", {"cron": "0 0 1 1 *", **whose, "job": job})
        return str(self._sent(f"/pipeline/schedules/{made['schedule_id']}/run", {})["job_id"])

    def client_submit(self, fields: Mapping[str, Any]) -> str:
        return self.client.submit(NewJob(**fields)).job_id

    def task(self, fields: Mapping[str, Any]) -> str:
        """`run_job.apply_async`, with lists as Celery's JSON makes them of tuples."""
        headers = {name.lower().removeprefix("x-").replace("-", "_"): value for name, value in self.headers.items()}
        return str(self.app.tasks["pipeline_jobs.run_job"].apply_async(kwargs=lists(fields), headers=headers or None).id)

    def message(self, fields: Mapping[str, Any]) -> str:
        """A bare message at a worker, sent by name."""
        task = self.app.tasks["pipeline_jobs.run_job"]
        headers = {name.lower().removeprefix("x-").replace("-", "_"): value for name, value in self.headers.items()}
        task.push_request(id="by-name", args=[], kwargs=lists(fields), is_eager=False, called_directly=False, **headers)
        try:
            # It has to wait, so the worker leaves it to the store.
            with pytest.raises(Ignore, match="waits"):
                task.run(**lists(fields))
        finally:
            task.pop_request()
        return "by-name"

    def retry(self, fields: Mapping[str, Any]) -> str:
        old = self.client.submit(NewJob(**fields))
        self.client.cancel(old.job_id)
        return str(self._sent(f"/pipeline/jobs/{old.job_id}/retry", {})["job_id"])

    def form(self, fields: Mapping[str, Any]) -> str:
        """What the page's form sends; each field must be in the page, too."""
        page = self.web.get("/pipeline/ui/submit?pipeline=every").get_data(as_text=True)
        assert [name for name in fields if f'name="{name}"' not in page] == []
        typed = {name: typed_in(ACCEPTED[name], value) for name, value in fields.items()}
        answer = self.web.post("/pipeline/ui/submit", data=typed, headers={"Origin": "http://localhost", **self.headers})
        assert answer.status_code == 303, answer.get_data(as_text=True)
        return answer.headers["Location"].rpartition("/")[2]

    def command(self, fields: Mapping[str, Any]) -> str:
        done = CliRunner().invoke(cli.jobs, ["submit", json.dumps(lists(fields))], obj=SimpleNamespace(app=self.app))
        assert done.exit_code == 0, done.output
        return done.output.strip()

    def _sent(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer: TestResponse = self.web.post(path, json=body, headers=self.headers)
        assert answer.status_code in (201, 202), answer.get_json()
        return dict(answer.get_json())


#: What some ways leave out on purpose: when or after what a job starts is the schedule's to say, and no matter of a job that is run again.
LEFT_OUT = {"schedule": STARTS, "retry": STARTS}
WAYS = [name for name in vars(Ways) if not name.startswith("_")]


@pytest.fixture
def ways(cell: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ways]:
    app, api = create_celery(cell), create_api(cell)
    monkeypatch.setitem(pipelines.registry._pipelines, EVERY.name, EVERY)
    yield Ways(app, api.test_client())
    app.close()


def lists(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def as_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """As the API is sent it."""
    return {name: rfc3339(value) if ACCEPTED[name].startswith("Moment") else value for name, value in lists(fields).items()}


def typed_in(kind: str, value: Any) -> str:
    if kind.startswith("Moment"):
        return str(rfc3339(value))
    if kind.startswith("tuple"):
        return ", ".join(value)
    return json.dumps(value) if kind.startswith("Mapping") else str(value)


def every_field(client: Client) -> dict[str, Any]:
    """A value for each field that clients may give, none of them its default."""
    before = client.submit(NewJob(pipeline="sleep", tenant_id="acme"))
    own = {**SPECIAL, "tenant_id": "acme", "workspace_id": "lab", "depends_on": (before.job_id,)}
    return {name: own.get(name, BY_TYPE.get(kind)) for name, kind in ACCEPTED.items()}


def test_the_values_are_not_the_defaults(ways: Ways) -> None:
    fields = every_field(ways.client)
    assert set(differing(NewJob(**fields))) == set(fields) == set(ACCEPTED)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_takes_every_field(ways: Ways, way: str) -> None:
    asked = every_field(ways.client)
    enter: Callable[[Mapping[str, Any]], str] = getattr(ways, way)
    job = ways.client.get(enter(asked))
    expected = {name: value for name, value in asked.items() if name not in LEFT_OUT.get(way, ())}
    found = {name: getattr(job, name) for name in expected}
    # A schedule's jobs have its tag besides.
    found["tags"] = found["tags"][: len(expected["tags"])]
    assert found == expected
    assert shown(ways, job, expected) == as_json(expected)
    if "deadline_seconds" in expected:
        assert job.deadline_at == job.created_at + int(expected["deadline_seconds"] * 1000)
    assert ways.client.store.client.zscore(ways.client.store.keys("waits"), job.job_id) is not None


#: Ways whose context is the process's own: what a program is told by its surroundings, `correlation.bound` says.
IN_CONTEXT = {"bulk", "client_submit", "command"}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_takes_the_id_and_the_trace_of_its_request(ways: Ways, way: str) -> None:
    asked = every_field(ways.client)
    enter: Callable[[Mapping[str, Any]], str] = getattr(ways, way)
    assert ways.client.get(enter(asked)).traceparent is None
    ways.client.store.client.delete(ways.client.store.keys("job", "by-name"))
    ways.headers = {"X-Request-ID": "order-4711", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    here = Correlation("order-4711", ways.headers["traceparent"]) if way in IN_CONTEXT else Correlation()
    with correlation.bound(here):
        job = ways.client.get(enter(asked))
    assert (job.request_id, job.traceparent) == ("order-4711", ways.headers["traceparent"])
    # The record has them, and so the job needs no message of its own.
    assert not ways.client.store.client.hexists(ways.client.store.keys("job", job.job_id), "celery")


def test_a_request_that_is_sent_again_is_the_same_under_another_id(ways: Ways) -> None:
    first, second = (
        ways.web.post("/pipeline/jobs", json={"pipeline": "sleep"}, headers={"Idempotency-Key": "k", "X-Request-ID": name}).get_json()
        for name in ("one", "two")
    )
    assert (first["job_id"], first["request_id"]) == (second["job_id"], second["request_id"]) == (first["job_id"], "one")


def shown(ways: Ways, job: Job, expected: Mapping[str, Any]) -> dict[str, Any]:
    body = ways.web.get(f"/pipeline/jobs/{job.job_id}").get_json()
    found = {name: body[name] for name in expected}
    found["tags"] = found["tags"][: len(expected["tags"])]
    return found
