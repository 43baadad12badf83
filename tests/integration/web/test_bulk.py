"""`POST /pipeline/jobs/bulk`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.exceptions import InvalidInput, StoreUnavailable
from pipeline_jobs.jobs import bulk_ended, listing
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.api import counts
from pipeline_jobs.web.schemas import bulk as bodies
from tests.cases import each

from .checks import problem_of
from .world import World


def ask(client: FlaskClient, action: str, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    response = client.post("/pipeline/jobs/bulk", json={"action": action, "filter": {"tenant_id": "acme"}, **body}, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    bodies.Bulk.model_validate(found)
    return found


def some(world: World, status: JobStatus, n: int = 3, **fields: Any) -> list[str]:
    return [world.put(status=status, **fields).job_id for _ in range(n)]


def retries(world: World) -> dict[str | None, int]:
    found: dict[str | None, int] = {}
    for job_id in world.ids():
        if old := world.record(job_id).retry_of:
            found[old] = found.get(old, 0) + 1
    return found


def test_a_retry_makes_a_job_of_each_that_failed_once_however_often_it_is_sent(client: FlaskClient, world: World) -> None:
    failed, others = some(world, JobStatus.FAILED), some(world, JobStatus.COMPLETED) + some(world, JobStatus.QUEUED)
    assert ask(client, "retry", dry_run=True) == {
        "action": "retry", "dry_run": True, "matched": 3, "done": 0, "not_done": [], "next_cursor": None,
    }  # fmt: skip
    assert retries(world) == {}
    for _ in range(2):
        assert (ask(client, "retry")["done"], retries(world)) == (3, dict.fromkeys(failed, 1))
    assert set(world.ids()) >= {*failed, *others}
    assert {(row.action, row.target, row.detail["done"]) for row in world.audit} == {("jobs.retried", "acme", 3)}


def test_a_deletion_is_of_what_has_ended(client: FlaskClient, world: World) -> None:
    gone = [job_id for status in (JobStatus.FAILED, JobStatus.COMPLETED, JobStatus.CANCELLED) for job_id in some(world, status, 1)]
    kept = some(world, JobStatus.QUEUED) + some(world, JobStatus.COMPLETED, tenant_id="other")
    assert ask(client, "delete", filter={"tenant_id": "acme", "status": ["failed"]}, dry_run=True)["matched"] == 1
    assert (ask(client, "delete")["done"], ask(client, "delete")["done"]) == (3, 0)
    assert (set(world.ids()), set(world.ids()) & set(gone)) == (set(kept), set())


def test_a_cancellation_is_that_of_jobs_cancel(client: FlaskClient, world: World) -> None:
    waiting = some(world, JobStatus.QUEUED)
    assert (ask(client, "cancel", dry_run=True)["matched"], ask(client, "cancel")["done"]) == (3, 3)
    assert {world.record(job_id).status for job_id in waiting} == {JobStatus.CANCELLED}


def test_a_request_does_some_and_says_where_to_go_on(client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_ended, "MOST", 2)
    failed = some(world, JobStatus.FAILED, 5)
    cursor, done = None, []
    while True:
        answer = ask(client, "retry", cursor=cursor)
        done.append(answer["done"])
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert (sum(done), max(done), retries(world)) == (5, 2, dict.fromkeys(failed, 1))


def test_a_count_has_an_end(client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST", 2)
    monkeypatch.setattr(counts, "MOST_FOUND", 4)
    monkeypatch.setattr(listing, "BUDGET", 3)
    some(world, JobStatus.FAILED, 7)
    first = ask(client, "retry", dry_run=True)
    assert (first["matched"], ask(client, "retry", dry_run=True, cursor=first["next_cursor"])["matched"]) == (4, 3)


def test_the_command_line_s_count_has_an_end_too_and_is_of_what_has_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_ended, "MOST", 2)
    monkeypatch.setattr(bulk_ended, "MOST_COUNTED", 4)
    some(world, JobStatus.FAILED, 7)

    def count(**filters: Any) -> bulk_ended.BulkDone:
        query = JobQuery(tenant_id="acme", **filters)
        return bulk_ended.each_ended(world.cell.client, bulk_ended.BulkAction.RETRY, query, dry_run=True)

    first = count()
    assert (first.matched, count(cursor=first.next_cursor).matched) == (4, 3)
    with pytest.raises(InvalidInput, match="must be of jobs that have ended"):
        count(statuses=(JobStatus.RUNNING,))


def test_the_command_line_s_count_that_finds_nothing_has_an_end_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million jobs of which none is meant, a call looks at some."""
    monkeypatch.setattr(bulk_ended, "PAGES", 3)
    monkeypatch.setattr(listing, "BUDGET", 1)
    some(world, JobStatus.FAILED, 1, metadata={"title": "meant"})
    some(world, JobStatus.FAILED, 5)
    found, query = list[int](), JobQuery(tenant_id="acme", q="meant")
    while not found or query.cursor:
        part = bulk_ended.each_ended(world.cell.client, bulk_ended.BulkAction.RETRY, query, dry_run=True)
        found, query = [*found, part.matched], replace(query, cursor=part.next_cursor)
    assert found == [0, 1]


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_a_count_that_finds_nothing_has_an_end_too_and_goes_on_with_its_cursor(
    client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """Of a million jobs of which none is meant, a request looks at some."""
    for name, value in {"PAGE": 1, "BUDGET": 1, "MOST_LOOKED": 3}.items():
        monkeypatch.setattr(counts, name, value)
    monkeypatch.setattr(listing, "BUDGET", 1)
    meant = some(world, JobStatus.QUEUED if action == "cancel" else JobStatus.FAILED, 1, metadata={"title": "meant"})
    some(world, JobStatus.QUEUED if action == "cancel" else JobStatus.FAILED, 7)
    asked, found, cursor = 0, 0, None
    while asked == 0 or cursor:
        answer = ask(client, action, filter={"tenant_id": "acme", "q": "meant"}, dry_run=True, cursor=cursor)
        asked, found, cursor = asked + 1, found + answer["matched"], answer["next_cursor"]
    assert (found, len(meant), asked >= 3) == (1, 1, True)


def test_the_tenant_s_limits_hold_and_the_cursor_says_where(client: FlaskClient, world: World) -> None:
    failed = some(world, JobStatus.FAILED, 4)
    world.store.set_limits("acme", TenantLimits(max_queued=2).to_dict())
    world.store.client.delete(world.store.keys("workers"))
    first = ask(client, "retry")
    assert (first["done"], first["matched"], len(retries(world))) == (2, 2, 2)
    refused = client.post("/pipeline/jobs/bulk", json={"action": "retry", "filter": {"tenant_id": "acme"}, "cursor": first["next_cursor"]})
    problem_of(refused, 429, "queue_full")
    world.store.set_limits("acme", TenantLimits().to_dict())
    assert (ask(client, "retry", cursor=first["next_cursor"])["done"], retries(world)) == (2, dict.fromkeys(failed, 1))


def test_a_tenant_that_may_have_no_more_jobs_keeps_an_operator_from_no_other_s(client: FlaskClient, world: World) -> None:
    theirs = world.put(status=JobStatus.FAILED, tenant_id="other")
    full = some(world, JobStatus.FAILED, 2)
    world.put(status=JobStatus.QUEUED)
    world.store.set_limits("acme", TenantLimits(max_queued=1).to_dict())
    answer = ask(client, "retry", filter={"status": ["failed"]})
    assert (answer["matched"], answer["done"], answer["next_cursor"], retries(world)) == (3, 1, None, {theirs.job_id: 1})
    assert {(one["job_id"], one["code"]) for one in answer["not_done"]} == {(job_id, "queue_full") for job_id in full}


def test_what_was_done_before_the_store_went_away_is_said_and_in_the_audit_log(
    client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(world, JobStatus.FAILED, 4)
    delete, calls = world.cell.client.delete, iter(range(10))

    def delete_three(job_id: str, order: int) -> None:
        if next(calls) == 2:
            raise StoreUnavailable
        delete(job_id, order)

    monkeypatch.setattr(world.cell.client, "delete", delete_three)
    first = ask(client, "delete")
    assert (first["matched"], first["done"], len(world.ids())) == (2, 2, 2)
    assert [row.detail["done"] for row in world.audit] == [2]
    assert ask(client, "delete", cursor=first["next_cursor"])["done"] == 2
    assert world.ids() == []


def test_what_cannot_be_retried_is_named_and_the_others_are(client: FlaskClient, world: World) -> None:
    odd, good = world.put(status=JobStatus.FAILED), world.put(status=JobStatus.FAILED)
    world.write(odd.job_id, pipeline="gone")
    answer = ask(client, "retry", filter={"tenant_id": "acme", "status": ["failed"]})
    assert [(one["job_id"], one["code"]) for one in answer["not_done"]] == [(odd.job_id, "unknown_pipeline")]
    assert (answer["matched"], answer["done"], retries(world)) == (2, 1, {good.job_id: 1})


def test_a_key_reaches_its_own_jobs_only(client: FlaskClient, world: World) -> None:
    mine, theirs = some(world, JobStatus.FAILED, 1, workspace_id="w"), some(world, JobStatus.FAILED, 1)
    _, text = world.key("acme", Role.SUBMIT, "w")
    assert ask(client, "delete", headers={"Authorization": f"Bearer {text}"}, filter={"status": ["failed"]})["done"] == 1
    assert (mine[0] in world.ids(), theirs[0] in world.ids()) == (False, True)


@each(
    ("body", "field"),
    [
        ({"action": "retry", "filter": {}}, "filter"),
        ({"action": "sing", "filter": {"tag": "x"}}, "action"),
        ({"action": "retry", "filter": {"tag": "x", "status": ["running"]}}, "filter.status"),
        ({"action": "cancel", "filter": {"tag": "x", "status": ["failed"]}}, "filter.status"),
        ({"action": "retry"}, "filter"),
        ({"filter": {"tag": "x"}}, "action"),
        ({"action": "retry", "filter": {"colour": "x"}}, "filter.colour"),
    ],
)
def test_a_wrong_body_is_refused(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    problem_of(client.post("/pipeline/jobs/bulk", json=body), 422, "invalid_input", field)


def test_a_field_without_a_value_is_no_filter(client: FlaskClient, world: World) -> None:
    """What a client leaves empty must not mean all jobs: each field alone, and all of them together."""
    some(world, JobStatus.FAILED, 1)
    empty: dict[str, Any] = {name: [] if name == "status" else None for name in bodies.BulkFilter.model_fields}
    for given in ({}, empty, *({name: value} for name, value in empty.items())):
        for action in ("cancel", "retry", "delete"):
            problem_of(client.post("/pipeline/jobs/bulk", json={"action": action, "filter": given}), 422, "invalid_input", "filter")
        problem_of(client.post("/pipeline/jobs/cancel", json=given), 422, "invalid_input", "tenant_id")
    assert (len(world.ids()), retries(world)) == (1, {})
