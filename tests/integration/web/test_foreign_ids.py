"""What is another tenant's takes the store the same work as what there is not: how long an answer takes tells nobody of others' ids."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.cell import Webhooks
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.access import key_cache
from tests.acceptance.isolation import ROUTES, UI
from tests.cases import each
from tests.commands import commands

from .conftest import MakeClient
from .world import World

#: What there is of another tenant, by the mark in the path of a route that names such a thing: jobs in several states.
THINGS = {
    "waiting": "{job}", "running": "{job}", "ended": "{job}", "kept": "{job}", "batch": "{batch}", "schedule": "{schedule}",
    "upload": "{upload}", "hook": "{hook}", "delivery": "{delivery}",
}  # fmt: skip
CELLS = [
    (method, rule, thing)
    for (method, rule), route in ROUTES.items()
    for thing, mark in THINGS.items()
    # The page asks the same of the store, in a session.
    if mark in route.path.replace("{ended}", "{job}") and not rule.startswith(UI)
]


@pytest.fixture(autouse=True)
def _no_second_look_at_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a second is made, and on a slow machine it came in one of two requests that are compared."""
    monkeypatch.setattr(key_cache, "CACHE_SECONDS", 3600.0)


@pytest.fixture
def foreign(world: World, tmp_path: Path) -> dict[str, str]:
    """One thing of each kind, of another tenant."""
    endpoint, _ = Webhooks.of(world.store, world.settings, lambda: "key").endpoints.create("rival", "https://hooks.example/")
    jobs = {
        "ended": world.put("rival", status=JobStatus.COMPLETED),
        "kept": world.put("rival"),
        "running": world.put("rival", status=JobStatus.RUNNING),
        "waiting": world.put("rival"),
    }
    run = world.record(jobs["running"].job_id)
    assert world.store.append_log(run.job_id, run.fence, 1, ['[1,1735905600000,1,"INFO","stage","fetch","begun"]'])
    world.publish(jobs["kept"].job_id, {"a.txt": b"hello"}, tmp_path)
    world.store.client.zadd(world.store.keys("ended"), {jobs["kept"].job_id: 1})
    world.store.purge()
    assert world.cell.kept.get(jobs["kept"].job_id).tenant_id == "rival"
    schedule = NewSchedule("0 * * * *", NewJob(pipeline="sleep", tenant_id="rival"))
    return {name: job.job_id for name, job in jobs.items()} | {
        "batch": world.cell.batches.create(NewBatch([NewJob(pipeline="sleep")], tenant_id="rival")).batch.batch_id,
        "schedule": Scheduler(world.cell.client).create(schedule).schedule.schedule_id,
        "upload": Uploads(world.store, world.settings, world.cell.artifacts).create("rival", "main", 9).upload_id,
        "hook": endpoint.endpoint_id,
        "delivery": world.store.members("deliveries", "rival")[0],
    }


def work(world: World, client: FlaskClient, method: str, path: str, **request: Any) -> Counter[str]:
    """What the server did for a request that is answered 404: how often each command was called, those of scripts as well."""
    with commands(world.store.client) as given:
        answer = client.open(path, method=method, **request)
        calls = given.so_far()
    assert answer.status_code == 404, answer.get_data(as_text=True)
    del calls["info"]  # the look at the server's memory, ten times a second at most
    return calls


@each(("method", "rule", "thing"), CELLS)
def test_another_tenants_thing_is_the_same_work_as_none(
    world: World, make_client: MakeClient, foreign: dict[str, str], method: str, rule: str, thing: str
) -> None:
    route, own, client = ROUTES[method, rule], foreign[thing], make_client()
    _, text = world.key(role=Role.ADMIN)
    request: dict[str, Any] = {"headers": {"Authorization": f"Bearer {text}", **route.headers}}
    if route.body:
        request["json"] = route.body
    # The last letters are other ones.
    unknown = own[:-4] + ("0000" if own[-4:] != "0000" else "1111")
    path = re.sub("{[a-z]+}", "{}", route.path)
    client.open(path.format(unknown), method=method, **request)
    assert work(world, client, method, path.format(own), **request) == work(world, client, method, path.format(unknown), **request)
