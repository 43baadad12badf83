"""Bar 3 of Truth: how long each script holds the server, among very many records.

A hold is one call of a script: nobody else is answered meanwhile. The server's own figures are read before and after each (`INFO`):
commands inside of it, the time that it took, and the processor time of the server's main thread, which a busy machine makes less longer.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.bulk import cancel_matching
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.operation.maintenance import Rescue
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import scripts
from pipeline_jobs.store.store import Store
from tests.integration.conftest import Cell

TENANT = "acme"

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
local queued, of_tenant = K.status('queued'), K.tenant_status(tenant, 'queued')
for _, key in ipairs({queued, of_tenant, K.workspace(tenant, workspace), K.pipeline(tenant, pipeline)}) do
  redis.call('ZADD', key, unpack(orders))
end
redis.call('ZADD', K.ready(tenant, workspace, pipeline), unpack(ready))
redis.call('ZADD', K.ready_since(), unpack(since))
redis.call('HINCRBY', K.usage(tenant), 'store_bytes', ARGV[3] * fields.store_bytes)
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
    info: dict[str, Any] = client.execute_command("INFO", "commandstats", "cpu")
    stats = {name: one for name, one in info.items() if name.startswith("cmdstat_")}
    scripts_ms = sum(one["usec"] for name, one in stats.items() if name in ("cmdstat_fcall", "cmdstat_evalsha")) / 1000
    cpu = info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"]
    return sum(one["calls"] for one in stats.values()), scripts_ms, cpu * 1000


def queued_copies(store: Store, pattern: str, first: int, n: int) -> None:
    """`n` queued jobs like `pattern`, numbered from `first`, in its lane."""
    script = store.client.register_script(scripts.compose("#!lua", [], _COPY))
    for start in range(first, first + n, CHUNK):
        script(keys=[store.keys.prefix], args=[pattern, start, min(CHUNK, first + n - start)])


@dataclass(slots=True)
class Population:
    """What scripts have to do with: a tenant with webhook endpoints, and what it does to be much work for them."""

    cell: Cell
    holds: Holds
    endpoints: int

    def __post_init__(self) -> None:
        for number in range(self.endpoints):
            self.cell.cell.webhooks.endpoints.create(TENANT, f"https://h{number}.example/x")

    def jobs(self, n: int, **fields: Any) -> list[str]:
        """So many queued jobs, in batches that are no large ones."""
        made: list[str] = []
        for start in range(0, n, 200):
            new = NewBatch([NewJob(pipeline="sleep", **fields)] * min(200, n - start), TENANT)
            made += map(str, self.cell.cell.batches.create(new).job_ids)
        return made

    def run(self, n: int) -> None:
        """So many jobs that run."""
        self.jobs(n)
        self.cell.slots(n)
        while hints := self.cell.store.client.zrange(self.cell.store.keys("hints"), 0, -1):
            for job_id in hints:
                self.cell.start(job_id)
            self.cell.slots(n)
        self.cell.slots(0)

    # -- what is held against the server

    def reconcile(self) -> None:
        with self.holds.of("reconcile, a tick"):
            self.cell.cell.duties["reconcile"]()

    def end_of_what_others_wait_for(self, n: int) -> None:
        first = self.cell.submit(tenant_id=TENANT)
        waiting = self.jobs(n, depends_on=(first.job_id,))
        with self.holds.of(f"the end of a job that {n} wait for"):
            self.cell.client.cancel(first.job_id)
            Rescue(self.cell.store, self.cell.settings).run_once()
        assert {self.cell.client.get(job_id).status for job_id in waiting} == {JobStatus.FAILED}

    def cancel(self, n: int) -> None:
        made = self.jobs(n, tags=("cancelled",))
        with self.holds.of(f"cancel {n} by a tag"):
            done = cancel_matching(self.cell.store, JobQuery(tenant_id=TENANT, tag="cancelled"), dry_run=False)
        assert (done.cancelled, done.next_cursor) == (len(made), None)

    def batch(self, n: int, tags: int) -> None:
        """With other tags for each job."""
        new = [NewJob(pipeline="sleep", tags=tuple(f"{n}-{job}-{tag}" for tag in range(tags))) for job in range(n)]
        self.cell.store.client.delete(self.cell.store.keys("large_batch", TENANT))
        with self.holds.of(f"a batch of {n} with {tags} tags each"):
            self.cell.cell.batches.create(NewBatch(new, TENANT))
        for tag in {one for job in new for one in (job.tags[:1] + job.tags[-1:])}:
            assert self.cell.store.client.zcard(self.cell.store.keys("tag", TENANT, tag)) == 1

    def workflow(self, n: int, needs: int) -> None:
        """Of so many jobs, which each need so many that come before."""
        names = [f"step-{number}" for number in range(n)]
        nodes = [
            NewNode(name, NewJob(pipeline="sleep"), tuple(names[i - 17 * place] for place in range(1, needs + 1) if i >= 17 * place))
            for i, name in enumerate(names)
        ]
        self.cell.store.client.delete(self.cell.store.keys("large_batch", TENANT))
        with self.holds.of(f"a workflow of {n} that need {needs} each"):
            self.cell.cell.workflows.create(NewWorkflow(nodes, TENANT))

    def leases_end(self, n: int) -> None:
        """Of workers that died too often with these jobs."""
        cell = self.cell.with_settings(max_crashes=1)
        cell.let_leases_end()
        with self.holds.of(f"rescue of {n} leases"):
            cell.store.run = self.cell.store.run  # type: ignore[method-assign]
            Rescue(cell.store, cell.settings).run_once()
        assert cell.store.client.zcard(cell.store.keys("leases")) == 0

    def slots_come(self, n: int) -> None:
        with self.holds.of(f"{n} free slots"):
            for _ in range(4):
                self.cell.slots(n, "many")
        self.cell.slots(0, "many")

    def endpoints_go(self, rows: int) -> None:
        """With deliveries that wait for them."""
        ledger = self.cell.cell.webhooks.ledger
        keys, client = self.cell.store.keys, self.cell.store.client
        self.jobs(max(0, rows - client.zcard(keys("deliveries_in", TENANT, "pending"))) // self.endpoints + 1, tags=("gone",))
        cancel_matching(self.cell.store, JobQuery(tenant_id=TENANT, tag="gone"), dry_run=False)
        for endpoint_id in self.cell.store.members("tenant_endpoints", TENANT):
            self.cell.cell.webhooks.endpoints.delete(endpoint_id)
        with self.holds.of(f"a sender's looks at {rows} rows whose endpoints are gone"):
            while client.zcard(keys("deliveries_in", TENANT, "pending")):
                assert ledger.take(20, 20, []) == []
        client.zadd(keys("deliveries_ended"), dict.fromkeys(client.zrange(keys("deliveries_ended"), 0, rows // 2), 1))
        with self.holds.of(f"purge and erasure of {rows} rows"):
            ledger.purge()
            while int(self.cell.store.run("webhooks_erase", tenant=TENANT, limit=100)) == 100:
                pass

    def default_limits(self, tenants: int) -> None:
        """Of many tenants that wait at theirs."""
        self.cell.store.set_limits("*", {"max_concurrent": 0})
        for number in range(tenants):
            self.cell.submit(tenant_id=f"w{number}")
        with self.holds.of(f"a changed default for {tenants} tenants"):
            self.cell.store.set_limits("*", {"max_concurrent": 1})
            while self.cell.store.client.zcard(self.cell.store.keys("parked")):
                self.cell.slots(0)
        assert self.cell.store.client.scard(self.cell.store.keys("waiting")) == 0

    def large_results(self, n: int, size: int) -> None:
        """A page of jobs that keep very much."""
        for job_id in self.jobs(n, tags=("large",)):
            self.cell.store.client.hset(self.cell.store.keys("job", job_id), "result", f'"{"x" * size}"')
        with self.holds.of(f"a page of {n} jobs with {size // 1024} kB each"):
            found = self.cell.client.list(JobQuery(tenant_id=TENANT, tag="large", limit=100))
        assert 0 < sum(len(str(job.result)) for job in found.items) < 16 * 1024**2
        assert found.next_cursor

    def all(self, n: int) -> None:
        """Each with about so many jobs."""
        self.reconcile()
        self.end_of_what_others_wait_for(n)
        self.cancel(n)
        self.batch(200, 20)
        self.batch(1000, 20)
        self.workflow(1000, 3)
        self.leases_end(n)
        self.slots_come(n)
        self.large_results(20, 1024**2)
        self.default_limits(4 * n)
        self.endpoints_go(20 * n)
