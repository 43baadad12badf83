"""No script does very much at once, whatever a tenant makes many of: counted in commands.

The milliseconds are in `tests/heavy/bar_scale.py`.
"""

from __future__ import annotations

from tests.heavy.holds import Holds, Population, queued_copies
from tests.integration.conftest import Cell
from tests.integration.recount import differences

#: Commands of a script: some 20 ms of a busy machine. What is much work stops at 1,500, but ends what it has begun, and dispatches up to
#: 200 jobs.
MOST = 5_000


def test_no_script_does_very_much_at_once(jobs: Cell) -> None:
    jobs = jobs.with_settings(max_concurrent_jobs=250, cleanup_seconds=1)
    holds = Holds(jobs.store)
    population = Population(jobs, holds, endpoints=20)
    population.run(250)
    pattern = jobs.submit(tenant_id="many")
    queued_copies(jobs.store, pattern.job_id, 0, 3_000)
    population.all(250)
    print(holds.table())
    assert [hold for found in holds.found.values() for hold in found if hold.commands > MOST] == []


def test_the_copies_are_as_the_real_ones(jobs: Cell) -> None:
    queued_copies(jobs.store, jobs.submit(tenant_id="many").job_id, 0, 50)
    assert differences(jobs.store) == []
