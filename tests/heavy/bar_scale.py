"""How long each script holds the server, among a million records, 500 running jobs and 20 webhook endpoints.

In short: `tests/integration/test_holds.py`.
"""

from __future__ import annotations

import time
from pathlib import Path

from pipeline_jobs.settings import Settings
from tests.heavy.cleanup import unlogged
from tests.heavy.holds import TENANT, Holds, Population, queued_copies
from tests.integration.conftest import make_cell
from tests.servers import Server

RECORDS, TENANTS, RUNNING = 1_000_000, 10, 500


def test_among_a_million_records(cell: Settings, tmp_path: Path) -> None:
    server = Server(tmp_path / "own", appendfsync="everysec").start()
    try:
        changes = {"redis_url": server.url, "max_concurrent_jobs": RUNNING, "max_queued": 2 * RECORDS}
        own = make_cell(cell.model_copy(update=changes))
        began = time.monotonic()
        patterns = [own.submit(tenant_id=f"t{number}").job_id for number in range(TENANTS)]
        with unlogged(own.store.client):
            for number, pattern in enumerate(patterns):
                queued_copies(own.store, pattern, number * RECORDS // TENANTS, RECORDS // TENANTS)
        print(f"{RECORDS:,} records in {time.monotonic() - began:.0f} s")
        population = Population(own, Holds(own.store), endpoints=20)
        own.store.set_limits("*", {"max_concurrent": 0})
        own.store.set_limits(TENANT, {"max_concurrent": RUNNING})
        population.run(RUNNING)
        own.store.set_limits("*", {"max_concurrent": None})
        population.all(RUNNING)
        print(population.holds.table())
        ticks = [hold.cpu_ms for hold in population.holds.found["reconcile, a tick"]]
        print(f"reconcile: {sum(ticks):.0f} ms of {cell.cleanup_seconds:.0f} s: {sum(ticks) / cell.cleanup_seconds / 10:.1f} %")
        assert own.store.client.zcard(own.store.keys("status", "queued")) > RECORDS
    finally:
        server.stop()
