"""What the model of a pipeline hides (`SecretStr`): its stages have it, and nobody is shown it, wherever the job is shown or sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from flask.testing import FlaskClient
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretBytes, SecretStr, create_model

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.context import JobContext
from pipeline_jobs.job import Job
from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.pipelines import NoParams, Pipeline, Stage, Wait
from pipeline_jobs.schedules.fire import Fire
from pipeline_jobs.states import JobStatus

from .test_ui import signed_in
from .world import World


class Login(BaseModel):
    user: str
    password: SecretStr


@dataclass
class Box:
    pin: SecretStr


class DeployParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: SecretStr
    key: SecretBytes | None = None
    logins: list[Login] = []
    box: Box | None = None
    place: str = "here"


class Strict(BaseModel):
    kind: Literal["strict"]
    password: SecretStr


class Loose(BaseModel):
    kind: Literal["loose"]
    #: Where it is shown it has another name.
    key: str = Field(validation_alias="password", serialization_alias="key")


class Lax(BaseModel):
    kind: Literal["lax"]
    password: Annotated[str, AfterValidator(str.upper)]


class EitherParams(BaseModel):
    login: Strict | Loose | Lax = Field(discriminator="kind")


GIVEN = {
    "token": "hunter-token", "key": "hunter-key", "logins": [{"user": "u", "password": "hunter-password"}], "box": {"pin": "hunter-pin"},
    "place": "there",
}  # fmt: skip
STARS = "*" * 10
SHOWN: dict[str, Any] = {
    "token": STARS, "key": STARS, "logins": [{"user": "u", "password": STARS}], "box": {"pin": STARS}, "place": "there",
}  # fmt: skip
JOBS = "/pipeline/jobs"


class Deploys:
    """The pipeline `deploy`, and what its first stage was given in each run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.given: list[Mapping[str, Any]] = []
        self.fails = False
        stages = (Stage("read", self.read, version="1"), Stage("tell", self.tell))
        world.cell.pipelines.register(Pipeline("deploy", stages, DeployParams, needs_url=False))
        world.store.announce("w1", 5, [])

    def read(self, context: JobContext) -> None:
        self.given.append(dict(context.params))
        print("given", dict(context.params))
        context.log.info("with %s", context.params["token"])

    def read_all(self, context: JobContext) -> None:
        self.given.append(dict(context.params))

    def tell(self, context: JobContext) -> None:
        if self.fails:
            context.progress(0.5, f"at {context.params['token']}")
            raise RuntimeError(context.params["token"])

    def run(self, job_id: str) -> Job:
        """As a worker does."""
        outcome = self.world.cell.executor.run(job_id, self.world.record(job_id).fence, "w1")
        assert outcome.ending in (Ending.COMPLETED, Ending.FAILED)
        return self.world.record(job_id)


def posted_to(client: FlaskClient, path: str) -> str:
    answer = client.post(path)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.fixture
def deploys(world: World) -> Deploys:
    return Deploys(world)


def posted(client: FlaskClient, path: str, body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    assert "hunter" not in answer.text
    return answer.get_json()


def test_a_stage_has_it_and_whoever_sees_the_job_has_asterisks(client: FlaskClient, world: World, deploys: Deploys) -> None:
    job = posted(client, JOBS, {"pipeline": "deploy", "tenant_id": "acme", "params": GIVEN, "webhook": {"url": "https://hooks.example/x"}})
    assert job["params"] == SHOWN
    assert deploys.run(job["job_id"]).status is JobStatus.COMPLETED
    assert deploys.given == [GIVEN]
    path = f"{JOBS}/{job['job_id']}"
    own = ("", "/logs", "/events", "/deliveries")
    for address in (*(path + one for one in own), JOBS, "/pipeline/events?tenant_id=acme", "/pipeline/deliveries?tenant_id=acme"):
        answer = client.get(address)
        assert (answer.status_code, "hunter" in answer.text) == (200, False), address
    assert client.get(path).get_json()["params"] == SHOWN
    assert "with ***" in client.get(f"{path}/logs").text
    record = world.record(job["job_id"])
    (copied,) = (world.store.client.hgetall(key) for key in world.store.client.scan_iter("*webhook_event:*"))
    assert (copied["job_id"], "hunter" in str(copied)) == (record.job_id, False), "it may be there longer than the job"
    assert "hunter" not in json.dumps([record.to_dict(), record.to_body("")])
    browser = signed_in(client, world, role=Role.SUBMIT)
    for page in (f"/jobs/{record.job_id}", f"/submit?like={record.job_id}", "/jobs"):
        shown = browser.get(page)
        assert shown.status_code == 200
        assert "hunter" not in shown.text, page
    assert STARS not in browser.get(f"/submit?like={record.job_id}").text, "asterisks are no parameter of another job"


def test_what_a_stage_says_of_it_in_a_failure_is_masked_wherever_it_is_told(
    client: FlaskClient, deploys: Deploys, capsys: pytest.CaptureFixture[str]
) -> None:
    deploys.fails = True
    job = posted(client, JOBS, {"pipeline": "deploy", "params": GIVEN})
    failed = deploys.run(job["job_id"])
    assert (failed.status, failed.error) == (JobStatus.FAILED, "RuntimeError: ***")
    for own in ("", "/logs", "/events"):
        assert "hunter" not in client.get(f"{JOBS}/{job['job_id']}{own}").text
    assert "at ***" in client.get(f"{JOBS}/{job['job_id']}/events").text
    written = "".join(capsys.readouterr())
    assert "  | RuntimeError: ***" in written
    assert "hunter" not in written


LINK = "https://yes.example/?token=abcdefgh"


@pytest.mark.parametrize(("pipeline", "params", "asked"), [("asks", {"token": "hunter-token"}, "is it *** ?"), ("links", {}, LINK)])
def test_a_prompt_has_no_secret_of_its_job_and_is_else_as_it_is(
    client: FlaskClient, deploys: Deploys, pipeline: str, params: Mapping[str, Any], asked: str
) -> None:
    read = Stage("read", lambda context: dict(context.params))
    waits = {"asks": Wait("yes", prompt=lambda data: f"is it {data['token']} ?"), "links": Wait("yes", prompt=LINK)}
    models: dict[str, type[BaseModel]] = {"asks": create_model("Asks", token=(SecretStr, ...)), "links": NoParams}
    deploys.world.cell.pipelines.register(Pipeline(pipeline, (read, waits[pipeline]), models[pipeline], needs_url=False))
    job = posted(client, JOBS, {"pipeline": pipeline, "params": params})
    deploys.world.cell.executor.run(job["job_id"], deploys.world.record(job["job_id"]).fence, "w1")
    shown = client.get(f"{JOBS}/{job['job_id']}").text
    assert asked in shown
    assert "hunter" not in shown + client.get(f"{JOBS}/{job['job_id']}/events").text


def test_a_retry_has_it_too_also_one_that_sends_back_what_it_was_shown(client: FlaskClient, world: World, deploys: Deploys) -> None:
    first = posted(client, JOBS, {"pipeline": "deploy", "params": GIVEN, "reuse": False})
    deploys.run(first["job_id"])
    for body, given in (
        ({"from_stage": "read"}, GIVEN),
        ({"params": {**SHOWN, "place": "elsewhere"}}, {**GIVEN, "place": "elsewhere"}),
        ({"params": {"token": "hunter-other"}}, {**GIVEN, "token": "hunter-other"}),
    ):
        again = posted(client, f"{JOBS}/{first['job_id']}/retry", body)
        deploys.run(again["job_id"])
        assert deploys.given[-1] == given


def test_a_password_does_not_go_to_another_login_of_a_list(client: FlaskClient, deploys: Deploys) -> None:
    job = posted(client, JOBS, {"pipeline": "deploy", "params": GIVEN})
    deploys.run(job["job_id"])
    logins = [{"user": "other", "password": STARS}, *SHOWN["logins"]]
    refused = client.post(f"{JOBS}/{job['job_id']}/retry", json={"params": {"logins": logins}})
    assert (refused.status_code, refused.get_json()["field"]) == (422, "params.logins")
    made = posted(client, "/pipeline/schedules", {"cron": "0 3 * * *", "job": {"pipeline": "deploy", "params": GIVEN}})
    path = f"/pipeline/schedules/{made['schedule_id']}"
    refused = client.patch(path, json={"job": {"pipeline": "deploy", "params": {**SHOWN, "logins": logins}}})
    assert (refused.status_code, refused.get_json()["field"]) == (422, "job.params.logins")


def test_a_schedule_that_gets_another_pipeline_shows_that_nothing_of_the_first(client: FlaskClient, world: World, deploys: Deploys) -> None:
    model = create_model("Plain", token=(str, ...), other=(SecretStr, ...))
    world.cell.pipelines.register(Pipeline("plain", (Stage("a", lambda context: None),), model, needs_url=False))
    made = posted(client, "/pipeline/schedules", {"cron": "0 3 * * *", "job": {"pipeline": "deploy", "params": GIVEN}})
    path = f"/pipeline/schedules/{made['schedule_id']}"
    changed = client.patch(path, json={"job": {"pipeline": "plain", "params": {"token": STARS, "other": "x"}}})
    assert (changed.status_code, changed.get_json()["job"]["params"]) == (200, {"token": STARS, "other": STARS})
    assert "hunter" not in json.dumps(world.store.record("schedule", made["schedule_id"]))


def test_a_schedule_has_what_was_given_and_no_default_of_the_day_it_was_made(client: FlaskClient, world: World, deploys: Deploys) -> None:
    template = {"pipeline": "deploy", "params": {"token": "hunter-token"}}
    made = posted(client, "/pipeline/schedules", {"cron": "0 3 * * *", "job": template})
    assert made["job"]["params"] == {"token": STARS}
    model = create_model("Aliased", token=(SecretStr, ...), user=(str, Field("nobody", alias="userName")))
    world.cell.pipelines.register(Pipeline("aliased", (Stage("a", lambda context: None),), model, needs_url=False))
    template = {"pipeline": "aliased", "params": {"token": "hunter-token", "userName": "me"}}
    refused = client.post("/pipeline/schedules", json={"cron": "0 3 * * *", "job": template})
    assert (refused.status_code, refused.get_json()["field"]) == (422, "job.params"), "its jobs would be nobody's"


@pytest.mark.parametrize("kind", ["loose", "lax"])
def test_asterisks_that_are_sent_back_for_another_model_do_not_show_the_secret(client: FlaskClient, deploys: Deploys, kind: str) -> None:
    deploys.world.cell.pipelines.register(Pipeline("either", (Stage("read", deploys.read_all),), EitherParams, needs_url=False))
    template = {"pipeline": "either", "params": {"login": {"kind": "strict", "password": "hunter-password"}}}
    job = posted(client, JOBS, template)
    deploys.run(job["job_id"])
    params = {"login": {**job["params"]["login"], "kind": kind}}
    refused = client.post(f"{JOBS}/{job['job_id']}/retry", json={"params": params})
    assert (refused.status_code, refused.get_json()["field"]) == (422, "params.login.password")
    made = posted(client, "/pipeline/schedules", {"cron": "0 3 * * *", "job": template})
    path = f"/pipeline/schedules/{made['schedule_id']}"
    refused = client.patch(path, json={"job": {**template, "params": params}})
    assert (refused.status_code, refused.get_json()["field"]) == (422, "job.params.login.password")
    sent = {"params": {"login": {"kind": kind, "password": "mine"}}}
    assert posted(client, f"{JOBS}/{job['job_id']}/retry", sent)["params"]["login"].keys() & {"key", "password"}
    again = posted(client, f"{JOBS}/{job['job_id']}/retry", {"params": job["params"]})
    deploys.run(again["job_id"])
    assert deploys.given[-1] == template["params"]


def test_asterisks_are_no_secret_of_a_new_job(client: FlaskClient, world: World, deploys: Deploys) -> None:
    wrong = {"pipeline": "deploy", "params": {**GIVEN, "logins": [{"user": "u", "password": STARS}]}}
    field = "params.logins.0.password"
    for path, body, named in (
        (JOBS, wrong, field),
        ("/pipeline/batches", {"jobs": [wrong]}, f"jobs.0.{field}"),
        ("/pipeline/schedules", {"cron": "0 3 * * *", "job": wrong}, f"job.{field}"),
    ):
        refused = client.post(path, json=body)
        assert refused.status_code == 422
        assert named in refused.text
    assert world.ids() == []
    made = posted(client, JOBS, {"pipeline": "deploy", "params": {**GIVEN, "place": STARS}})
    assert made["params"]["place"] == STARS, "a field that is no secret may have them"


@pytest.fixture
def old_schedule(client: FlaskClient, world: World, deploys: Deploys) -> str:
    """The path of one that was made before its secrets were kept apart."""
    template = {"pipeline": "deploy", "params": {"token": "hunter-token", "place": "there"}}
    made = posted(client, "/pipeline/schedules", {"cron": "0 3 * * *", "tenant_id": "acme", "job": template})
    key = world.store.keys("schedule", made["schedule_id"])
    kept = world.store.client.hget(key, "job").replace(STARS, "hunter-token")
    world.store.client.hset(key, mapping={"job": kept, "secret_params": "[]"})
    return f"/pipeline/schedules/{made['schedule_id']}"


def test_a_schedule_that_is_older_than_that_does_not_show_its_secret(client: FlaskClient, deploys: Deploys, old_schedule: str) -> None:
    shown = client.get(old_schedule).get_json()["job"]
    assert shown["params"] == {"token": STARS, "place": "there"}
    assert "hunter" not in client.get("/pipeline/schedules").text
    for action in ("pause", "pause", "resume"):
        assert "hunter" not in posted_to(client, f"{old_schedule}/{action}")
    deploys.run(posted(client, f"{old_schedule}/run", {})["job_id"])
    assert client.patch(old_schedule, json={"job": {**shown, "params": {**shown["params"], "place": "elsewhere"}}}).status_code == 200
    deploys.run(posted(client, f"{old_schedule}/run", {})["job_id"])
    assert [(given["token"], given["place"]) for given in deploys.given] == [("hunter-token", "there"), ("hunter-token", "elsewhere")]


def test_the_pages_do_not_show_the_secret_of_an_old_schedule_either(client: FlaskClient, world: World, old_schedule: str) -> None:
    browser = signed_in(client, world, role=Role.SUBMIT)
    for path in ("/schedules", old_schedule.removeprefix("/pipeline")):
        page = browser.get(path)
        assert (page.status_code, "hunter" in page.text) == (200, False)


def test_an_old_schedule_whose_pipeline_takes_it_no_more_is_shown_without_its_secret(
    client: FlaskClient, world: World, old_schedule: str
) -> None:
    key = world.store.keys("schedule", old_schedule.rpartition("/")[2])
    kept = world.store.client.hget(key, "job")
    world.store.client.hset(key, "job", kept.replace('"place"', '"where"'))
    assert client.get(old_schedule).get_json()["job"]["params"] == {"where": "there"}
    posted_to(client, f"{old_schedule}/pause")
    assert "hunter-token" in world.store.client.hget(key, "job"), "it is only not shown"


def test_jobs_of_batches_and_workflows_have_it(client: FlaskClient, deploys: Deploys) -> None:
    jobs = [{"pipeline": "deploy", "params": params, "reuse": False} for params in (GIVEN, GIVEN, {**GIVEN, "token": "hunter-two"})]
    made = posted(client, "/pipeline/batches", {"jobs": jobs})
    flow = posted(client, "/pipeline/workflows", {"jobs": [{**jobs[0], "name": "one"}]})
    for job_id in (*made["job_ids"], flow["job_ids"]["one"]):
        deploys.run(job_id)
    assert deploys.given == [GIVEN, GIVEN, {**GIVEN, "token": "hunter-two"}, GIVEN]


def test_another_secret_is_another_input(client: FlaskClient, deploys: Deploys) -> None:
    for token in ("hunter-one", "hunter-two", "hunter-one"):
        job = posted(client, JOBS, {"pipeline": "deploy", "params": {"token": token}})
        deploys.run(job["job_id"])
    assert [given["token"] for given in deploys.given] == ["hunter-one", "hunter-two"], "the third was given what the first one made"


def test_the_jobs_of_a_schedule_have_it_and_the_schedule_does_not_show_it(client: FlaskClient, world: World, deploys: Deploys) -> None:
    template = {"pipeline": "deploy", "params": {"token": "hunter-token"}, "reuse": False}
    made = posted(client, "/pipeline/schedules", {"cron": "0 3 * * *", "tenant_id": "acme", "job": template})
    path = f"/pipeline/schedules/{made['schedule_id']}"
    shown = client.get(path).get_json()["job"]
    assert shown["params"]["token"] == STARS
    for place in ("there", "elsewhere"):
        # As somebody does who changes what was shown.
        changed = client.patch(path, json={"job": {**shown, "params": {**shown["params"], "place": place}}})
        assert (changed.status_code, "hunter" in changed.text) == (200, False)
        deploys.run(posted(client, f"{path}/run", {})["job_id"])
        assert (deploys.given[-1]["token"], deploys.given[-1]["place"]) == ("hunter-token", place)
    assert client.patch(path, json={"job": {**template, "params": {"token": "hunter-new"}}}).status_code == 200
    world.store.client.hset(world.store.keys("schedule", made["schedule_id"]), "next_run_at", world.store.now() - 1)
    world.store.client.zadd(world.store.keys("schedules_due"), {made["schedule_id"]: 1})
    assert Fire(world.cell.schedules).run_once()["fired"] == 1
    deploys.run(world.ids()[0])
    assert deploys.given[-1]["token"] == "hunter-new"
    browser = signed_in(client, world, role=Role.SUBMIT)
    for page in (f"/schedules/{made['schedule_id']}", "/schedules"):
        assert "hunter" not in browser.get(page).text
