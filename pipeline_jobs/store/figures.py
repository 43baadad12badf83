"""What waits and runs in a cell, and how its server is: for metrics, the overview, readiness and the doctor. Reads only."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.reader import Reader
from pipeline_jobs.store.runner import Runner
from pipeline_jobs.tenants import CANARY_TENANT

#: Maximum number of canaries that may wait at once.
MOST_CANARIES = 5
#: Those of maintenance, as beat ticks them, that note when they last ran.
DUTIES = ("rescue", "continue", "purge", "reconcile", "fire", "webhooks", "history")


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of this moment."""

    #: Jobs that wait and that run, the platform's own canary not among them.
    queued: int
    running: int
    #: Age in seconds of the job that was accepted first of those that wait; None: nothing waits.
    oldest_seconds: float | None
    #: Leases that workers hold, of all jobs.
    leases: int
    #: Slots of the live workers together.
    capacity: int
    #: How many workers are live.
    workers: int
    #: The installation's cap; None: nobody has set it.
    max_concurrent_jobs: int | None
    #: Live workers that take no jobs now, each with why.
    paused: dict[str, str]
    #: What an operator should know of live workers.
    warnings: dict[str, str]
    #: Slots of each live worker.
    slots: dict[str, int]


def load(store: Reader, tenant_id: str | None = None) -> Load:
    """:param tenant_id: count this tenant's jobs only; None: all. Workers and slots are those of the installation.

    :raises StoreUnavailable:
    """
    keys = store.keys

    def index(status: JobStatus) -> str:
        return keys("status", status) if tenant_id is None else keys("tenant_status", tenant_id, status)

    with store_errors(), store.client.pipeline(transaction=False) as pipe:
        pipe.zcard(index(JobStatus.QUEUED))
        pipe.zcard(index(JobStatus.RUNNING))
        pipe.zrange(keys("tenant_status", CANARY_TENANT, JobStatus.QUEUED), 0, -1)
        pipe.zcard(keys("tenant_status", CANARY_TENANT, JobStatus.RUNNING))
        # One canary is on its way at a time: the oldest job that is none is among the first of these.
        pipe.zrange(index(JobStatus.QUEUED), 0, MOST_CANARIES, withscores=True)
        pipe.zcard(keys("leases"))
        pipe.mget(keys("capacity"), keys("max_concurrent_jobs"))
        pipe.zrange(keys("workers"), 0, -1, withscores=True)
        pipe.hgetall(keys("paused"))
        pipe.hgetall(keys("warnings"))
        pipe.hgetall(keys("slots"))
        # The server's clock, by which workers are announced: this process's may be wrong.
        pipe.time()
        *counts, announced, paused, warnings, slots, (seconds, micros) = pipe.execute()
    queued, running, canaries, singing, first, leases, (capacity, cap) = counts
    now = seconds + micros / 1_000_000
    workers = [worker for worker, until in announced if until >= now * 1000]
    if tenant_id is None:
        queued, running = queued - len(canaries), running - singing
        first = [one for one in first if one[0] not in canaries]
    return Load(
        queued=queued,
        running=running,
        oldest_seconds=max(0.0, now - first[0][1] / 1_000_000) if first else None,
        leases=leases,
        capacity=int(capacity or 0),
        workers=len(workers),
        max_concurrent_jobs=int(cap) if cap else None,
        paused=paused,
        warnings=warnings,
        slots={worker: int(slots.get(worker, 0)) for worker in workers},
    )


@dataclass(frozen=True, slots=True)
class Unmoved:
    """What waits to be moved into the history."""

    jobs: int
    tenants: int
    #: How long ago the one ended that has waited longest, in seconds; 0: nothing waits.
    seconds: float


def history(store: Runner) -> Unmoved:
    """:raises StoreUnavailable:"""
    found = store.run("history_waiting")
    return Unmoved(int(found.waiting), int(found.tenants), _age(store.now(), found.since))


@dataclass(frozen=True, slots=True)
class Server:
    """The store's server, as it says itself."""

    version: str
    used_bytes: int
    #: Its limit; 0: none is set.
    max_bytes: int
    #: It keeps a log on its disk, and its last write there was good.
    aof_enabled: bool
    aof_ok: bool
    clients: int
    #: How far its clock is ahead of this machine's, in seconds; half of a round trip may be in it.
    clock_ahead_seconds: float


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """A live job worker, as it announces itself."""

    #: Node name and incarnation.
    worker: str
    #: Of those that know the same pipelines and schema; empty: it does not say.
    kind: str
    slots: int
    running: int
    #: Why it takes no jobs now; empty: it does.
    paused: str
    #: What an operator should know of it; empty: nothing.
    warning: str


@dataclass(frozen=True, slots=True)
class PipelineFigures:
    """Slots that a pipeline's jobs hold, and the most that they may; None: any."""

    used: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Scrape:
    """What the metrics are made of. Ages in seconds; 0: there is none of the kind."""

    #: The counters as the scripts write them: `kind|label|label` -> number.
    counters: dict[str, str]
    #: Tenants (`X`) and workspaces (`X|Y`) that have metrics by name.
    names: set[str]
    #: Why queued jobs wait, and how many for each reason (`states.Reason`).
    reasons: dict[str, int]
    leases: int
    #: Slots of the live workers together, whatever the cap says.
    capacity: int
    #: The installation's cap; None: nobody has set it.
    max_concurrent_jobs: int | None
    workers: list[WorkerFigures]
    pipelines: dict[str, PipelineFigures]
    #: How many API processes are announced.
    apis: int
    #: Of the job that has waited longest of those that no limit of its tenant or pipeline holds back.
    ready_seconds: float
    schedules_late_seconds: float
    #: Webhooks that are still to be sent, and the age of the oldest.
    outbox: int
    outbox_seconds: float
    #: How long ago a canary came back; None: none has.
    canary_seconds: float | None
    #: How long ago each duty of maintenance ran, by its name; those that never ran are not in it.
    duty_seconds: dict[str, float]
    server: Server


def scrape(store: Runner) -> Scrape:
    """Four round trips. :raises StoreUnavailable:"""
    keys, waiting, outbox = store.keys, store.run("waiting"), store.run("webhooks_waiting")
    # By the server's clock, as all that is written there.
    now = int(waiting.now)
    # In one transaction: its figures are of one moment.
    with store_errors(), store.client.pipeline() as pipe:
        pipe.hgetall(keys("counters"))
        pipe.smembers(keys("named"))
        pipe.zcard(keys("leases"))
        pipe.mget(keys("capacity"), keys("max_concurrent_jobs"))
        pipe.mget(*(keys("heartbeat", duty) for duty in ("canary", *DUTIES)))
        pipe.zrange(keys("schedules_due"), 0, 0, withscores=True)
        pipe.zrangebyscore(keys("workers"), now, "+inf")
        for table in ("class_of", "slots", "running", "paused", "warnings", "pipelines"):
            pipe.hgetall(keys(table))
        pipe.zcount(keys("apis"), now, "+inf")
        counters, names, leases, (capacity, cap), beats, due, live, *tables, pipelines, apis = pipe.execute()
    canary, *ages = (None if beat is None else _age(now, beat) for beat in beats)
    return Scrape(
        counters=counters,
        names=names,
        reasons=_by_reason(waiting.reasons),
        leases=leases,
        capacity=int(capacity or 0),
        max_concurrent_jobs=int(cap) if cap else None,
        workers=[_worker(worker, *tables) for worker in live],
        pipelines=_pipelines(pipelines),
        apis=apis,
        ready_seconds=_age(now, waiting.since),
        schedules_late_seconds=_age(now, due[0][1]) if due else 0.0,
        outbox=int(outbox.waiting),
        outbox_seconds=_age(now, outbox.since),
        canary_seconds=canary,
        duty_seconds={duty: age for duty, age in zip(DUTIES, ages, strict=True) if age is not None},
        server=server(store),
    )


@dataclass(frozen=True, slots=True)
class Workers:
    """What waits, and the live job workers: for whatever starts and ends workers."""

    #: As in `Scrape`.
    reasons: dict[str, int]
    ready_seconds: float
    max_concurrent_jobs: int | None
    #: Slots of each live worker (name and incarnation), and jobs that each runs.
    slots: dict[str, int]
    running: dict[str, int]


def workers(store: Runner) -> Workers:
    """Two round trips. :raises StoreUnavailable:"""
    keys, waiting = store.keys, store.run("waiting")
    now = int(waiting.now)
    with store_errors(), store.client.pipeline() as pipe:
        pipe.get(keys("max_concurrent_jobs"))
        pipe.zrangebyscore(keys("workers"), now, "+inf")
        pipe.hgetall(keys("slots"))
        pipe.hgetall(keys("running"))
        cap, live, slots, running = pipe.execute()
    return Workers(
        reasons=_by_reason(waiting.reasons),
        ready_seconds=_age(now, waiting.since),
        max_concurrent_jobs=int(cap) if cap else None,
        slots={worker: int(slots.get(worker, 0)) for worker in live},
        running={worker: int(running.get(worker, 0)) for worker in live},
    )


def server(store: Reader) -> Server:
    """:raises StoreUnavailable:"""
    with store_errors(), store.client.pipeline(transaction=False) as pipe:
        for section in ("server", "memory", "persistence", "clients"):
            pipe.info(section)
        pipe.time()
        began = time.time()
        about, memory, persistence, clients, (seconds, micros) = pipe.execute()
        here = (began + time.time()) / 2
    return Server(
        version=str(about.get("valkey_version") or about.get("redis_version") or ""),
        used_bytes=int(memory.get("used_memory", 0)),
        max_bytes=int(memory.get("maxmemory", 0)),
        aof_enabled=bool(persistence.get("aof_enabled")),
        aof_ok=persistence.get("aof_last_write_status") == "ok",
        clients=int(clients.get("connected_clients", 0)),
        clock_ahead_seconds=seconds + micros / 1_000_000 - here,
    )


def _worker(
    worker: str,
    kinds: Mapping[str, str],
    slots: Mapping[str, str],
    running: Mapping[str, str],
    paused: Mapping[str, str],
    warnings: Mapping[str, str],
) -> WorkerFigures:
    return WorkerFigures(
        worker=worker,
        kind=kinds.get(worker, ""),
        slots=int(slots.get(worker, 0)),
        running=int(running.get(worker, 0)),
        paused=paused.get(worker, ""),
        warning=warnings.get(worker, ""),
    )


def _pipelines(table: Mapping[str, str]) -> dict[str, PipelineFigures]:
    """An operator's cap (`cap:X`) goes before the pipeline's own (`own:X`)."""
    names = sorted({field.partition(":")[2] for field in table})
    caps = {name: table.get(f"cap:{name}", table.get(f"own:{name}")) for name in names}
    return {name: PipelineFigures(int(float(table.get(f"n:{name}", 0))), int(float(cap)) if cap else None) for name, cap in caps.items()}


def _by_reason(pairs: Sequence[Any]) -> dict[str, int]:
    return {reason: int(n) for reason, n in zip(pairs[::2], pairs[1::2], strict=True)}


def _age(now: float, since: Any) -> float:
    """Seconds from one ms to another, by the server's clock; 0 for '': there is none."""
    return max(0.0, (now - float(since)) / 1000) if since != "" else 0.0
