"""The oracle of the indexes: count everything again from the records alone."""

from __future__ import annotations

from collections import Counter

from pipeline_jobs.job import Job
from pipeline_jobs.states import LIVE, JobStatus
from pipeline_jobs.store.store import Store

#: What an Idempotency-Key is charged (`lua/lib/idempotency.lua`).
REMEMBERED_BYTES = 220


def differences(store: Store) -> list[str]:
    """What does not agree with the records; empty when all is well."""
    client, keys = store.client, store.keys
    prefix = keys("job", "")
    records = {key.removeprefix(prefix): client.hgetall(key) for key in client.scan_iter(prefix + "*", count=1000)}
    jobs = {job_id: Job.from_mapping(flat) for job_id, flat in records.items()}
    found: list[str] = []
    rows = keys("kept", "")
    kept = {key.removeprefix(rows): client.hgetall(key) for key in client.scan_iter(rows + "*", _type="hash", count=1000)}

    def same(what: str, index: str, expected: set[str]) -> None:
        actual = set(client.zrange(index, 0, -1))
        if actual != expected:
            found.append(f"{what}: too many {sorted(actual - expected)[:3]}, missing {sorted(expected - actual)[:3]}")

    for status in JobStatus:
        same(f"status {status}", keys("status", status), {i for i, job in jobs.items() if job.status is status})
    # No test and no chaos takes as long as that.
    found += [
        f"{job_id} is said to have run for {flat['ran_ms']} ms"
        for job_id, flat in records.items()
        if int(flat.get("ran_ms", 0)) > 18_000_000
    ]
    same("kept folders", keys("kept_until"), set(kept))
    for tenant in {row["tenant_id"] for row in kept.values()}:
        same(f"kept folders of {tenant}", keys("tenant_kept", tenant), {i for i, row in kept.items() if row["tenant_id"] == tenant})
    for tenant in {job.tenant_id for job in jobs.values()} | {row["tenant_id"] for row in kept.values()}:
        mine = {i: job for i, job in jobs.items() if job.tenant_id == tenant}
        for status in JobStatus:
            same(f"{tenant} {status}", keys("tenant_status", tenant, status), {i for i, job in mine.items() if job.status is status})
        for workspace in {job.workspace_id for job in mine.values()}:
            same(
                f"workspace {workspace}", keys("workspace", tenant, workspace), {i for i, j in mine.items() if j.workspace_id == workspace}
            )
        for pipeline in {job.pipeline for job in mine.values()}:
            same(f"pipeline {pipeline}", keys("pipeline", tenant, pipeline), {i for i, j in mine.items() if j.pipeline == pipeline})
        for tag in {tag for job in mine.values() for tag in job.tags}:
            same(f"tag {tag}", keys("tag", tenant, tag), {i for i, j in mine.items() if tag in j.tags})
        named = Counter(blob for job in mine.values() for blob in (job.blobs or "").split(",") if blob)
        if {blob: int(n) for blob, n in client.hgetall(keys("outputs", tenant)).items()} != named:
            found.append(f"kept outputs of {tenant}: {client.hgetall(keys('outputs', tenant))} instead of {named}")
        stored = sum(job.artifact_bytes for job in mine.values()) + sum(int(blob.rpartition("-")[2]) for blob in named)
        stored += sum(int(row["bytes"]) for row in kept.values() if row["tenant_id"] == tenant)
        stored += sum(int(client.hget(keys("upload", one), "length") or 0) for one in store.members("tenant_uploads", tenant))
        if store.tenant_bytes(tenant) != stored:
            found.append(f"usage of {tenant}: {store.tenant_bytes(tenant)} instead of {stored}")
        of_folders = sum(int(row["bytes"]) for row in kept.values() if row["tenant_id"] == tenant and "counted" in row)
        if int(client.hget(keys("usage", tenant), "folder_bytes") or 0) != of_folders:
            found.append(f"kept bytes of {tenant}: {client.hget(keys('usage', tenant), 'folder_bytes')} instead of {of_folders}")
    found += _batches(store, jobs)
    found += _bytes(store)
    found += _dependencies(store, jobs)
    same("leases", keys("leases"), {i for i, job in jobs.items() if job.status is JobStatus.RUNNING})
    timed = {i for i, job in jobs.items() if not job.ended and (job.deadline_at or "run_until" in records[i])}
    same("deadlines", keys("deadlines"), {i for i in timed if "deadline_passed" not in records[i]})
    same("ended", keys("ended"), {i for i, job in jobs.items() if job.ended})
    waiting = {i for i, job in jobs.items() if job.status is JobStatus.QUEUED}
    ready: set[str] = set()
    places = {(job.tenant_id, job.workspace_id, job.pipeline) for job in jobs.values()}
    for tenant, workspace, pipeline in places:
        lane = {member[17:] for member in client.zrange(keys("ready", tenant, workspace, pipeline), 0, -1)}
        if any((jobs[i].tenant_id, jobs[i].workspace_id, jobs[i].pipeline) != (tenant, workspace, pipeline) for i in lane if i in jobs):
            found.append(f"lane {tenant}/{workspace}/{pipeline} holds another's jobs")
        if bool(lane) != (client.zscore(keys("lanes", tenant, workspace), pipeline) is not None):
            found.append(f"lane {tenant}/{workspace}/{pipeline} with {len(lane)} jobs is wrongly listed")
        blocked = client.zscore(keys("blocked", pipeline), f"{tenant}:{workspace}") is not None
        if lane and not blocked and client.zscore(keys("workspaces", tenant), workspace) is None:
            found.append(f"workspace {tenant}/{workspace} with ready jobs is in no ring")
        if lane and not blocked and client.zscore(keys("ring"), tenant) is None and not client.sismember(keys("waiting"), tenant):
            found.append(f"tenant {tenant} with ready jobs is neither in the ring nor held back")
        ready |= lane
    hinted, delayed = set(client.zrange(keys("hints"), 0, -1)), set(client.zrange(keys("delayed"), 0, -1))
    same("ready since", keys("ready_since"), ready | hinted)
    held = {i for i in waiting if jobs[i].reason == "dependency"}
    if ready | hinted | delayed | held != waiting or len(ready) + len(hinted) + len(delayed) + len(held) != len(waiting):
        found.append(
            f"queued jobs are not each in one of ready ({len(ready)}), hints ({len(hinted)}), delayed ({len(delayed)}), "
            f"waiting for others ({len(held)})"
        )
    running = Counter(job.worker for job in jobs.values() if job.status is JobStatus.RUNNING)
    counted = {worker: int(n) for worker, n in client.hgetall(keys("running")).items()}
    if counted != dict(running):
        found.append(f"running per worker: {counted} instead of {dict(running)}")
    slots = [job for i, job in jobs.items() if job.status is JobStatus.RUNNING or i in hinted]
    for tenant, n in Counter(job.tenant_id for job in slots).items():
        if int(client.hget(keys("share", tenant), "n") or 0) != n:
            found.append(f"slots of {tenant}: {client.hget(keys('share', tenant), 'n')} instead of {n}")
    for tenant in {job.tenant_id for job in jobs.values()} - {job.tenant_id for job in slots}:
        if int(client.hget(keys("share", tenant), "n") or 0):
            found.append(f"slots of {tenant}: {client.hget(keys('share', tenant), 'n')} instead of 0")
    counts = client.hgetall(keys("pipelines"))
    by_pipeline = {field[2:]: int(n) for field, n in counts.items() if field.startswith("n:") and n != "0"}
    if by_pipeline != dict(Counter(job.pipeline for job in slots)):
        found.append(f"slots by pipeline: {by_pipeline}")
    capacity = sum(int(n) for n in client.hvals(keys("slots")))
    if int(client.get(keys("capacity")) or 0) != capacity:
        found.append(f"capacity {client.get(keys('capacity'))} instead of {capacity}")
    for job_id, flat in records.items():
        writes = int(flat.get("terminal_writes", 0))
        if writes != (1 if jobs[job_id].ended else 0):
            found.append(f"{job_id} is {flat['status']} with {writes} terminal writes")
    return found


def _batches(store: Store, jobs: dict[str, Job]) -> list[str]:
    """Counts of statuses, less the jobs that were removed; the lists of batches; no batch without a job."""
    client, keys = store.client, store.keys
    found: list[str] = []
    known: dict[str, list[Job]] = {}
    for job in jobs.values():
        if job.batch_id:
            known.setdefault(job.batch_id, []).append(job)
    listed = set(client.zrange(keys("batches", "*", "*"), 0, -1))
    if listed != set(known):
        found.append(f"batches: {sorted(listed)} instead of {sorted(known)}")
    for batch_id, mine in known.items():
        record = client.hgetall(keys("batch", batch_id))
        removed = int(record["total"]) - len(mine)
        for status in JobStatus:
            n, counted = sum(job.status is status for job in mine), int(record.get(status, 0))
            if not (n == counted if status in LIVE else n <= counted <= n + removed):
                found.append(f"batch {batch_id}: {counted} {status} instead of {n}")
        if bool(record.get("completed_at")) != all(job.ended for job in mine):
            found.append(f"batch {batch_id}: completed_at is {record.get('completed_at')}")
        if set(client.zrange(keys("batch_jobs", batch_id), 0, -1)) != {job.job_id for job in mine}:
            found.append(f"batch {batch_id}: its index is wrong")
    return found


def _dependencies(store: Store, jobs: dict[str, Job]) -> list[str]:
    """Who waits for whom, from both sides: only waiting jobs for live ones, and nobody for nothing."""
    client, keys = store.client, store.keys
    found: list[str] = []
    edges = set()
    prefix = keys("needs", "")
    for key in client.scan_iter(prefix + "*", count=1000):
        edges |= {(key.removeprefix(prefix), need) for need in client.smembers(key)}
    prefix = keys("dependents", "")
    back = set()
    for key in client.scan_iter(prefix + "*", count=1000):
        back |= {(dependent, key.removeprefix(prefix)) for dependent in client.smembers(key)}
    if edges != back:
        found.append(f"dependencies are not the same from both sides: {sorted(edges ^ back)[:3]}")
    waiting = {i for i, job in jobs.items() if job.status is JobStatus.QUEUED and job.reason == "dependency"}
    if {i for i, _ in edges} != waiting:
        found.append(f"waiting for others: {sorted({i for i, _ in edges} ^ waiting)[:3]}")
    if any(need not in jobs or jobs[need].ended for _, need in edges):
        found.append("a job waits for one that has ended")
    return found


def _bytes(store: Store) -> list[str]:
    """What each tenant is charged for the server's memory is the sum over its records; all of them have a charge."""
    client, keys = store.client, store.keys
    charged: Counter[str] = Counter()
    found: list[str] = []
    for family in ("job", "batch", "delivery", "webhook_event", "kept", "upload"):
        for key in client.scan_iter(keys(family, "*"), count=1000):
            if client.type(key) != "hash":
                continue
            tenant, own = client.hmget(key, "tenant_id", "store_bytes")
            charged[tenant] += int(own or 0)
            if int(own or 0) <= 0:
                found.append(f"{key} is charged {own}")
    prefix = keys("remembered", "")
    for key in client.scan_iter(prefix + "*", count=1000):
        charged[key.removeprefix(prefix)] += REMEMBERED_BYTES * client.zcard(key)
    prefix = keys("usage", "")
    for tenant in {*charged, *(key.removeprefix(prefix) for key in client.scan_iter(keys("usage", "*"), count=1000) if key.count(":") < 3)}:
        counted = int(client.hget(keys("usage", tenant), "store_bytes") or 0)
        if counted != charged[tenant]:
            found.append(f"memory of {tenant}: {counted} instead of {charged[tenant]}")
    return found
