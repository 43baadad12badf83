"""Signals over HTTP: the route, the job's page, and the links of mails."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs import signals
from pipeline_jobs.jobs.signals import Link
from pipeline_jobs.pipelines import Pipeline, Stage, Wait
from pipeline_jobs.web.schemas import jobs as bodies
from pipeline_jobs.web.schemas.signals import Signal

from .checks import problem_of
from .test_ui import AWAY, OURS, signed_in
from .world import World

YES = {"approved": True, "note": "go"}


@pytest.fixture
def parked(client: FlaskClient, world: World) -> Job:
    stages = (Stage("make", lambda context: None), Wait("approval"))
    world.cell.pipelines.register(Pipeline("asks", stages, needs_url=False))
    job = world.cell.client.submit(NewJob(pipeline="asks", tenant_id="acme"))
    world.store.announce("w1", 5, [])
    world.store.claim(job.job_id, world.store.get(job.job_id).fence, worker="w1", run="r")
    world.store.progress(job.job_id, world.store.get(job.job_id).fence, 99, "approval")
    world.store.park(job.job_id, world.store.get(job.job_id).fence, "approval", 3600, "fail", "is <this> right?")
    return world.store.get(job.job_id)


def test_a_signal_is_answered_the_same_each_time(client: FlaskClient, parked: Job) -> None:
    path = f"/pipeline/jobs/{parked.job_id}"
    waiting = client.get(path).get_json()
    assert (waiting["reason"], waiting["awaits"], waiting["message"]) == ("signal", "approval", "is <this> right?")
    assert waiting["queue"]["position"] is None
    first, again = (client.post(f"{path}/signals/approval", json={"payload": YES}) for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert first.get_json() == again.get_json()
    Signal.model_validate(first.get_json())
    assert (first.get_json()["payload"], first.get_json()["by"]) == (YES, "loopback")
    told = client.get(path).get_json()
    bodies.Job.model_validate(told)
    assert (told["awaits"], told["signals"]["approval"]["payload"]) == (None, YES)
    problem_of(client.post(f"{path}/signals/approval", json={"payload": 1}), 409, "already_signalled")


def test_what_cannot_be_signalled_is_said(client: FlaskClient, parked: Job, world: World) -> None:
    path = f"/pipeline/jobs/{parked.job_id}/signals"
    for name in ("go", "A", "x" * 65, "a:b"):
        problem_of(client.post(f"{path}/{name}", json={}), 422, "unknown_signal", "signal")
    problem_of(client.post(f"{path}/approval", json={"payload": "x" * 16_384}), 422, "invalid_input", "payload")
    problem_of(client.post(f"{path}/approval", json={"pay": 1}), 422, "invalid_input", "pay")
    problem_of(client.post(f"{path}/approval", json=[]), 422, "invalid_input", "body")
    problem_of(client.post(f"{path}/approval", data="x"), 415, "unsupported_media_type")
    problem_of(client.post("/pipeline/jobs/job_1_00000000/signals/approval", json={}), 404, "unknown_job")
    world.store.cancel(parked.job_id)
    problem_of(client.post(f"{path}/approval", json={}), 409, "signal_too_late")


@pytest.mark.parametrize(("pressed", "approved"), [("yes", True), ("no", False)])
def test_a_person_answers_on_the_page(client: FlaskClient, parked: Job, world: World, pressed: str, approved: bool) -> None:
    browser, page = signed_in(client, world), f"/jobs/{parked.job_id}"
    shown = browser.get(page).text
    assert "Waiting for approval" in shown
    assert "Is &lt;this&gt; right?" in shown
    assert browser.post(f"{page}/signals/approval", approved="maybe").status_code == 422
    assert browser.post(f"{page}/signals/approval", approved=pressed, note="<b>").status_code == 303
    first = world.store.get(parked.job_id).signals["approval"]
    assert first["payload"] == {"approved": approved, "note": "<b>"}
    assert first["by"].startswith("key:")
    after = browser.get(page).text
    assert "Waiting for approval" not in after
    assert "&lt;b&gt;" in after


def test_who_may_only_read_sees_no_buttons(client: FlaskClient, parked: Job, world: World) -> None:
    browser, page = signed_in(client, world, role=Role.READ), f"/jobs/{parked.job_id}"
    assert "/signals/approval" not in browser.get(page).text
    assert browser.post(f"{page}/signals/approval", approved="yes").status_code == 403
    assert signed_in(client, world, "other").post(f"{page}/signals/approval", approved="yes").status_code == 404
    assert world.store.get(parked.job_id).signals == {}


def test_a_link_sends_its_payload_when_it_is_confirmed(client: FlaskClient, parked: Job, world: World) -> None:
    world.keys.create("acme", Role.SUBMIT, actor="test")

    def ask(method: str, address: str) -> Any:
        return client.open(address, method=method, headers=OURS if method == "POST" else {}, environ_overrides=AWAY)

    address = world.cell.signal_links.of(parked)("approval", YES, 60).removeprefix(world.settings.base_url)
    for _ in range(2):
        shown = ask("GET", address)
        assert (shown.status_code, shown.headers["Referrer-Policy"]) == (200, "same-origin")
        assert "Is &lt;this&gt; right?" in shown.text
    assert world.store.get(parked.job_id).signals == {}, "programs that look through mails follow links"
    (action,) = [one for one in re.findall(r'action="([^"]+)"', shown.text) if "signal" in one]
    for _ in range(2):
        assert ask("POST", action.replace("&amp;", "&")).status_code == 303
    first = world.store.get(parked.job_id).signals["approval"]
    assert (first["payload"], first["by"]) == (YES, "link")
    assert "Thank you." in ask("GET", address).text
    other = world.cell.signal_links.of(parked)("approval", {"approved": False}, 60).removeprefix(world.settings.base_url)
    assert "answered already" in ask("GET", other).text
    assert ask("POST", other).status_code == 409


def test_who_holds_another_link_does_not_learn_what_was_answered(client: FlaskClient, parked: Job, world: World) -> None:
    world.keys.create("acme", Role.SUBMIT, actor="test")
    make = world.cell.signal_links.of(parked)

    def asked(payload: Any, method: str = "GET") -> str:
        address = make("approval", payload, 60).removeprefix(world.settings.base_url)
        return client.open(address, method=method, headers=OURS if method == "POST" else {}, environ_overrides=AWAY).text

    first = signals.send(world.cell.client, parked.job_id, "approval", {"approved": True, "note": "the-boss-said-so"}, "key:abc")
    for told in (asked({"approved": False}), asked({"approved": False}, "POST"), asked({"approved": 1, "note": "the-boss-said-so"})):
        assert "answered already" in told
        assert first["at"] in told
        assert "key:abc" not in told
    assert "the-boss" not in asked(None)
    own = asked({"note": "the-boss-said-so", "approved": True})
    assert "Thank you." in own
    assert "the-boss-said-so" in own


def test_a_link_says_that_its_time_is_over_and_thanks_nobody(client: FlaskClient, parked: Job, world: World) -> None:
    store, key = world.store.client, world.store.keys("job", parked.job_id)
    store.hset(key, mapping={"signalled": "approval", "signal:approval": '{"payload":null,"by":"timeout","at":1735905601000}'})
    address = world.cell.signal_links.of(parked)("approval", None, 60).removeprefix(world.settings.base_url)
    told = client.get(address).text
    assert "time for an answer is over" in told
    assert "2025-01-03T12:00:01.000Z" in told
    assert "Thank you." not in told


def test_a_link_that_is_none_of_ours_opens_nothing(client: FlaskClient, parked: Job, world: World) -> None:
    good = world.cell.signal_links.of(parked)("approval", YES, 60).removeprefix(world.settings.base_url)
    old = Link("acme", "main", parked.job_id, parked.order - 1, "approval", YES)
    wrong = [good[:-1], good + "x", "/pipeline/ui/signal", "/pipeline/ui/signal?link=", world.cell.signal_links.make(old, 60)]
    for address in wrong:
        for method in ("GET", "POST"):
            answer = client.open(address.removeprefix(world.settings.base_url), method=method, headers=OURS if method == "POST" else {})
            assert answer.status_code == 404, address
    assert world.store.get(parked.job_id).signals == {}
