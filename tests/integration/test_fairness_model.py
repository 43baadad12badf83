"""Random histories of a cell against the promises of the rule (`docs/fairness.md`): nobody starves, no slot idles, no count drifts.

Their long form is `tests/heavy/bar_fair_histories.py`.
"""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.fair_histories import History, make_model_cell, mistake, pretend_it_took
from tests.integration.histories import check_histories
from tests.integration.sights import Floor

#: What random histories are to come to, each in about half as many as do.
FLOORS = {
    "start": Floor(5, 0.5),
    "completed": Floor(1, 0.4),
    "crash": Floor(1, 0.2),
    "retry": Floor(1, 0.2),
    "handback": Floor(1, 0.12),
    "fault": Floor(1, 0.12),
    "jobs come back from their delay": Floor(1, 0.06),
    "runs are lost with their worker": Floor(1, 0.1),
    "hints are lost": Floor(1, 0.3),
    "a dispatch is cancelled": Floor(1, 0.3),
    "a job that waits is cancelled": Floor(1, 0.4),
    "more slots, and jobs wait": Floor(1, 0.3),
    "two tenants wait for a slot": Floor(5, 0.5),
    "a slot is free again, and two tenants wait": Floor(1, 0.5),
    "a newcomer, and no slot is free": Floor(1, 0.3),
    "a job waits for a full pipeline": Floor(1, 0.4),
    "a job waits for a limit of its tenant": Floor(1, 0.4),
    "a paused tenant's job waits": Floor(1, 0.15),
    "the last slot is kept": Floor(1, 0.12),
    "a run takes a hundredth or a hundred times what it was taken for": Floor(1, 0.1),
    "the clock is set back, and jobs wait": Floor(1, 0.3),
    "the clock is set forward, and jobs wait": Floor(1, 0.25),
}


def test_random_histories_keep_the_promises(cell: Settings) -> None:
    check_histories(History, cell, 24, FLOORS, seeded=1)


def test_a_newcomer_is_behind_by_a_few_seconds_of_each_slot_however_wrong_the_estimates(cell: Settings) -> None:
    """Two equal tenants with enough to do: what the first has used more, once the second is there, is bounded."""
    base = cell.model_copy(update={"max_concurrent_jobs": 100, "announce_seconds": 1000.0})

    @settings(max_examples=4, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(estimate=st.sampled_from([60_000, 600_000, 3_600_000]), first=st.sampled_from([0, 60_000, 600_000]), slots=st.integers(1, 3))
    def newcomer(estimate: int, first: int, slots: int) -> None:
        one = make_model_cell(base)
        one.store.client.flushall()
        assert_the_newcomer_is_served(one, estimate, first, slots)
        one.store.close()

    newcomer()


#: What each run takes in truth, in ms, and how many run.
RUN_MS, RUNS = 500, 120


def assert_the_newcomer_is_served(cell: Cell, estimate: int, first_ms: int, slots: int) -> None:
    """`old` is charged by a wrong estimate, and for a long run (of `first_ms`) as it goes; then `new` comes."""
    mistake(cell, "old", "sleep", estimate)
    for _ in range(RUNS + 2 * slots):
        cell.submit(tenant_id="old")
    cell.slots(slots)
    begun = [cell.start(json.loads(hint)["id"]) for hint in cell.hints()]
    for run in begun:
        pretend_it_took(cell, run.job_id, first_ms)
    cell.store.announce("w1", slots, [(run.job_id, run.fence) for run in begun])
    for run in begun:
        cell.store.finish(run.job_id, run.fence, JobStatus.FAILED, error="x")
    for _ in range(RUNS):
        cell.submit(tenant_id="new")
    used: Counter[str] = Counter()
    hinted = [hint["id"] for hint in map(json.loads, cell.hints())][slots:]
    for _ in range(RUNS):
        run = cell.start(hinted.pop(0))
        # A failed run teaches nothing: the estimate stays as wrong as it is.
        pretend_it_took(cell, run.job_id, RUN_MS)
        used[run.tenant_id] += RUN_MS
        cell.store.client.delete("jobs")
        cell.store.finish(run.job_id, run.fence, JobStatus.FAILED, error="x")
        hinted += [hint["id"] for hint in map(json.loads, cell.hints())]
    assert used["old"] - used["new"] <= (slots + 1) * 5_000, (used, estimate, first_ms, slots)
