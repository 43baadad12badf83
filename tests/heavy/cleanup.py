"""Bar 7: TTL cleanup of many ended jobs among many more.

The records are copies of real ones: a few jobs go through the real scripts, and a script of ours writes their like, index by index. In the
short form the recount checks every one of them, so the copies are as the real ones are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import scripts
from pipeline_jobs.store.store import Store, connect
from tests.heavy.figures import quantiles

#: Copies a job so many times. KEYS: prefix. ARGV: id of the pattern, first number, how many, ms to add to the time it expires.
#: Not in the queue itself (`ready`): what is copied has ended.
_COPY = """
local pattern = redis.call('HGETALL', K.job(ARGV[1]))
local fields, places = {}, {}
for i = 1, #pattern, 2 do
  fields[pattern[i]] = pattern[i + 1]
  places[pattern[i]] = i + 1
end
local tenant, workspace, status = fields.tenant_id, fields.workspace_id, fields.status
for n = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1 do
  local id = string.format('job_%d_%08x', 1000000000 + math.floor(n / 4294967296), n)
  local order = string.format('%.0f', 1000000000000000 + n)
  local expires = string.format('%.0f', fields.expires_at + ARGV[4] + n % 1000)
  pattern[places.job_id], pattern[places.order], pattern[places.expires_at] = id, order, expires
  redis.call('HSET', K.job(id), unpack(pattern))
  redis.call('ZADD', K.status(status), order, id)
  redis.call('ZADD', K.tenant_status(tenant, status), order, id)
  redis.call('ZADD', K.workspace(tenant, workspace), order, id)
  redis.call('ZADD', K.pipeline(tenant, fields.pipeline), order, id)
  redis.call('ZADD', K.ended(), expires, id)
end
redis.call('HINCRBY', K.usage(tenant), 'store_bytes', ARGV[3] * fields.store_bytes)
"""
#: How many copies one call of it makes.
CHUNK = 2_000
DAY_MS = 86_400_000


@dataclass(slots=True)
class CleanupFigures:
    """What one cleanup gave."""

    records: int
    expired: int
    live: int
    purged: int = 0
    seconds: float = 0.0
    #: Seconds that a second connection waited for GETs of a record meanwhile.
    meanwhile: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Patterns:
    """Real jobs: one that ended, for copies; and how to make live ones."""

    ended: str
    live: Callable[[], str]


def copies(store: Store, pattern: str, first: int, n: int, later_ms: int) -> None:
    """Write `n` ended jobs like `pattern`, numbered from `first`, that expire so many ms later than it."""
    script = store.client.register_script(scripts.compose("#!lua", [], _COPY))
    for start in range(first, first + n, CHUNK):
        script(keys=[store.keys.prefix], args=[pattern, start, min(CHUNK, first + n - start), later_ms])


def run_cleanup(store: Store, artifacts: ArtifactStore, patterns: Patterns, *, expired: int, records: int, live: int) -> CleanupFigures:
    """Fill the (empty) store up to `records` jobs, of which `expired` have expired and `live` are live, and purge it."""
    figures = CleanupFigures(records, expired, live)
    with unlogged(store.client):
        copies(store, patterns.ended, 0, expired, -DAY_MS)
        copies(store, patterns.ended, expired, records - expired - live, DAY_MS)
    living = [patterns.live() for _ in range(live)]
    before = {job_id: store.client.hgetall(store.keys("job", job_id)) for job_id in living}
    own = {patterns.ended} if store.client.exists(store.keys("job", patterns.ended)) else set()
    _same(figures, "jobs before", _jobs(store), records + len(own))
    with _Watcher(store, living[0]) as watcher:
        began = time.monotonic()
        figures.purged = Purge(store, artifacts, Settings(max_ended_per_tenant=10**9)).run_once()["purged"]
        figures.seconds = round(time.monotonic() - began, 3)
    figures.meanwhile = quantiles(watcher.waits)
    _same(figures, "purged", figures.purged, expired)
    _same(figures, "jobs left", _jobs(store), records - expired + len(own))
    _same(figures, "ended jobs left", int(store.client.zcard(store.keys("ended"))), records - expired - live + len(own))
    _same(figures, "queued jobs left", int(store.client.zcard(store.keys("status", JobStatus.QUEUED))), live)
    for job_id, record in before.items():
        if store.client.hgetall(store.keys("job", job_id)) != record:
            figures.wrong.append(f"{job_id}: a live job was touched")
    return figures


def _jobs(store: Store) -> int:
    return sum(int(store.client.zcard(store.keys("status", status))) for status in JobStatus)


def _same(figures: CleanupFigures, what: str, actual: int, expected: int) -> None:
    if actual != expected:
        figures.wrong.append(f"{what}: {actual} instead of {expected}")


@contextmanager
def unlogged(client: redis.Redis) -> Any:
    """Without the AOF while the copies are made; it is rewritten, and on again, before the cleanup begins."""
    client.config_set("appendonly", "no")
    try:
        yield
    finally:
        client.config_set("appendonly", "yes")
        while _rewriting(client):
            threading.Event().wait(0.05)


def _rewriting(client: redis.Redis) -> bool:
    persistence: dict[str, Any] = client.info("persistence")
    return bool(persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"] or persistence["loading"])


class _Watcher:
    """Reads one record again and again on a connection of its own, and notes how long each reading took."""

    def __init__(self, store: Store, job_id: str) -> None:
        self.waits: list[float] = []
        kwargs = store.client.connection_pool.connection_kwargs
        self._client = connect(f"redis://{kwargs['host']}:{kwargs['port']}/{kwargs['db']}")
        self._key = store.keys("job", job_id)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._client.close()

    def _look(self) -> None:
        while not self.waits or not self._done.wait(0.001):
            began = time.monotonic()
            self._client.hgetall(self._key)
            self.waits.append(time.monotonic() - began)
