"""Bar 3 of Truth: how long each script holds the server, among very many records.

A hold is one call of a script: nobody else is answered meanwhile. The server's own figures are read before and after each (`INFO`): commands inside
of it, the time that it took, and the processor time of the server's main thread, which a busy machine does not make longer.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from pipeline_jobs.jobs.client import Client
from pipeline_jobs.store import scripts
from pipeline_jobs.store.store import Store

#: Copies a queued job so many times. KEYS: prefix. ARGV: id of the pattern, first number, how many.
_COPY = """
local pattern = redis.call('HGETALL', K.job(ARGV[1]))
local fields, places = {}, {}
for i = 1, #pattern, 2 do
  fields[pattern[i]] = pattern[i + 1]
  places[pattern[i]] = i + 1
end
local tenant, workspace, pipeline = fields.tenant_id, fields.workspace_id, fields.pipeline
local ready, orders, since = {}, {}, {}
for n = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1 do
  local id, order = string.format('job_1000000000_%08x', n), string.format('%.0f', 1000000000000000 + n)
  pattern[places.job_id], pattern[places.order] = id, order
  redis.call('HSET', K.job(id), unpack(pattern))
  ready[#ready + 1], ready[#ready + 2] = -tonumber(fields.priority or '0'), order .. ':' .. id
  orders[#orders + 1], orders[#orders + 2] = order, id
  since[#since + 1], since[#since + 2] = fields.created_at, id
end
for _, key in ipairs({K.status('queued'), K.tenant_status(tenant, 'queued'), K.workspace(tenant, workspace), K.pipeline(tenant, pipeline)}) do
  redis.call('ZADD', key, unpack(orders))
end
redis.call('ZADD', K.ready(tenant, workspace, pipeline), unpack(ready))
redis.call('ZADD', K.ready_since(), unpack(since))
"""
#: How many copies one call of it makes.
CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Hold:
    """One call of a script."""

    script: str
    #: Commands inside of it.
    commands: int
    #: Time that the server took for it, and processor time of its main thread.
    ms: float
    cpu_ms: float


@dataclass(slots=True)
class Holds:
    """The holds of what is done meanwhile, by what it is."""

    store: Store
    found: dict[str, list[Hold]] = field(default_factory=dict)

    @contextmanager
    def of(self, what: str) -> Iterator[list[Hold]]:
        """Notes each script that the store runs meanwhile."""
        noted = self.found.setdefault(what, [])
        run: Any = self.store.run

        def noting(script: str, /, **arguments: Any) -> Any:
            before = _figures(self.store.client)
            reply = run(script, **arguments)
            after = _figures(self.store.client)
            commands, ms, cpu_ms = (b - a for a, b in zip(before, after, strict=True))
            # Less the call itself and the look before it.
            noted.append(Hold(script, int(commands) - 2, ms, cpu_ms))
            return reply

        self.store.run = noting  # type: ignore[method-assign]
        try:
            yield noted
        finally:
            del self.store.run

    def table(self) -> str:
        """A line for each script of each thing: calls, and of a hold the commands and the milliseconds."""
        lines = [f"{'what':42} {'script':16} {'calls':>5} {'commands max':>12} {'cpu ms sum':>10} {'median':>7} {'max':>7} {'ms max':>7}"]
        for what, holds in self.found.items():
            for script in dict.fromkeys(hold.script for hold in holds):
                of = [hold for hold in holds if hold.script == script]
                cpu = [hold.cpu_ms for hold in of]
                figures = f"{sum(cpu):10.1f} {statistics.median(cpu):7.1f} {max(cpu):7.1f} {max(hold.ms for hold in of):7.1f}"
                lines.append(f"{what:42} {script:16} {len(of):5} {max(hold.commands for hold in of):12,} {figures}")
        return "\n".join(lines)


def _figures(client: redis.Redis) -> tuple[float, float, float]:
    """Commands so far, ms of scripts and functions, ms of the processor."""
    info: dict[str, Any] = client.info("commandstats", "cpu")
    stats = {name: one for name, one in info.items() if name.startswith("cmdstat_")}
    scripts_ms = sum(one["usec"] for name, one in stats.items() if name in ("cmdstat_fcall", "cmdstat_evalsha")) / 1000
    cpu = info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"]
    return sum(one["calls"] for one in stats.values()), scripts_ms, cpu * 1000


def queued_copies(store: Store, pattern: str, first: int, n: int) -> None:
    """`n` queued jobs like `pattern`, numbered from `first`, in its lane."""
    script = store.client.register_script(scripts.compose("#!lua", [], _COPY))
    for start in range(first, first + n, CHUNK):
        script(keys=[store.keys.prefix], args=[pattern, start, min(CHUNK, first + n - start)])


def endpoints(client: Client, tenant: str, n: int) -> None:
    """So many webhook endpoints of a tenant, each on a host of its own."""
