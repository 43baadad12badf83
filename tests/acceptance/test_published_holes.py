"""The four cross-tenant holes that were published for Hatchet in 2026, tried on what is nearest to them here.

Hatchet is a platform of the same kind (tenants, workers, a graph of tasks, an event log), so its holes are the ones to expect. Each test
names the advisory and what the hole was.
"""

from __future__ import annotations

from itertools import product

import pytest

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.job import NewJob, new_batch_id, new_job_id
from pipeline_jobs.jobs.batches import NewBatch
from tests.acceptance.isolation import CALLERS, NOBODY, ROUTES, World

SECRET = "zebra"
#: Everybody who has a key and is no operator.
TENANTS_KEYS = ("read", "submit", "tenant admin", "of a workspace")
SAME = {"X-Request-Id": "same"}


@pytest.fixture(scope="module", autouse=True)
def _a_key_of_a_workspace(world: World) -> None:
    _, world.texts["of a workspace"] = world.keys.create("acme", Role.SUBMIT, actor="test", workspace_id="blog")


def theirs(tenant_id: str) -> NewJob:
    return NewJob(pipeline="sleep", tenant_id=tenant_id, tags=(SECRET,), metadata={"note": SECRET})


@pytest.mark.parametrize(("caller", "owner"), [*product(TENANTS_KEYS, ["other"]), ("of a workspace", "acme")])
def test_cve_2026_42572_the_tasks_of_anothers_graph_are_not_listed(world: World, caller: str, owner: str) -> None:
    """GHSA of `listTasksByDAGIds`: the route did not check membership, so a tenant's id and a DAG's id in the query gave its tasks."""
    batch_id = world.batches.create(NewBatch([theirs(owner), theirs(owner)], owner)).batch.batch_id
    queries = [f"batch_id={batch_id}", f"batch_id={batch_id}&tag={SECRET}", f"batch_id={batch_id}&workspace_id=main"]
    queries += [f"tenant_id={owner}&{query}" for query in queries]
    for query in queries:
        answer = world.ask("GET", f"/pipeline/jobs?{query}", caller, **SAME)
        assert answer.status_code in (200, 403)
        assert SECRET not in answer.text.replace(f"tag={SECRET}", "")
        none = world.ask("GET", f"/pipeline/jobs?{query.replace(batch_id, new_batch_id())}", caller, **SAME)
        assert answer.status_code == none.status_code
        if answer.status_code == 200:
            assert (answer.get_json(), none.get_json()) == ({"jobs": [], "count": 0, "next_cursor": None},) * 2
    for method, path in (("GET", f"/pipeline/batches/{batch_id}"), ("POST", f"/pipeline/batches/{batch_id}/cancel")):
        assert world.ask(method, path, caller).status_code == (403 if (caller, method) == ("read", "POST") else 404)
    if caller != "read":
        body = {"batch_id": batch_id}
        assert world.ask("POST", "/pipeline/jobs/cancel", caller, body).get_json()["matched"] == 0


@pytest.mark.parametrize("caller", TENANTS_KEYS)
def test_cve_2026_54746_nobody_writes_to_a_worker_or_unsubscribes_it(world: World, caller: str) -> None:
    """GHSA-8x7x-83cf-c3pg: `UpsertWorkerLabels` and `Unsubscribe` took any worker's id. Here no request names a worker at all."""
    assert not [rule for _, rule in ROUTES if "worker" in rule]
    store = world.store
    client, workers = store.client, store.keys("workers")
    said = {"worker": "rival/1", "worker_id": "rival/1", "workerId": "rival/1", "hostname": "rival/1", "labels": {"gpu": True}, "slots": 0}
    for (method, rule), route in ROUTES.items():
        if route.needs == "root":
            continue
        path = world.filled(route.path, "own")
        # Anew each time: who has said nothing for three seconds is taken out, as any worker.
        store.announce("rival/1", 7, [])
        before = client.zscore(workers, "rival/1")
        assert before is not None
        for body, query in ((said, ""), ({}, "worker_id=rival/1&worker=rival/1")):
            asked = path + ("?" if "?" not in path else "&") + query if query else path
            world.ask(method, asked, caller, {**route.body, **body}, **route.headers, **{"X-Worker-Id": "rival/1"}).close()
        assert client.zscore(workers, "rival/1") == before, rule


@pytest.mark.parametrize(("caller", "owner"), [*product(TENANTS_KEYS, ["other"]), ("of a workspace", "acme")])
def test_cve_2026_63342_anothers_event_log_is_not_read(world: World, caller: str, owner: str) -> None:
    """GHSA-g26x-m427-f48f: the event log of a task was looked up by the task's id alone, without its tenant."""
    job_id = world.jobs.submit(theirs(owner)).job_id
    for path, headers in product(
        ("/events", "/events?after=0&limit=500", "/ws"), ({}, {"Accept": "text/event-stream"}, {"Last-Event-ID": "0"})
    ):
        answer = world.ask("GET", f"/pipeline/jobs/{job_id}{path}", caller, **SAME, **headers)
        none = world.ask("GET", f"/pipeline/jobs/{new_job_id()}{path}", caller, **SAME, **headers)
        assert answer.status_code == none.status_code == 404
        assert {**answer.get_json(), "instance": ""} == {**none.get_json(), "instance": ""}
    assert world.ask("POST", "/pipeline/events/token", caller, {"job_id": job_id}).status_code == 404
    feed = world.ask("GET", "/pipeline/events?limit=500&after=0-0", caller).get_json()["events"]
    assert job_id not in {event["job_id"] for event in feed}


@pytest.mark.parametrize("caller", TENANTS_KEYS)
def test_cve_2026_88978_a_list_of_ids_is_looked_up_within_the_tenant(world: World, caller: str) -> None:
    """GHSA-992g-9cr3-vm5x: polled with a list of ids, `WorkerStatus` gave the log entries of whosever they were."""
    own = world.jobs.submit(NewJob(pipeline="sleep", tenant_id="acme", workspace_id="blog")).job_id
    if caller != "read":
        answers = []
        for other in (world.jobs.submit(theirs("other")).job_id, new_job_id()):
            job = {"pipeline": "sleep", "depends_on": [own, other]}
            for path, body in (("/pipeline/jobs", job), ("/pipeline/batches", {"jobs": [job], "partial": True}), ("/pipeline/run", job)):
                answers.append((path, world.ask("POST", path, caller, body, **SAME).text.replace(other, "")))
        assert len(set(answers)) == 3, answers
        assert not [text for _, text in answers if SECRET in text]
    # What workers are doing is the operator's to know.
    for path in ("/health/ready", "/metrics"):
        assert world.ask("GET", path, caller).status_code == 403


def test_nobody_without_a_key_gets_even_that_far(world: World) -> None:
    job_id = world.jobs.submit(theirs("other")).job_id
    for caller in sorted(NOBODY & set(CALLERS)):
        for path in (f"/pipeline/jobs?batch_id={new_batch_id()}", f"/pipeline/jobs/{job_id}/events", "/health/ready", "/metrics"):
            assert world.ask("GET", path, caller).status_code == 401
