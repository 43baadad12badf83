"""What a request tells the server about itself: whose it is, and what it costs the store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.jobs import listing
from pipeline_jobs.jobs.bulk import PAGE
from pipeline_jobs.jobs.listing import BUDGET
from pipeline_jobs.web.api import counts
from pipeline_jobs.web.api.batches import BYTE_SECONDS, CANCELLED_SECONDS, MADE_SECONDS
from pipeline_jobs.web.http.costing import STORE_SHARE
from pipeline_jobs.web.server.accounts import HEAVY, MOST_AT_WORK, SHARE, Turns
from pipeline_jobs.web.server.balance import Served
from pipeline_jobs.web.server.paced_socket import PacedSocket
from pipeline_jobs.web.state import EXTENSION
from pipeline_jobs.web.ui.jobs import LOOKED_SECONDS

from .test_auth import AWAY, WRONG
from .world import World

JOBS = {"jobs": [{"pipeline": "sleep"}] * 20}


def test_whose_a_request_is(client: FlaskClient, world: World, sock: PacedSocket) -> None:
    environ = {**AWAY, "gunicorn.socket": sock}
    (one, tenant), (other, everybody) = (world.keys.create(tenant, Role.READ, actor="test") for tenant in ("acme", ALL))
    for text, owner in ((WRONG, None), (tenant, "tenant acme"), (everybody, f"key {other.key_id}")):
        sock.owner = None
        client.get("/pipeline/jobs", headers={"Authorization": f"Bearer {text}"}, environ_overrides=environ)
        assert sock.owner == owner
    # What it may not do costs as much as anything else.
    sock.owner = None
    refused = client.post("/pipeline/jobs", json={}, headers={"Authorization": f"Bearer {tenant}"}, environ_overrides=environ)
    assert refused.status_code == 403
    assert str(sock.owner) == f"tenant {one.tenant_id}"


def test_batches_and_their_cancels_are_charged_once(client: FlaskClient, sock: PacedSocket) -> None:
    environ, again = {"gunicorn.socket": sock}, {"Idempotency-Key": "k"}
    made = client.post("/pipeline/batches", json=JOBS, headers=again, environ_overrides=environ).get_json()
    after_batch = sock.cost
    assert after_batch > 20 * MADE_SECONDS
    client.post("/pipeline/batches", json=JOBS, headers=again, environ_overrides=environ)
    assert sock.cost == after_batch
    client.post(f"{made['urls']['cancel']}", environ_overrides=environ)
    after_cancel = sock.cost
    assert after_cancel - after_batch > 20 * CANCELLED_SECONDS
    client.post(f"{made['urls']['cancel']}", environ_overrides=environ)
    assert sock.cost == after_cancel
    client.post("/pipeline/batches", json=JOBS, environ_overrides=environ)
    before = sock.cost
    client.post("/pipeline/jobs/cancel", json={"status": ["queued"]}, environ_overrides=environ)
    assert sock.cost - before > 20 * CANCELLED_SECONDS


def test_a_neighbour_that_counts_its_jobs_again_and_again_waits_for_its_turn(
    client: FlaskClient, sock: PacedSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand looks cost what ten lists of a thousand do, whatever they find: heavy enough that others go first."""
    client.post("/pipeline/batches", json={"jobs": JOBS["jobs"] * 2})
    pages, all_of_it = 2, SHARE / STORE_SHARE
    ended = {"action": "retry", "filter": {"q": "x"}, "dry_run": True}
    for path, body, looks in (
        ("/pipeline/jobs/cancel", {"q": "x", "dry_run": True}, pages * PAGE),
        ("/pipeline/jobs/bulk", {"action": "cancel", "filter": {"q": "x"}, "dry_run": True}, pages * PAGE),
        ("/pipeline/jobs/bulk", {**ended, "filter": {"q": "x"}}, 0),
    ):
        sock.cost = 0.0
        assert client.post(path, json=body, environ_overrides={"gunicorn.socket": sock}).status_code == 200
        assert sock.cost == pytest.approx(looks * counts.LOOKED_SECONDS * all_of_it), path
    client.post("/pipeline/jobs/cancel", json={"status": ["queued"]})
    monkeypatch.setattr(listing, "BUDGET", 10)
    sock.cost = 0.0
    cancelled = {**ended, "filter": {"q": "x", "status": ["cancelled"]}}
    assert client.post("/pipeline/jobs/bulk", json=cancelled, environ_overrides={"gunicorn.socket": sock}).get_json()["matched"] == 0
    # One look, and then a list of each ten.
    assert sock.cost == pytest.approx((10 + 4 * BUDGET) * counts.LOOKED_SECONDS * all_of_it)
    turns, greedy = Turns(Served()), counts.MOST_LOOKED * counts.LOOKED_SECONDS * all_of_it
    assert greedy > HEAVY
    for name in ("greedy", "other"):
        turns.note(name, 0.0, is_known=True)
    turns.debts.charge("greedy", greedy, 0.0)
    assert (turns.most("greedy", 0.0), turns.most("other", 0.0)) == (0, MOST_AT_WORK)


@pytest.mark.parametrize("path", ["/pipeline/jobs/bulk", "/pipeline/ui/bulk?action=retry&status=cancelled&workspace_id=main"])
def test_what_is_done_to_many_jobs_is_charged_by_the_page_too(client: FlaskClient, sock: PacedSocket, path: str) -> None:
    environ = {"gunicorn.socket": sock}
    made = client.post("/pipeline/batches", json=JOBS).get_json()
    client.post(made["urls"]["cancel"])
    body = {"action": "retry", "filter": {"status": ["cancelled"]}}
    how: dict[str, Any] = {"headers": {"Origin": "http://localhost"}} if "ui" in path else {"json": body}
    answer = client.post(path, environ_overrides=environ, **how)
    assert answer.status_code in (200, 303), answer.text
    assert sock.cost > 20 * MADE_SECONDS


def test_what_the_page_counts_is_charged(client: FlaskClient, sock: PacedSocket) -> None:
    environ = {"gunicorn.socket": sock}
    client.post("/pipeline/batches", json=JOBS)
    for path, looks in (("/pipeline/ui/jobs?q=x", 20), ("/pipeline/ui/jobs?q=x&group=batch_id", 40)):
        sock.cost = 0.0
        assert client.get(path, environ_overrides=environ).status_code == 200
        assert sock.cost == pytest.approx(looks * LOOKED_SECONDS * SHARE / STORE_SHARE)


def test_a_batch_is_charged_its_jobs_and_bytes_at_a_quarter_of_the_stores_time_over_all_processes(
    client: FlaskClient, sock: PacedSocket
) -> None:
    client.application.extensions[EXTENSION].processes.count = 3
    body = json.dumps(JOBS)
    client.post("/pipeline/batches", data=body, content_type="application/json", environ_overrides={"gunicorn.socket": sock})
    assert sock.cost == pytest.approx((20 * MADE_SECONDS + len(body) * BYTE_SECONDS) * SHARE / STORE_SHARE * 3)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/pipeline/jobs?q=nowhere&limit=1", None),
        ("GET", "/pipeline/jobs?workspace_id=none&error_code=none", None),
        ("POST", "/pipeline/jobs/cancel", {"q": "nowhere"}),
        ("POST", "/pipeline/jobs/bulk", {"action": "cancel", "filter": {"q": "nowhere"}}),
    ],
)
def test_what_is_looked_at_is_charged_also_where_nothing_is_found(
    client: FlaskClient, sock: PacedSocket, method: str, path: str, body: Any
) -> None:
    """Each such page is a millisecond or more of the store's, and next to nothing of the API's: as many as one likes were for nothing."""
    client.post("/pipeline/batches", json=JOBS)
    if "error_code" in path:
        client.post("/pipeline/jobs/cancel", json={"status": ["queued"]})
    before = sock.cost
    answer = client.open(path, method=method, json=body, environ_overrides={"gunicorn.socket": sock})
    assert answer.status_code == 200
    assert sock.cost - before >= 20 * counts.LOOKED_SECONDS


def test_a_text_that_is_looked_for_costs_by_what_is_searched(client: FlaskClient, sock: PacedSocket) -> None:
    client.post("/pipeline/jobs", json={"pipeline": "sleep", "metadata": {"note": "n" * 16_000}})
    before = sock.cost
    client.get("/pipeline/jobs?q=nowhere", environ_overrides={"gunicorn.socket": sock})
    assert sock.cost - before >= 8 * counts.LOOKED_SECONDS
