"""What waits and runs in a cell, and how its server is: for metrics, the overview, readiness and the doctor. Reads only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.pool_figures import PoolFigures, ask, read
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
    #: `default`, and the others.
    pools: list[PoolFigures]

    @property
    def paused(self) -> dict[str, str]:
        """Live workers that take no jobs now, each with why."""
        return {worker: why for pool in self.pools for worker, why in pool.paused.items()}

    @property
    def warnings(self) -> dict[str, str]:
        """What an operator should know of live workers."""
        return {worker: text for pool in self.pools for worker, text in pool.warnings.items()}

    @property
    def default(self) -> PoolFigures:
        """The pool of workers that serve no other."""
        return self.pools[0]

    @property
    def slots(self) -> dict[str, int]:
        """Slots of each live worker."""
        return {worker: n for pool in self.pools for worker, n in pool.slots.items()}

    @property
    def workers(self) -> int:
        """How many workers are live."""
        return len(self.slots)


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
        # The server's clock, by which workers are announced: this process's may be wrong.
        pipe.time()
        names = ask(store, pipe)
        queued, running, canaries, singing, first, (seconds, micros), *of_pools = pipe.execute()
    now = seconds + micros / 1_000_000
    if tenant_id is None:
        queued, running = queued - len(canaries), running - singing
        first = [one for one in first if one[0] not in canaries]
    return Load(
        queued=queued,
        running=running,
        oldest_seconds=max(0.0, now - first[0][1] / 1_000_000) if first else None,
        pools=read(names, of_pools, now * 1000),
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
    #: That it serves; empty: `default`.
    pool: str
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
    #: `default`, and the others with why jobs wait in them.
    pools: list[PoolFigures]
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
    """Five round trips. :raises StoreUnavailable:"""
    keys, waiting, outbox = store.keys, store.run("waiting"), store.run("webhooks_waiting")
    # By the server's clock, as all that is written there.
    now = int(waiting.now)
    # In one transaction: its figures are of one moment.
    with store_errors(), store.client.pipeline() as pipe:
        pipe.hgetall(keys("counters"))
        pipe.smembers(keys("named"))
        pipe.mget(*(keys("heartbeat", duty) for duty in ("canary", *DUTIES)))
        pipe.zrange(keys("schedules_due"), 0, 0, withscores=True)
        pipe.hgetall(keys("pipelines"))
        pipe.zcount(keys("apis"), now, "+inf")
        asked = ask(store, pipe)
        counters, names, beats, due, pipelines, apis, *of_pools = pipe.execute()
    pools = [_with_reasons(pool, waiting) for pool in read(asked, of_pools, now)]
    canary, *ages = (None if beat is None else _age(now, beat) for beat in beats)
    return Scrape(
        counters=counters,
        names=names,
        reasons=_by_reason(waiting.reasons),
        pools=pools,
        workers=[_worker(worker, pool) for pool in pools for worker in pool.slots],
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
    """What waits, and the live job workers of all pools."""

    #: As in `Scrape`.
    reasons: dict[str, int]
    #: Slots of each live worker (name and incarnation), and jobs that each runs.
    slots: dict[str, int]
    running: dict[str, int]
    #: The pool that each serves; empty: `default`.
    pools: dict[str, str]


def workers(store: Runner) -> Workers:
    """Three round trips. :raises StoreUnavailable:"""
    waiting = store.run("waiting")
    with store_errors(), store.client.pipeline() as pipe:
        names = ask(store, pipe)
        pools = read(names, pipe.execute(), int(waiting.now))
    slots = {worker: n for pool in pools for worker, n in pool.slots.items()}
    running = {worker: n for pool in pools for worker, n in pool.running.items()}
    return Workers(_by_reason(waiting.reasons), slots, running, {worker: pool.pool for pool in pools for worker in pool.slots})


def pool_of(store: Runner, name: str) -> PoolFigures:
    """Of a pool what waits, and its live workers: for whatever starts and ends those. One that there never was has nothing.

    :raises StoreUnavailable:
    """
    waiting = store.run("waiting")
    with store_errors(), store.client.pipeline() as pipe:
        names = ask(store, pipe)
        found = read(names, pipe.execute(), int(waiting.now))
    return next((_with_reasons(pool, waiting) for pool in found if pool.pool == name), PoolFigures(name, 0, 0, 0, None, {}, {}, {}))


def _with_reasons(pool: PoolFigures, waiting: Any) -> PoolFigures:
    """Of `default` all that wait but those that wait in other pools."""
    reasons = {name: _by_reason(found) for name, found, _ in waiting.pools}
    if not pool.pool:
        others = Counter[str]()
        for name, found in reasons.items():
            others.update(found if name else {})
        own = {reason: n - others[reason] for reason, n in _by_reason(waiting.reasons).items()}
    since = {name: at for name, _, at in waiting.pools} if len(waiting.pools) > 1 else {"": waiting.since}
    age = _age(int(waiting.now), since.get(pool.pool, ""))
    return replace(pool, reasons=reasons.get(pool.pool, {}) if pool.pool else own, ready_seconds=age)


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


def _worker(worker: str, pool: PoolFigures) -> WorkerFigures:
    return WorkerFigures(
        worker=worker,
        pool=pool.pool,
        kind=pool.kinds.get(worker, ""),
        slots=pool.slots[worker],
        running=pool.running[worker],
        paused=pool.paused.get(worker, ""),
        warning=pool.warnings.get(worker, ""),
    )


def _pipelines(table: Mapping[str, str]) -> dict[str, PipelineFigures]:
    """An operator's cap (`cap:X`) goes before the pipeline's own (`own:X`)."""
    # `ms:X:P` is of the pool P.
    names = sorted({name for name in (field.partition(":")[2] for field in table) if ":" not in name})
    caps = {name: table.get(f"cap:{name}", table.get(f"own:{name}")) for name in names}
    used = {name: sum(int(float(table.get(f"{field}:{name}", 0))) for field in ("n", "others")) for name in names}
    return {name: PipelineFigures(used[name], int(float(cap)) if cap else None) for name, cap in caps.items()}


def _by_reason(pairs: Sequence[Any]) -> dict[str, int]:
    return {reason: int(n) for reason, n in zip(pairs[::2], pairs[1::2], strict=True)}


def _age(now: float, since: Any) -> float:
    """Seconds from one ms to another, by the server's clock; 0 for '': there is none."""
    return max(0.0, (now - float(since)) / 1000) if since != "" else 0.0
