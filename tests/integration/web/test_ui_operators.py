"""On call and the window on fairness: what operators see, and that nobody else does."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs import pipeline_limits
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.ui import fairness

from .test_ui import UI, signed_in
from .world import World


def test_the_window_shows_slots_shares_and_why_the_next_one_waits(client: FlaskClient, world: World) -> None:
    jobs = world.cell.client
    jobs.set_limits("small", TenantLimits(max_concurrent=1), actor="test")
    jobs.set_limits("large", TenantLimits(weight=3.0), actor="test")
    for tenant in ("small", "large"):
        for _ in range(6):
            jobs.submit(NewJob(pipeline="sleep", tenant_id=tenant))
    root = signed_in(client, world, ALL, Role.READ)
    world.store.announce("w1", 4, [])
    page = unescape(root.get("/fairness").text)
    number = r'(?:</span>)?</td><td class="num"[^>]*>([^<]+)'
    shown = r'tenant_id=(\w+)">\w+</a>' + number + r'.*?<span class="quiet">(\d+) of ([\d.]+)</span></td>\s*<td class="num"[^>]*>([^<]+)'
    rows = {name: cells for name, *cells in re.findall(shown, page, re.DOTALL)}
    assert {name: (cells[0], cells[3]) for name, cells in rows.items()} == {"small": ("1", "1"), "large": ("3", "-")}
    assert sum(float(cells[2]) for cells in rows.values()) == 4
    assert "w1" in page
    assert "Its tenant has reached its maximum number of running jobs." in page
    # The same words as on the job's own page.
    waiting = next(job_id for job_id in world.ids() if world.record(job_id).tenant_id == "small")
    assert "Its tenant has reached its maximum number of running jobs." in root.get(f"/jobs/{waiting}").text


def test_a_forecast_is_offered_once_there_is_a_tenant_to_forecast(client: FlaskClient, world: World) -> None:
    root = signed_in(client, world, ALL, Role.READ)
    assert "What would a change do?" not in root.get("/fairness").text
    world.cell.client.submit(NewJob(pipeline="sleep", tenant_id="a"))
    assert "What would a change do?" in root.get("/fairness").text


def test_a_forecast_is_shown_and_nothing_is_saved(client: FlaskClient, world: World) -> None:
    for tenant in ("a", "b"):
        for _ in range(20):
            world.cell.client.submit(NewJob(pipeline="sleep", tenant_id=tenant))
    world.store.announce("w1", 4, [])
    root = signed_in(client, world, ALL, Role.ADMIN)
    page = root.get("/fairness?of=a&weight=3").text
    assert re.findall(r"<tr><td>(\w)</td><td class=\"num\">(\d+)</td><td class=\"num\"><strong>(\d+)<", page) == [
        ("a", "2", "3"),
        ("b", "2", "1"),
    ]
    assert f'href="{UI}/tenants/a"' in page
    assert world.cell.client.limits("a") == TenantLimits()
    for bad in ("of=a&weight=0", "of=a&weight=x", "of=ghost&weight=1", "of=a&max_concurrent=-1"):
        assert root.get(f"/fairness?{bad}").status_code == 422, bad


def test_on_call_says_what_is_wrong_and_what_to_do(client: FlaskClient, world: World) -> None:
    root = signed_in(client, world, ALL, Role.READ)
    page = unescape(root.get("/oncall").text)
    assert ("Something is broken" in page, "Start it: celery -A celery_app beat." in page) == (True, True)
    assert "maintenance has never run" in page
    severities = re.findall(r"\((error|warning|advice)\)", page)
    assert severities == sorted(severities, key=("error", "warning", "advice").index)
    assert len(set(severities)) > 1
    world.fail(world.put("acme").job_id, code="worker_lost")
    page = root.get("/oncall").text
    assert (f'href="{UI}/jobs?error_code=worker_lost"' in page, "w1" in page) == (True, True)
    assert "/oncall/pipelines" not in page
    admin = signed_in(client, world, ALL, Role.ADMIN)
    assert admin.post("/oncall/pipelines/sleep", max_concurrent="3").status_code == 303
    assert pipeline_limits.of(world.store, "sleep").max_concurrent == 3
    assert world.audit[0].action == "pipeline_limits.changed"
    assert 'value="3"' in admin.get("/oncall").text
    for bad in ("-1", "x", "9999999", "9" * 5000):
        refused = admin.post("/oncall/pipelines/sleep", max_concurrent=bad)
        assert (refused.status_code, 'id="error-sleep"' in refused.text) == (422, True), bad
    assert admin.post("/oncall/pipelines/sleep", max_concurrent="").status_code == 303
    assert pipeline_limits.of(world.store, "sleep").max_concurrent is None
    assert admin.post("/oncall/pipelines/ghost", max_concurrent="1").status_code == 404


def test_slots_of_jobs_that_are_not_listed_are_not_said_to_be_free(
    client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        world.put(status=JobStatus.RUNNING)
    world.store.announce("w1", 4, [])
    monkeypatch.setattr(fairness, "MOST_RUNNING", 1)
    page = signed_in(client, world, ALL, Role.READ).get("/fairness").text
    assert "3 of 4 busy" in page
    assert ("and 2 more" in page, page.count('<li class="free">')) == (True, 1)


def test_slots_are_told_by_pool_where_there_are_several(client: FlaskClient, world: World) -> None:
    world.store.announce("w1", 4, [])
    root = signed_in(client, world, ALL, Role.READ)
    assert "All workers are of one pool" in root.get("/fairness").text
    world.store.announce("g1", 2, [], pool="gpu")
    page = root.get("/fairness").text
    assert "pool gpu, 0 of 2 busy" in page
    assert "The pool default has 4 slots, 0 busy; the pool gpu has 2 slots, 0 busy." in page
    assert "All workers are of one pool" not in page


def test_tenants_see_neither(client: FlaskClient, world: World) -> None:
    for role in Role:
        browser = signed_in(client, world, role=role)
        assert [browser.get(path).status_code for path in ("/fairness", "/oncall")] == [403, 403]
        assert "/oncall" not in browser.get("").text
    assert signed_in(client, world, ALL, Role.READ).post("/oncall/pipelines/sleep", max_concurrent="1").status_code == 403
