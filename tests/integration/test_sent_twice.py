"""Every script that changes something, sent twice with the same arguments: the same answer, and nothing changes the second time.

redis-py sends a command again when its reply was lost. Here each call of a life with everything in it is sent twice, so a script that is
called in it and cannot bear that is found without a test of its own; one that is not called in it is found by the last line.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.cell import Webhooks
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.kept import KeptFolders
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.schedules.fire import Fire
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import presence, scripts
from pipeline_jobs.store.runs import Parts, Taker
from pipeline_jobs.store.wire import Stored, Wire
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.webhooks.ledger import Ledger
from tests.integration.conftest import Cell
from tests.integration.recount import differences
from tests.integration.snapshot import Snapshot

FAR = 2_900_000_000_000
#: Answers that say what was left to be done, and why the second one may be another. Whatever they answer, nothing changes the second time.
MAY_ANSWER_OTHERWISE = {
    "rescue": "whom time has run out for is told once; the log alone has it",
    "reconcile": "likewise",
    "purge": "how many it removed: fewer than asked for means that nothing is left, the second time too",
    "purge_kept": "likewise",
    "history_moved": "how many were not known to be moved; nobody but a log waits for it",
    "upload_sweep": "likewise",
    "webhooks_erase": "likewise",
    "webhooks_purge": "likewise",
    "audit_sweep": "likewise",
    "continue": "what it took is its own for ten seconds; then it comes again",
    "continued": "nobody waits for the answer",
    "webhooks_claim": "what it took is taken: it waits for the end of its lease and is sent by another",
    "schedule_fire": "a slot that was fired is gone; nobody waits for the answer",
    "schedule_plan": "stale: the look that follows sees what was planned",
    "tick": "how many ticks wait is looked at; a second tick of a duty does nothing",
}
#: What names a tenant that was erased: the audit log until its time comes, figures of the installation, answers that are kept for minutes,
#: and what is thrown away as it is come upon (hints, files).
STAYS = {
    "audit", "audit_order", "audit_streams", "counters", "named", "named_count", "ranks", "said", "jobs", "trash",
}  # fmt: skip
#: Those that do more the second time, by their nature.
MAY_CHANGE_MORE = {"reconcile", "tick", "webhooks_claim"}


def state(cell: Cell) -> dict[str, Any]:
    """Everything in the store but what calls were answered and what goes by itself after seconds; times of this minute count as one."""
    seen, found = Snapshot(cell.store, of_all=True), dict[str, Any]()
    for key, value in seen.everything().items():
        if isinstance(value, dict):
            found[key] = {name: _timeless(one) for name, one in value.items()}
        elif seen.kinds[key] == "set":
            found[key] = sorted(value)
        else:
            found[key] = _timeless(value) if seen.kinds[key] == "string" else value
        if key.startswith((cell.store.keys("said", ""), cell.store.keys("apart", ""))):
            del found[key]
    return found


def _timeless(value: str | float) -> Any:
    """Milliseconds since 1970, in steps of ten minutes."""
    if isinstance(value, str) and " " in value:
        return tuple(map(_timeless, value.split()))
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return f"about {round(number / 600_000)}" if 1.5e12 < number < 3e12 else value


@pytest.fixture
def twice(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Sends every script twice. Gives those that were sent."""
    seen: set[str] = set()
    once = Wire.run

    def run(wire: Wire, stored: Stored, keys: list[str], arguments: Sequence[Any]) -> Any:
        name = stored.function.name.removeprefix(scripts.FUNCTION_PREFIX).rpartition("_")[0]
        first = once(wire, stored, keys, arguments)
        if "no-writes" in scripts.source(name).partition("\n")[0]:
            return first
        seen.add(name)
        before = state(jobs)
        second = once(wire, stored, keys, arguments)
        if name not in MAY_ANSWER_OTHERWISE:
            # What a submit was held against is told once.
            assert _told(name, second) == _told(name, first), name
        if name not in MAY_CHANGE_MORE:
            after = state(jobs)
            assert {
                key: (before.get(key), after.get(key)) for key in before.keys() | after.keys() if before.get(key) != after.get(key)
            } == {}, name
        return first

    monkeypatch.setattr(Wire, "run", run)
    return seen


def _told(name: str, reply: Any) -> Any:
    """An answer, without the times of this minute, and without what a submit was held against, which is told once."""
    if not isinstance(reply, list):
        return reply
    if name == "claim":
        return dict(zip(reply[1::2], map(_timeless, reply[2::2]), strict=True))
    if name == "finish":
        # The record of the job that it hands over: its fields have no order.
        return reply[:2], dict(zip(reply[2::2], map(_timeless, reply[3::2]), strict=True))
    place = {"submit": 6, "submit_batch": 3, "schedule_fire": 4}.get(name)
    return [
        _told("", part) if isinstance(part, list) else _timeless(part)
        for i, part in enumerate(reply)
        if place is None or i not in (place, place + 1)
    ]


def test_every_script_can_be_sent_twice(jobs: Cell, tmp_path: Path, twice: set[str]) -> None:
    cell = jobs.with_settings(max_crashes=2, webhook_allow_private=True, announce_seconds=600, hint_seconds=600, lease_seconds=600)
    store, client = cell.store, cell.client
    artifacts = ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k")
    uploads, scheduler, batches, keys = Uploads(store, cell.settings, artifacts), Scheduler(client), Batches(client), KeyStore(store)
    webhooks = Webhooks.of(store, cell.settings, lambda: "the key of the installation")
    endpoints, ledger = webhooks.endpoints, webhooks.ledger
    acme: dict[str, Any] = {"tenant_id": "acme"}

    _limits_and_workers(cell)
    upload = uploads.write(uploads.create("acme", "main", 3), 0, io.BytesIO(b"abc").read)
    endpoint, _ = endpoints.create("acme", "http://127.0.0.1:9/")
    _runs(cell)
    _keeps(cell)
    first = cell.submit(**acme)
    waiting = cell.submit(depends_on=(first.job_id,), **acme)
    client.change(waiting.job_id, priority=3)
    client.store.cancel(first.job_id, actor="key:1")
    cell.slots(0)
    late = cell.submit(priority=-1, **acme)
    cell.slots(5)
    store.change(late.job_id, priority=7)
    store.change(cell.submit(run_at=FAR, **acme).job_id, run_at=0)
    made = batches.create(NewBatch((NewJob(pipeline="sleep"),) * 2, **acme))
    batches.cancel(made.batch.batch_id)
    flow = cell.cell.workflows.create(
        NewWorkflow([NewNode("b", NewJob(pipeline="sleep"), ("a",)), NewNode("a", NewJob(pipeline="sleep"))], "acme")
    )
    cell.cell.workflows.cancel(flow.batch.batch_id)
    batches.cancel(cell.cell.workflows.retry(flow.batch.batch_id).batch.batch_id)
    ended = client.list(JobQuery(statuses=(JobStatus.CANCELLED,), **acme)).items[0]
    client.delete(ended.job_id)
    _schedule(cell, scheduler)
    for row in ledger.take(5, 5, []):
        ledger.settle(row.lease, "dead", {}, error="x", delay=0, slow=True)
        ledger.redeliver(row.delivery_id)
    endpoints.test(endpoint.endpoint_id)
    endpoints.rotate(endpoint.endpoint_id)
    endpoints.update(endpoint.endpoint_id, enabled=False)
    endpoints.delete(endpoint.endpoint_id)
    key, _ = keys.create("acme", Role.READ, actor="test")
    keys.touch(key.key_id, 1)
    keys.end_session(key.key_id, keys.begin_session(key.key_id, 600))
    keys.revoke("acme", key.key_id, actor="test")
    keys.erase("acme")
    audit.record(store, "test", "test", "x", {})
    store.client.xadd(store.keys("tenant_audit", "work", "old"), {"actor": "test"}, id="1-1")
    audit.record(store, "test", "schedule.run", "x", {}, tenant_id="old")
    store.client.set(store.keys("audit_unordered"), "1")
    audit.order(store)
    audit.sweep(store, 600)
    store.tick("maintenance", "{}", 5)
    store.beat("purge")
    store.announce_api("p1", 1000)
    presence.announce(store, "jobs@a/1", presence.About("jobs"))
    presence.announce(store, "jobs@a/2", presence.About("jobs"))
    presence.leave(store, "jobs@a/2")
    assert presence.tries_artifacts(store, "jobs@a/1", 30)
    assert store.run("rank_tenants", tenants=["acme", "other"]) == ["acme", "other"]
    uploads.delete(upload.upload_id)
    _what_time_runs_out_for(cell, uploads, ledger)
    erase_tenant(store, artifacts, "acme", dry_run=False)
    assert _still_named(cell, "acme") <= STAYS
    assert differences(store) == []
    writing = {name for name in scripts.places() if "no-writes" not in scripts.source(name).partition("\n")[0]}
    assert writing - twice == set()


def _still_named(cell: Cell, tenant: str) -> set[str]:
    """The first words of the keys that have the tenant in their name or value."""
    everything = Snapshot(cell.store, of_all=True).everything()
    prefix = cell.store.keys.prefix
    return {key.removeprefix(prefix).partition(":")[0] for key, value in everything.items() if tenant in key or tenant in str(value)}


def _limits_and_workers(cell: Cell) -> None:
    cell.client.set_limits("acme", TenantLimits(weight=2))
    cell.store.set_pipeline_cap("sleep", 9)
    cell.store.set_max_concurrent_jobs(50)
    cell.slots(5)


def _runs(cell: Cell) -> None:
    """Each way in which a run goes."""
    store = cell.store
    for why in ("crash", "retry", "handback", "fault", "crash"):
        run = cell.running(tenant_id="acme")
        store.progress(run.job_id, run.fence, 10, "s", "m")
        assert store.take_output(run.job_id, run.fence, "s", why, "", "") in ("", '["s",{},null,{"f":"a-1"}]')
        store.output_stored(run.job_id, run.fence, "acme", ["a-1"], why, '["s",{},null,{"f":"a-1"}]', 9)
        store.keep_outputs(run.job_id, run.fence, "{}", "")
        store.append_log(run.job_id, run.fence, 2, ['[1,1,1,"INFO","x","","a"]', '[2,2,1,"INFO","x","","b"]'], f"1:2:{'0' * 64}-60")
        # It is charged for more than its estimate as it goes: with the second announcement, where a second has passed since the first.
        key = store.keys("job", run.job_id)
        charged = str(store.client.hget(key, "charged"))
        store.client.hset(key, "charged", 600_000)
        store.announce("w1", 5, [(run.job_id, run.fence)])
        store.client.hset(key, "charged", charged)
        store.requeue(run.job_id, run.fence, why)
        cell.client.cancel(run.job_id)
    for otherwise, signalled in (("fail", True), ("go_on", False), ("fail", False)):
        run = cell.running(tenant_id="acme")
        assert store.park(run.job_id, run.fence, "go", 5.0, otherwise, "?") is JobStatus.QUEUED
        if signalled:
            store.run("signal", id=run.job_id, name="go", payload="1", by="test", tenant="acme", workspace="main")
        store.client.zadd(store.keys("delayed"), {run.job_id: 1}, xx=True)
        store.rescue()
        cell.client.cancel(run.job_id)
    store.announce("g1", 1, [], pool="gpu")
    run = cell.running(tenant_id="acme")
    assert store.advance(run.job_id, run.fence, "gpu", "next: gpu", stage="hear") is JobStatus.QUEUED
    _parts(cell)
    cell.client.cancel(run.job_id)
    run = cell.running(tenant_id="acme")
    store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts="acme/main/x/1", artifact_bytes=1)
    for outcome in (JobStatus.COMPLETED, JobStatus.FAILED):
        run = cell.running(tenant_id="acme")
        assert store.run("copy_reserve", id=run.job_id, fence=run.fence, names='["a"]', bytes=5, most=100) == "ok"
        assert store.run("copy_ids", id=run.job_id, fence=run.fence, ids='{"a":"1"}') == '{"a":"1"}'
        store.finish(run.job_id, run.fence, outcome, result={}, copied=(True, ""))
        (row,) = [one for one in Ledger(store, cell.settings).of_subject(run.job_id) if one.url.startswith("gdrive:")]
        event_id = str(store.client.hget(store.keys("delivery", row.delivery_id), "event_id"))
        assert store.run("copy_done", event_id=event_id, id=run.job_id, url="https://drive/1") == "ok"
    run = cell.running(tenant_id="acme")
    assert store.run("spend_tokens", id=run.job_id, fence=run.fence, amount=5, most=100) == "ok"
    store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    # One process after the other runs what the one before was given, or handed over.
    run, _ = cell.running(tenant_id="acme"), cell.slots(1)
    waiting = [cell.submit(tenant_id="acme") for _ in range(2)]
    taker = Taker("w1", "run 2", {"sleep": None})
    store.finish(run.job_id, run.fence, JobStatus.COMPLETED, taker=taker)
    assert taker.job is not None
    assert taker.job.job_id == waiting[0].job_id
    assert [one.job_id for one in store.process_lost("w1", waiting[1].job_id, 1, ["run", "run 2"], "crash")] == [taker.job.job_id]
    for job in waiting:
        cell.client.cancel(job.job_id)
    cell.slots(5)


def _parts(cell: Cell) -> None:
    """A job in three parts, each of which ends in another way."""
    store = cell.store
    run = cell.running(tenant_id="acme")
    blob = f"{'b' * 64}-1"
    for first in (0, 2):
        assert store.stage_parts(run.job_id, run.fence, first, ['["part.input",{},null,{}]'] * (2 - first // 2), blob)
    assert store.split(run.job_id, run.fence, Parts("hear", 3, 2, 2, "", True, (10, 90)), "hear: 3 parts", "") is JobStatus.QUEUED
    names = [f"{run.job_id}~{run.fence}.{number}" for number in range(3)]
    parts = [cell.start(name, run=name) for name in names[:2]]
    store.progress(names[0], parts[0].fence, 40.0, "hear")
    store.requeue(names[0], parts[0].fence, "retry", delay_seconds=0)
    again = cell.start(names[0], run="again")
    store.finish(names[0], again.fence, JobStatus.COMPLETED, result={}, outputs=("[]", f"{'c' * 64}-1"))
    broken = {"code": "x", "message": "x", "stage": "hear", "retryable": False}
    store.finish(names[1], parts[1].fence, JobStatus.FAILED, error="x", error_detail=broken)
    third = cell.start(names[2], run="third")
    cell.client.cancel(run.job_id)
    store.finish(names[2], third.fence, JobStatus.CANCELLED)


def _keeps(cell: Cell) -> None:
    """Folders outlive their records, until they are deleted or their time has come."""
    kept, keys = KeptFolders(cell.store), cell.store.keys
    for ends in ("deleted", "expired"):
        run = cell.running(tenant_id="acme")
        cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}, artifacts=f"acme/main/{ends}/1", artifact_bytes=1)
        cell.store.client.zadd(keys("ended"), {run.job_id: 1})
        cell.store.purge()
        if ends == "deleted":
            kept.delete(kept.get(run.job_id))
        else:
            cell.store.client.zadd(keys("kept_until"), {run.job_id: 1})
    assert kept.purge() == 1


def _schedule(cell: Cell, scheduler: Scheduler) -> None:
    schedule = scheduler.create(NewSchedule("* * * * *", NewJob(pipeline="sleep", tenant_id="acme"))).schedule
    slot = (schedule.next_run_at or 0) - 60_000
    cell.store.client.hset(cell.store.keys("schedule", schedule.schedule_id), "next_run_at", slot)
    cell.store.client.zadd(cell.store.keys("schedules_due"), {schedule.schedule_id: slot})
    Fire(scheduler).run_once()
    scheduler.run_now(schedule.schedule_id)
    scheduler.delete(schedule.schedule_id)


def _what_time_runs_out_for(cell: Cell, uploads: Uploads, ledger: Ledger) -> None:
    store = cell.store
    cell.running(tenant_id="acme")
    cell.let_leases_end()
    store.rescue()
    store.recount()
    store.reconcile()
    told = store.submit(cell.client.prepare(NewJob(pipeline="sleep"), "told"), message='{"headers":{"continues":true}}').job
    cell.client.cancel(told.job_id)
    assert store.run("continue", limit=10) == [told.job_id]
    store.run("continued", id=told.job_id, fence=store.record("continuation", told.job_id)["fence"])
    uploads.create("acme", "main", 3)
    for key in ("uploads", "ended", "deliveries_ended"):
        for member in store.client.zrange(store.keys(key), 0, -1):
            store.client.zadd(store.keys(key), {member: 1})
    uploads.sweep()
    _moves_into_the_history(cell)
    store.purge()
    store.trim(["acme"], 10**6, 10**12, 10)
    ledger.purge()


def _moves_into_the_history(cell: Cell) -> None:
    on = cell.with_settings(history_url="sqlite:///never-opened")
    ended = on.submit(tenant_id="acme")
    on.client.store.cancel(ended.job_id)
    assert on.store.run("history_page", tenants=5, limit=5)
    assert on.store.run("history_moved", refused=False, orders=[(ended.job_id, str(ended.order))]) == 1
    for taking in (True, False):
        assert on.store.run("history_turn", whose="acme", token="t", ms=1000, taking=taking) == 1
