"""The oracle of the indexes: count everything again from the records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pipeline_jobs.job import Job
from pipeline_jobs.states import LIVE, JobStatus
from pipeline_jobs.store.keys import Keys
from pipeline_jobs.store.store import Store
from tests.integration.snapshot import Snapshot

#: What an Idempotency-Key is charged (`lua/lib/idempotency.lua`).
REMEMBERED_BYTES = 220


def parts_left(store: Store) -> list[str]:
    """Keys of parts, and of splits that are not over."""
    keys, client = store.keys, store.client
    families = [keys(name, "*") for name in ("parts", "open_parts", "parts_blobs")]
    families += [keys("job", "*~*"), keys("tenant_status", "*", "part_*"), keys("logs", "*~*"), keys("events", "*~*")]
    found = [key for pattern in families for key in client.scan_iter(pattern)]
    return found + [name for name in ("splitting", "ended_splits") if client.exists(keys(name))]


def differences(store: Store) -> list[str]:
    """What does not agree with the records; empty when all is well."""
    seen, keys = Snapshot(store), store.keys
    records: dict[str, dict[str, str]] = seen.after(keys("job", ""), "hash")
    # Parts are where what waits and runs is, and in no list.
    both = {job_id: Job.from_mapping(flat) for job_id, flat in records.items()}
    jobs = {job_id: job for job_id, job in both.items() if job.part_of is None}
    parts = {job_id: job for job_id, job in both.items() if job.part_of is not None}
    found: list[str] = _parts(store, seen, keys, jobs, parts)
    kept: dict[str, dict[str, str]] = seen.after(keys("kept", ""), "hash")

    def same(what: str, index: str, expected: set[str]) -> None:
        actual = set(seen.zset(index))
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
        records_of = [*mine.values(), *(part for part in parts.values() if part.tenant_id == tenant)]
        named = Counter(blob for job in records_of for blob in (job.blobs or "").split(",") if blob)
        splits = [split for split in seen.after(keys("parts_blobs", ""), "list") if split.partition("~")[0] in mine]
        named.update(blob for split in splits for row in store.lines("parts_blobs", split) for blob in row.split(","))
        named.update(file.rpartition(":")[2] for one in mine for file in records[one].get("log_files", "").split(",") if file)
        outputs, usage = seen.hash(keys("outputs", tenant)), seen.hash(keys("usage", tenant))
        reused = seen.hash(keys("reuse", tenant))
        shared = [blob for row in reused.values() for blob in row.split(" ", 3)[2].split(",") if blob]
        named.update(shared)
        of_rows = sum(int(blob.rpartition("-")[2]) for blob in shared)
        if int(usage.get("reuse_bytes", 0)) != of_rows:
            found.append(f"bytes of {tenant} for other jobs: {usage.get('reuse_bytes')} instead of {of_rows}")
        same(f"outputs of {tenant} for other jobs", keys("reuse_used", tenant), set(reused))
        if {blob: int(n) for blob, n in outputs.items()} != named:
            found.append(f"kept outputs of {tenant}: {outputs} instead of {named}")
        stored = sum(job.artifact_bytes for job in mine.values()) + sum(int(blob.rpartition("-")[2]) for blob in named)
        stored += sum(int(row["bytes"]) for row in kept.values() if row["tenant_id"] == tenant)
        stored += sum(int(seen.hash(keys("upload", one)).get("length", 0)) for one in seen.zset(keys("tenant_uploads", tenant)))
        bytes_kept = sum(int(usage.get(name, 0)) for name in ("artifact_bytes", "output_bytes", "upload_bytes"))
        if bytes_kept != stored:
            found.append(f"usage of {tenant}: {bytes_kept} instead of {stored}")
        of_folders = sum(int(row["bytes"]) for row in kept.values() if row["tenant_id"] == tenant and "counted" in row)
        if int(usage.get("folder_bytes", 0)) != of_folders:
            found.append(f"kept bytes of {tenant}: {usage.get('folder_bytes')} instead of {of_folders}")
    found += _batches(seen, keys, jobs)
    found += _bytes(seen, keys)
    found += _dependencies(seen, keys, jobs)
    timed = {i for i, job in both.items() if not job.ended and (job.deadline_at or "run_until" in records[i])}
    same("deadlines", keys("deadlines"), {i for i in timed if "deadline_passed" not in records[i]})
    same("ended", keys("ended"), {i for i, job in jobs.items() if job.ended})
    waiting = {i for i, job in both.items() if job.status is JobStatus.QUEUED}
    ready: set[str] = set()
    hinted: set[str] = set()
    names = ["", *seen.text(keys("pools")).split()]
    for pool in names:
        of_pool = _Pool(seen, Keys(keys.prefix, pool), pool, both)
        found += of_pool.differences()
        ready |= of_pool.ready
        hinted |= of_pool.hinted
    found += [f"{i} is in the pool {job.pool}" for i, job in both.items() if (job.pool or "") not in names and not job.ended]
    parked = {i for i in waiting if both[i].reason == "signal"}
    same("parked", keys("awaiting"), parked)
    for tenant in {job.tenant_id for job in jobs.values()}:
        same(f"parked of {tenant}", keys("tenant_awaiting", tenant), {i for i in parked if jobs[i].tenant_id == tenant})
    found += [f"{i} waits for {both[i].awaits}" for i in waiting if (both[i].awaits is None) is (i in parked)]
    delayed = set(seen.zset(keys("delayed")))
    same("ready since", keys("ready_since"), ready | hinted)
    held = {i for i in waiting if both[i].reason == "dependency"}
    if ready | hinted | delayed | held != waiting or len(ready) + len(hinted) + len(delayed) + len(held) != len(waiting):
        found.append(
            f"queued jobs are not each in one of ready ({len(ready)}), hints ({len(hinted)}), delayed ({len(delayed)}), "
            f"waiting for others ({len(held)})"
        )
    slots = [job for i, job in both.items() if job.status is JobStatus.RUNNING or i in hinted]
    others = Counter(job.tenant_id for job in slots if job.pool)
    for tenant in {job.tenant_id for job in jobs.values()}:
        counted_slots = seen.hash(keys("share", tenant)).get("others")
        if int(counted_slots or 0) != others[tenant]:
            found.append(f"slots of {tenant} in other pools: {counted_slots} instead of {others[tenant]}")
    counts = seen.hash(keys("pipelines"))
    for field, pooled in {"n": False, "others": True}.items():
        by_pipeline = {
            name: int(n)
            for which, _, name in (f.partition(":") for f in counts)
            if which == field and (n := counts[f"{which}:{name}"]) != "0"
        }
        if by_pipeline != dict(Counter(job.pipeline for job in slots if bool(job.pool) is pooled)):
            found.append(f"slots by pipeline ({field}): {by_pipeline}")
    for job_id, flat in records.items():
        writes = int(flat.get("terminal_writes", 0))
        if writes != (1 if both[job_id].ended else 0):
            found.append(f"{job_id} is {flat['status']} with {writes} terminal writes")
    return found


class _Pool:
    """What there is of each pool for itself."""

    def __init__(self, seen: Snapshot, keys: Keys, pool: str, jobs: dict[str, Job]) -> None:
        self._seen, self._keys, self._pool, self._jobs = seen, keys, pool, jobs
        self._mine = {i: job for i, job in jobs.items() if (job.pool or "") == pool}
        #: Jobs in its lanes, and those that have a hint.
        self.ready: set[str] = set()
        self.hinted = set(seen.zset(keys("hints")))

    def differences(self) -> list[str]:
        return [f"pool {self._pool or 'default'}: {what}" for what in (*self._lanes(), *self._slots())]

    def _lanes(self) -> Iterator[str]:
        seen, keys, jobs = self._seen, self._keys, self._jobs
        for tenant, workspace, pipeline in {(job.tenant_id, job.workspace_id, job.pipeline) for job in jobs.values()}:
            lane = {member[17:] for member in seen.zset(keys("ready", tenant, workspace, pipeline))}
            if any((jobs[i].tenant_id, jobs[i].workspace_id, jobs[i].pipeline) != (tenant, workspace, pipeline) for i in lane if i in jobs):
                yield f"lane {tenant}/{workspace}/{pipeline} holds another's jobs"
            if bool(lane) != (pipeline in seen.zset(keys("lanes", tenant, workspace))):
                yield f"lane {tenant}/{workspace}/{pipeline} with {len(lane)} jobs is wrongly listed"
            blocked = f"{tenant}:{workspace}" in seen.zset(keys("blocked", pipeline))
            if lane and not blocked and workspace not in seen.zset(keys("workspaces", tenant)):
                yield f"workspace {tenant}/{workspace} with ready jobs is in no ring"
            if lane and not blocked and tenant not in seen.zset(keys("ring")) and tenant not in seen.set(keys("waiting")):
                yield f"tenant {tenant} with ready jobs is neither in the ring nor held back"
            self.ready |= lane
        if others := self.ready - self._mine.keys():
            yield f"its lanes have jobs of other pools: {sorted(others)[:3]}"

    def _slots(self) -> Iterator[str]:
        seen, keys, mine = self._seen, self._keys, self._mine
        runs = {i for i, job in mine.items() if job.status is JobStatus.RUNNING}
        if (leases := set(seen.zset(keys("leases")))) != runs:
            yield f"leases: too many {sorted(leases - runs)[:3]}, missing {sorted(runs - leases)[:3]}"
        running = Counter(mine[i].worker for i in runs)
        counted = {worker: int(n) for worker, n in seen.hash(keys("running")).items()}
        if counted != dict(running):
            yield f"running per worker: {counted} instead of {dict(running)}"
        stranded = sum(n for worker, n in running.items() if worker not in seen.zset(keys("workers")))
        if seen.number(keys("stranded")) != stranded:
            yield f"stranded {seen.number(keys('stranded'))} instead of {stranded}"
        of_tenants = Counter(job.tenant_id for i, job in mine.items() if i in runs or i in self.hinted)
        field = f"n:{self._pool}" if self._pool else "n"
        for tenant in {job.tenant_id for job in self._jobs.values()}:
            slots = seen.hash(keys("share", tenant)).get(field)
            if int(slots or 0) != of_tenants[tenant]:
                yield f"slots of {tenant}: {slots} instead of {of_tenants[tenant]}"
        capacity = sum(int(n) for n in seen.hash(keys("slots")).values())
        if seen.number(keys("capacity")) != capacity:
            yield f"capacity {seen.number(keys('capacity'))} instead of {capacity}"


def _batches(seen: Snapshot, keys: Keys, jobs: dict[str, Job]) -> list[str]:
    """Counts of statuses, less the jobs that were removed; the lists of batches; no batch without a job."""
    found: list[str] = []
    known: dict[str, list[Job]] = {}
    for job in jobs.values():
        if job.batch_id:
            known.setdefault(job.batch_id, []).append(job)
    listed = set(seen.zset(keys("batches", "*", "*")))
    if listed != set(known):
        found.append(f"batches: {sorted(listed)} instead of {sorted(known)}")
    workflows = {batch_id for batch_id in known if seen.hash(keys("batch", batch_id)).get("workflow")}
    if set(seen.zset(keys("workflows", "*", "*"))) != workflows:
        found.append(f"workflows: {sorted(seen.zset(keys('workflows', '*', '*')))} instead of {sorted(workflows)}")
    for batch_id, mine in known.items():
        record = seen.hash(keys("batch", batch_id))
        removed = int(record["total"]) - len(mine)
        for status in JobStatus:
            n, counted = sum(job.status is status for job in mine), int(record.get(status, 0))
            if not (n == counted if status in LIVE else n <= counted <= n + removed):
                found.append(f"batch {batch_id}: {counted} {status} instead of {n}")
        if bool(record.get("completed_at")) != all(job.ended for job in mine):
            found.append(f"batch {batch_id}: completed_at is {record.get('completed_at')}")
        if set(seen.zset(keys("batch_jobs", batch_id))) != {job.job_id for job in mine}:
            found.append(f"batch {batch_id}: its index is wrong")
    return found


def _dependencies(seen: Snapshot, keys: Keys, jobs: dict[str, Job]) -> list[str]:
    """Who waits for whom, from both sides: only waiting jobs for live ones, and nobody for nothing."""
    found: list[str] = []
    edges = {(one, need) for one, needs in seen.after(keys("needs", ""), "set").items() for need in needs}
    back = {(dependent, one) for one, dependents in seen.after(keys("dependents", ""), "set").items() for dependent in dependents}
    if edges != back:
        found.append(f"dependencies are not the same from both sides: {sorted(edges ^ back)[:3]}")
    waiting = {i for i, job in jobs.items() if job.status is JobStatus.QUEUED and job.reason == "dependency"}
    if {i for i, _ in edges} != waiting:
        found.append(f"waiting for others: {sorted({i for i, _ in edges} ^ waiting)[:3]}")
    if any(need not in jobs or jobs[need].ended for _, need in edges):
        found.append("a job waits for one that has ended")
    return found


def _parts(store: Store, seen: Snapshot, keys: Keys, jobs: dict[str, Job], parts: dict[str, Job]) -> list[str]:
    """Each table is of a job that names it, and its parts are open, ended, or still to come, and no two of these."""
    found: list[str] = []
    tables = seen.after(keys("parts", ""), "hash")
    named = {f"{i}~{job.split.partition(' ')[0]}" for i, job in jobs.items() if job.split}
    if named != set(tables):
        found.append(f"tables of parts: {sorted(tables)} instead of {sorted(named)}")
    opened = seen.after(keys("open_parts", ""), "set")
    # One whose split is over runs until its worker has stopped it.
    of_splits = {i for i, part in parts.items() if not (part.cancel_requested and i.rpartition(".")[0] not in tables)}
    if {part for some in opened.values() for part in some} != of_splits:
        found.append(f"open parts: {opened} instead of {sorted(of_splits)}")
    lists = seen.after(keys("parts_blobs", ""), "list")
    if left := (set(lists) | set(opened)) - named - {row.partition(" ")[0] for row in store.lines("ended_splits")}:
        found.append(f"left of splits that are over: {sorted(left)}")
    for split, table in tables.items():
        live, ended = opened.get(split, set()), {name for name in table if name.startswith("r:")}
        waits = jobs[split.partition("~")[0]].reason == "parts"
        if "left" in table and (int(table["left"]), len(live)) != (int(table["n"]) - len(ended), int(table["opened"]) - len(ended)):
            found.append(f"parts of {split}: {table['left']} left, {len(live)} of {table['opened']} are open, {len(ended)} have ended")
        if waits != ("left" in table and table["left"] != "0"):
            found.append(f"{split} has {table.get('left')} parts left, and its job {'waits' if waits else 'does not wait'}")
    splitting = {i for i, job in jobs.items() if job.reason == "parts"}
    if set(seen.zset(keys("splitting"))) != splitting:
        found.append(f"split jobs: {seen.zset(keys('splitting'))} instead of {sorted(splitting)}")
    if set(seen.zset(keys("status", "part_queued"))) != (queued := {i for i, part in parts.items() if part.status is JobStatus.QUEUED}):
        found.append(f"queued parts: not {sorted(queued)}")
    for tenant in {part.tenant_id for part in parts.values()}:
        running = {i for i, part in parts.items() if part.status is JobStatus.RUNNING and part.tenant_id == tenant}
        if set(seen.zset(keys("tenant_status", tenant, "part_running"))) != running:
            found.append(f"running parts of {tenant}: not {sorted(running)}")
    return found


def _bytes(seen: Snapshot, keys: Keys) -> list[str]:
    """What each tenant is charged for the server's memory is the sum over its records; all of them have a charge."""
    charged: Counter[str] = Counter()
    found: list[str] = []
    for family in ("job", "batch", "delivery", "webhook_event", "kept", "upload"):
        for one, record in seen.after(keys(family, ""), "hash").items():
            own = record.get("store_bytes")
            charged[record.get("tenant_id", "")] += int(own or 0)
            if int(own or 0) <= 0:
                found.append(f"{keys(family, one)} is charged {own}")
    for split, table in seen.after(keys("parts", ""), "hash").items():
        whose = seen.hash(keys("job", split.partition("~")[0])).get("tenant_id", "")
        charged[whose] += int(table["store_bytes"])
    for tenant, reused in seen.after(keys("reuse", ""), "hash").items():
        charged[tenant] += sum(int(row.partition(" ")[0]) for row in reused.values())
    for tenant, remembered in seen.after(keys("remembered", ""), "zset").items():
        charged[tenant] += REMEMBERED_BYTES * len(remembered)
    # Of a day has a tenant figures, too: `usage:TENANT:DAY`.
    usage = {tenant: held for tenant, held in seen.after(keys("usage", ""), "hash").items() if ":" not in tenant}
    for tenant in {*charged, *usage}:
        counted = int(usage.get(tenant, {}).get("store_bytes", 0))
        if counted != charged[tenant]:
            found.append(f"memory of {tenant}: {counted} instead of {charged[tenant]}")
    return found
