"""A job's page says who asked for its end, whichever way they asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.exceptions import StoreFull, StoreUnavailable
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.states import JobStatus

from .conftest import MakeClient
from .test_ui import Browser, signed_in
from .world import World

TAGGED = NewJob(pipeline="sleep", tenant_id="acme", tags=("weekly",))


def told(browser: Browser, job_id: str) -> list[str]:
    """What happened to it, without how it was accepted and began."""
    found: list[str] = re.findall("<strong>([^<]*)</strong>", browser.get(f"/jobs/{job_id}").text.partition("<h2>What happened</h2>")[2])
    return [one for one in found if "ancel" in one or "stop" in one]


Ask = Callable[[FlaskClient, Job, dict[str, str]], Any]
WAYS: dict[str, Ask] = {
    "cancel": lambda client, job, headers: client.post(f"/pipeline/jobs/{job.job_id}/cancel", headers=headers),
    "delete": lambda client, job, headers: client.delete(f"/pipeline/jobs/{job.job_id}", headers=headers),
    "batch": lambda client, job, headers: client.post(f"/pipeline/batches/{job.batch_id}/cancel", headers=headers),
    "filters": lambda client, job, headers: client.post("/pipeline/jobs/cancel", json={"tag": "weekly"}, headers=headers),
    "bulk": lambda client, job, headers: client.post(
        "/pipeline/jobs/bulk", json={"action": "cancel", "filter": {"batch_id": job.batch_id, "pipeline": "sleep"}}, headers=headers
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_whose_key_it_was_is_said(client: FlaskClient, world: World, way: str) -> None:
    browser = signed_in(client, world)
    key, text = world.keys.create("acme", Role.SUBMIT, actor="test", name="the website")
    made = world.cell.batches.create(NewBatch([TAGGED, TAGGED], "acme"))
    first, running = (world.record(str(job_id)) for job_id in made.job_ids)
    world.start(running.job_id)
    headers = {"Authorization": f"Bearer {text}"}
    for job in (first, running):
        assert WAYS[way](client, job, headers).status_code in (200, 202)
    world.finish(running.job_id, JobStatus.CANCELLED)
    assert told(browser, first.job_id) == ["Cancelled by the key \u201cthe website\u201d."]
    assert told(browser, running.job_id) == [
        "Cancelled by the key \u201cthe website\u201d.",
        "The key \u201cthe website\u201d asked it to stop.",
    ]
    assert {row.actor for row in world.audit} == {f"key:{key.key_id}"}


def test_the_page_s_own_button_and_a_workflow_s_are_noted_too(client: FlaskClient, world: World) -> None:
    browser, job = signed_in(client, world), world.put()
    browser.post(f"/jobs/{job.job_id}/cancel")
    flow = world.cell.workflows.create(NewWorkflow([NewNode("a", TAGGED)], "acme", "main"))
    browser.post(f"/workflows/{flow.batch.batch_id}/cancel")
    (key,) = world.keys.list("acme")
    for job_id in (job.job_id, str(flow.job_ids[0])):
        assert told(browser, job_id) == [f"Cancelled by the key {key.key_id}."]


def test_a_tenant_is_not_told_the_names_of_operators(make_client: MakeClient, client: FlaskClient, world: World, tmp_path: Path) -> None:
    tenant, operator = signed_in(client, world), signed_in(make_client(data_dir=str(tmp_path)), world, ALL, Role.READ)
    _, text = world.keys.create(ALL, Role.ADMIN, actor="test", name="Ann of the night shift")
    by_key, by_hand = world.put(), world.put()
    client.delete(f"/pipeline/jobs/{by_key.job_id}", headers={"Authorization": f"Bearer {text}"})
    world.cell.client.cancel(by_hand.job_id)
    audit.record(world.store, "cli:ann@host", "job.cancelled", by_hand.job_id, tenant_id="acme")
    for job, name in ((by_key, "the key \u201cAnn of the night shift\u201d"), (by_hand, "cli:ann@host")):
        assert told(tenant, job.job_id) == ["Cancelled by an operator."]
        assert told(operator, job.job_id) == [f"Cancelled by {name}."]
    assert told(operator, world.put().job_id) == []


@pytest.mark.parametrize(
    "row",
    [
        ("job.cancelled", "job_1_00000000", {}),
        ("jobs.cancelled", "acme", {"tenant_id": "acme", "tag": "monthly"}),
        ("jobs.cancelled", "acme", {"tenant_id": "acme", "q": "perhaps"}),
        ("jobs.cancelled", "acme", {"cut": '{"tenant_id": "acme"'}),
        ("jobs.deleted", "acme", {"tenant_id": "acme"}),
    ],
)
def test_what_cannot_be_told_is_not_said(client: FlaskClient, world: World, row: Any) -> None:
    browser, job = signed_in(client, world), world.cell.client.submit(TAGGED)
    world.cell.client.cancel(job.job_id)
    action, target, detail = row
    audit.record(world.store, "key:1", action, target, detail, tenant_id="acme")
    assert told(browser, job.job_id) == ["Cancelled."]


@pytest.mark.parametrize("error", [StoreUnavailable, StoreFull])
def test_a_row_that_cannot_be_written_is_no_error_of_the_cancel(
    client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    made = world.cell.batches.create(NewBatch([TAGGED, TAGGED], "acme"))
    monkeypatch.setattr(audit, "record", fail)
    assert client.post(f"/pipeline/batches/{made.batch.batch_id}/cancel").get_json()["cancelled"] == 2
    assert world.audit == []
