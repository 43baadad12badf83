"""Who works here: each worker and other process with its state, and the jobs that each runs. For `jobs workers`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from pipeline_jobs.job import Job, rfc3339
from pipeline_jobs.pools.pool_names import shown
from pipeline_jobs.store import presence
from pipeline_jobs.store.figures import Load, load
from pipeline_jobs.store.pool_figures import leased
from pipeline_jobs.store.presence import Process
from pipeline_jobs.store.store import Store


@dataclass(frozen=True, slots=True)
class Running:
    """A job that a worker runs."""

    job_id: str
    tenant_id: str
    pipeline: str
    stage: str | None
    #: Since when, RFC 3339.
    since: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A process."""

    name: str
    kind: str
    #: `live`, `drained`, `paused: ...`, `lost`, or `refused: ...`.
    state: str
    #: Since when it is there, RFC 3339; None: it does not say.
    since: str | None
    version: str
    #: Of a job worker: how many jobs it takes.
    slots: int | None
    jobs: tuple[Running, ...]
    #: That it serves; None: it announces no slots.
    pool: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def roll(store: Store) -> list[Row]:
    """The processes that announce themselves, and job workers of earlier versions, by name. :raises StoreUnavailable:"""
    now, known, found, runs = store.now(), presence.processes(store), load(store), _runs(store)
    lost = presence.lost(known, now)
    here = [*presence.live(known, now), *lost, *(one for one in known if one.about.refused)]
    names = {one.name for one in known}
    here += [Process(name, presence.About("jobs", "earlier"), 0, 0, 0) for name in found.slots if name not in names]
    rows = [_row(one, found, runs, "lost" if one in lost else "") for one in here]
    return sorted(rows, key=lambda row: row.name)


def _runs(store: Store) -> dict[str, list[Running]]:
    runs: dict[str, list[Running]] = defaultdict(list)
    for flat in store.records("job", [(one,) for one in leased(store)]):
        if flat:
            job = Job.from_mapping(flat)
            runs[job.worker or ""].append(Running(job.job_id, job.tenant_id, job.pipeline, job.stage, rfc3339(job.attempt_started_at)))
    return runs


def _row(one: Process, now: Load, runs: dict[str, list[Running]], lost: str) -> Row:
    state = f"refused: {one.about.refused}" if one.about.refused else lost or _state(one.name, now)
    since = rfc3339(one.began) if one.began else None
    pool = next((shown(pool.pool) for pool in now.pools if one.name in pool.slots), None)
    return Row(one.name, one.about.kind, state, since, one.about.version, now.slots.get(one.name), tuple(runs.get(one.name, ())), pool)


def _state(name: str, now: Load) -> str:
    if name in now.paused and name in now.slots:
        return f"paused: {now.paused[name]}"
    return "live" if now.slots.get(name, 1) else "drained"
