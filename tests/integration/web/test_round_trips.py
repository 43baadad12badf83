"""How often the store is asked for a request on one job: a round trip is most of what a request costs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from pipeline_jobs.store.wire import Wire
from pipeline_jobs.web.access import auth, key_cache
from tests.integration.web.test_jobs import created
from tests.integration.web.test_ui import signed_in
from tests.integration.web.world import World

Asked = Callable[[Callable[[], Any]], int]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """How many round trips a call takes in its thread, without the looks that are made once a second at keys."""
    trips: list[int] = []
    many = type(redis.Redis().pipeline())
    tried, executed = Wire._tried, many.execute
    monkeypatch.setattr(Wire, "_tried", lambda self, once, command: (trips.append(threading.get_ident()), tried(self, once, command))[1])
    monkeypatch.setattr(many, "execute", lambda self: (trips.append(threading.get_ident()), executed(self))[1])
    monkeypatch.setattr(auth, "CACHE_SECONDS", 3600.0)
    monkeypatch.setattr(key_cache, "CACHE_SECONDS", 3600.0)

    def count(call: Callable[[], Any]) -> int:
        trips.clear()
        call()
        return trips.count(threading.get_ident())

    return count


def test_a_look_at_a_job_takes_one(client: FlaskClient, world: World, asked: Asked) -> None:
    """At one that waits the first look takes two: the record does not say yet that there is a second question."""
    client.get(f"/pipeline/jobs/{created(client)}")  # The server has the function then.
    path = f"/pipeline/jobs/{created(client)}"
    assert [asked(lambda: client.get(path)) for _ in range(3)] == [2, 1, 1]
    waiting = client.get(path).get_json()
    assert (waiting["status"], waiting["queue"]["position"], waiting["queue"]["reason"]) == ("queued", 2, waiting["reason"])
    world.complete(path.rpartition("/")[2])
    assert [asked(lambda: client.get(path)) for _ in range(2)] == [1, 1]
    assert client.get(path).get_json()["status"] == "completed"


def test_one_that_starts_between_two_looks_is_shown_as_it_is(client: FlaskClient, world: World) -> None:
    path = f"/pipeline/jobs/{created(client)}"
    client.get(path)
    world.start(path.rpartition("/")[2])
    running = client.get(path).get_json()
    assert (running["status"], running.get("queue")) == ("running", None)


def test_a_job_that_was_removed_after_it_was_seen_waiting_is_unknown(client: FlaskClient, world: World) -> None:
    job_id = created(client)
    client.get(f"/pipeline/jobs/{job_id}")
    world.complete(job_id)
    world.store.delete(job_id)
    assert client.get(f"/pipeline/jobs/{job_id}").status_code == 404


def test_a_cancel_takes_one_and_so_does_a_change(client: FlaskClient, asked: Asked) -> None:
    once, first, second, third = (f"/pipeline/jobs/{created(client)}" for _ in range(4))
    client.get(once), client.patch(once, json={"priority": 3}), client.delete(once)
    # Who asked for it is written with it.
    assert asked(lambda: client.delete(first)) == 1
    assert asked(lambda: client.post(f"{second}/cancel")) == 1
    assert asked(lambda: client.post(f"{second}/cancel")) == 1
    # With the job as it is then, and its place.
    assert asked(lambda: client.patch(third, json={"priority": 3})) == 1


def test_a_list_on_the_page_asks_where_its_jobs_stand_in_one(client: FlaskClient, world: World, asked: Asked) -> None:
    """It is polled: one question for each row would be twenty."""
    browser = signed_in(client, world)

    def rows() -> list[str]:
        return re.findall('<tr id="row-', browser.get("/jobs").text)

    world.put(), world.put()
    rows()
    few = asked(rows)
    for _ in range(10):
        world.put()
    assert asked(rows) <= few
    assert len(rows()) == 12


def test_an_upload_in_one_request_takes_four(client: FlaskClient, asked: Asked) -> None:
    """It is made, locked, counted with its lock given back, and looked at."""

    def upload() -> None:
        answer = client.post("/pipeline/uploads", data=b"x" * 1000, content_type="application/offset+octet-stream")
        assert (answer.status_code, answer.get_json()["complete"]) == (201, True)

    upload()
    assert asked(upload) == 4


def test_a_server_that_has_forgotten_a_function_is_given_it_again(client: FlaskClient, world: World) -> None:
    path = f"/pipeline/jobs/{created(client)}"
    client.get(path)
    world.store.client.execute_command("FUNCTION", "FLUSH", "SYNC")
    assert client.get(path).get_json()["queue"]["position"] == 1


def test_a_cancel_of_a_running_job_whose_answer_was_lost_is_written_down_once(world: World) -> None:
    job = world.start(world.put().job_id)
    for _ in range(2):
        world.store.run("cancel_job", id=job.job_id, call=1, tenant=None, workspace=None, actor="key:1")
    assert [(row.actor, row.target) for row in world.audit] == [("key:1", job.job_id)]


def test_a_cancel_whose_answer_was_lost_says_again_what_the_job_was(world: World, client: FlaskClient) -> None:
    """Else a DELETE that its connection sends again would take the job that it has cancelled for one that had ended, and remove it."""
    job_id = created(client)
    call: dict[str, Any] = {"id": job_id, "call": 12345, "tenant": None, "workspace": None, "actor": "key:1"}
    first, second = (world.store.run("cancel_job", **call) for _ in range(2))
    assert (first.was, second.was) == ("queued", "queued")
    assert first.record == second.record
    assert world.store.run("cancel_job", **{**call, "call": 54321}).was == "cancelled"
    assert [(row.actor, row.action, row.target) for row in world.audit] == [("key:1", "job.cancelled", job_id)]
