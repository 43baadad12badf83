"""The installation's cap: one for all processes, whatever each of them was given."""

from __future__ import annotations

from structlog.testing import capture_logs

from pipeline_jobs.jobs.pipeline_limits import declare_max_concurrent_jobs
from pipeline_jobs.jobs.queue_position import queue_position
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.operation.overview import now
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences


def dispatched(cell: Cell, n: int = 6) -> int:
    """How many of so many new jobs may start."""
    return sum(cell.submit().reason == "dispatched" for _ in range(n))


def test_the_workers_cap_holds_for_what_any_process_dispatches(jobs: Cell) -> None:
    worker, api = jobs.with_settings(max_concurrent_jobs=2), make_cell(jobs.settings)
    assert api.settings.max_concurrent_jobs == 5
    declare_max_concurrent_jobs(worker.store, worker.settings)
    worker.slots(10)
    assert dispatched(api) == 2
    assert now(api.store, api.settings).slots == 2
    waits = queue_position(api.store, api.submit().job_id)
    assert waits is not None
    assert (waits["reason"], waits["limit"]) == ("fair_share", 2)
    assert b"pipeline_max_concurrent_jobs 2.0" in StoreMetrics(api.store, api.settings).text()
    assert differences(api.store) == []


def test_a_higher_cap_acts_on_the_backlog_at_once_and_is_logged(jobs: Cell) -> None:
    jobs.store.set_max_concurrent_jobs(1)
    jobs.slots(10)
    assert dispatched(jobs) == 1
    other = jobs.with_settings(max_concurrent_jobs=4)
    with capture_logs() as logs:
        declare_max_concurrent_jobs(other.store, other.settings)
        declare_max_concurrent_jobs(other.store, other.settings)
    assert len(jobs.hints()) == 4
    assert [(one["log_level"], one["before"], one["now"]) for one in logs] == [("warning", 1, 4)]


def test_the_default_is_nobodys_wish(jobs: Cell) -> None:
    jobs.store.set_max_concurrent_jobs(3)
    declare_max_concurrent_jobs(jobs.store, jobs.settings)
    assert jobs.store.set_max_concurrent_jobs(3) == 3


def test_while_nobody_has_set_it_each_process_goes_by_its_own(jobs: Cell) -> None:
    jobs.slots(10)
    assert dispatched(jobs.with_settings(max_concurrent_jobs=2)) == 2
    assert now(jobs.store, jobs.settings).slots == 5
    assert b"pipeline_max_concurrent_jobs 5.0" in StoreMetrics(jobs.store, jobs.settings).text()
    assert jobs.store.set_max_concurrent_jobs(7) is None
    assert len(jobs.hints()) == 6
