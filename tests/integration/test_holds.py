"""No script does very much at once, whatever a tenant makes many of: counted in commands.

The milliseconds are in `tests/heavy/bar_scale.py`.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs.jobs.bulk import cancel_matching
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation.maintenance import Rescue
from pipeline_jobs.states import JobStatus
from tests.heavy.holds import TENANT, Holds, Population, queued_copies
from tests.integration.conftest import Cell, make_cell, tired_scripts
from tests.integration.recount import differences

#: Commands of a script: some 20 ms of a busy machine. What is much work stops at 1,500, but ends what it has begun, and dispatches up to
#: 200 jobs. The most are those of a workflow of 1,000 jobs: five for each.
MOST = 5_100


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


def test_a_cancel_whose_pages_are_short_counts_each_job_once_and_goes_on(jobs: Cell) -> None:
    with tired_scripts():
        tired = make_cell(jobs.settings)
        tired.slots(3)
        made = [tired.submit(tenant_id="acme", tags=("x",)).job_id for _ in range(12)]
        run = tired.start(made[0])
        query = JobQuery(tenant_id="acme", tag="x")
        told: list[str] = []
        with Holds(tired.store).of("cancel") as pages:
            first = cancel_matching(tired.store, query, dry_run=False, most=5, say=lambda moved: told.append(moved.job_id))
        assert len(pages) > 2
        assert (first.cancelled, first.stopping) == (5, 0)
        query = replace(query, cursor=first.next_cursor)
        rest = cancel_matching(tired.store, query, dry_run=False, say=lambda moved: told.append(moved.job_id))
        assert (rest.cancelled, rest.stopping, rest.next_cursor) == (6, 1, None)
        # The two that were dispatched first, and whoever got their slots meanwhile.
        assert {made[1], made[2]} <= set(told)
        assert tired.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.CANCELLED
        assert differences(tired.store) == []


@pytest.mark.parametrize("begun", [0, 5, 10])
def test_a_rescue_that_stops_early_is_asked_again_until_nothing_is_left(jobs: Cell, begun: int) -> None:
    """Whether their leases have ended, or nobody took their messages."""
    with tired_scripts():
        tired = make_cell(jobs.settings.model_copy(update={"max_concurrent_jobs": 50}))
        tired.slots(10)
        for _ in range(10):
            tired.submit()
        hinted = [json.loads(hint)["id"] for hint in tired.hints()]
        runs = [tired.start(job_id) for job_id in hinted[:begun]]
        tired.slots(0)
        tired.let_leases_end()
        assert len(tired.store.rescue()) < 10
        Rescue(tired.store, tired.settings).run_once()
        assert tired.store.client.zcard(tired.store.keys("ready", "default", "main", "sleep")) == 10
        assert {tired.client.get(run.job_id).crashes for run in runs} <= {1}
        assert differences(tired.store) == []


def test_workspaces_that_waited_for_a_pipeline_come_back_when_its_cap_goes(jobs: Cell) -> None:
    """Each beat lets some in, in a script as short as any."""
    with tired_scripts():
        tired = make_cell(jobs.settings.model_copy(update={"max_concurrent_jobs": 100}))
        tired.store.set_pipeline_cap("sleep", 0)
        tired.slots(100)
        made = [tired.submit(workspace_id=f"w{number}").job_id for number in range(40)]
        holds = Holds(tired.store)
        with holds.of("cap") as found:
            tired.store.set_pipeline_cap("sleep", None)
            while tired.store.client.zcard(tired.store.keys("hints")) < len(made):
                tired.slots(100)
        assert len(found) > 2
        assert differences(tired.store) == []


def test_they_come_back_while_others_take_every_slot(jobs: Cell) -> None:
    with tired_scripts():
        tired = make_cell(jobs.settings)
        tired.client.registry.register(replace(SLEEP, name="nap"))
        tired.store.set_pipeline_cap("sleep", 0)
        tired.slots(1)
        for number in range(40):
            tired.submit(workspace_id=f"w{number}")
        for _ in range(2):
            tired.submit(tenant_id="other", pipeline="nap")
        tired.store.set_pipeline_cap("sleep", None)
        assert tired.store.client.zcard(tired.store.keys("blocked", "sleep")) > 0
        for _ in range(10):
            tired.slots(1)
        assert tired.store.client.zcard(tired.store.keys("hints")) == 1
        assert tired.store.client.zcard(tired.store.keys("blocked", "sleep")) == 0


def test_a_dispatch_of_very_many_goes_on_in_the_next_scripts(jobs: Cell) -> None:
    many = jobs.with_settings(max_concurrent_jobs=500)
    queued_copies(jobs.store, jobs.submit(tenant_id="many").job_id, 0, 499)
    hinted = []
    for _ in range(4):
        many.slots(500)
        hinted.append(jobs.store.client.zcard(jobs.store.keys("hints")))
    assert hinted == [90, 180, 270, 360]
    assert differences(jobs.store) == []


def test_rows_of_an_endpoint_that_is_gone_keep_no_other_from_its_turn(jobs: Cell) -> None:
    with tired_scripts():
        tired = make_cell(jobs.settings)
        population = Population(tired, Holds(tired.store), endpoints=2)
        for _ in range(20):
            tired.client.cancel(tired.submit(tenant_id=TENANT).job_id)
        gone, stays = tired.store.members("tenant_endpoints", TENANT)
        tired.cell.webhooks.endpoints.delete(gone)
        taken: list[str] = []
        ledger = tired.cell.webhooks.ledger
        for _ in range(40):
            with population.holds.of("look") as found:
                rows = ledger.take(20, 0, [])
            for row in rows:
                taken.append(row.endpoint_id or "")
                ledger.settle(row.lease, "delivered", {}, error="", delay=0, slow=False)
        assert len(taken) == 20
        assert set(taken) == {stays}
        assert max(hold.commands for hold in found) < 300
        assert tired.store.client.zcard(tired.store.keys("deliveries_in", TENANT, "dead")) == 20
