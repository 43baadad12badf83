"""A worker dies at each line of a job that runs in parts: only that run is repeated, the job is joined once, and nothing is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.jobs.executor import Ending
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store
from tests.integration.conftest import Cell
from tests.integration.part_world import Parted
from tests.integration.recount import differences
from tests.waiting import until

#: What a run asks of the store, but for what its watching thread does.
SCRIPTS = frozenset({"claim", "stage_parts", "keep_outputs", "output_stored", "split", "finish"})
#: What one run does, and would do again.
SEGMENTS = ({"fetch", "split"}, {"part 0"}, {"part 1"}, {"join", "tell"})


class DiedError(BaseException):
    """The process is gone: nothing of ours catches it."""


@contextmanager
def death_at(number: int, *, after: bool) -> Iterator[list[str]]:
    """The run that makes this call dies of it, before the store hears of it or after. Gives the scripts that were called."""
    run, called = Store.run, list[str]()

    def dies(self: Store, name: str, *args: Any, **given: Any) -> Any:
        if name not in SCRIPTS:
            return run(self, name, *args, **given)
        called.append(name)
        dying = len(called) == number
        if dying and not after:
            raise DiedError
        reply = run(self, name, *args, **given)
        if dying:
            raise DiedError
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "run", dies)
        yield called


def lives_on(parted: Parted) -> bool:
    """Run all there is, and rescue what died. :return: something did."""
    try:
        parted.run_all()
    except DiedError:
        parted.cell.let_leases_end()
        parted.cell.store.rescue()
        return True
    return False


def test_a_death_before_each_call_repeats_one_run_and_leaves_nothing(jobs: Cell, tmp_path: Path) -> None:
    die_at_each_call(Parted(jobs, tmp_path, words=("one", "two")), after=False)


def test_a_death_after_each_call_repeats_one_run_and_leaves_nothing(jobs: Cell, tmp_path: Path) -> None:
    die_at_each_call(Parted(jobs, tmp_path, words=("one", "two")), after=True)


def die_at_each_call(parted: Parted, *, after: bool) -> None:
    """One job for each call that the workers of one make."""
    parted.slots(2)
    for number in count(1):
        parted.ran.clear()
        job = parted.submit()
        with death_at(number, after=after) as called:
            died = lives_on(parted)
            while lives_on(parted):
                pytest.fail("it died twice")
        where = f"call {number}, {called[min(number, len(called)) - 1]}"
        ended = parted.seen(job)
        assert (ended.status, ended.result and ended.result["data"]["told"]) == (JobStatus.COMPLETED, "ONE TWO"), where
        twice = {name for name, times in Counter(parted.ran).items() if times > 1}
        assert any(twice <= segment for segment in SEGMENTS), where
        assert max(Counter(parted.ran).values()) <= 2, where
        assert (parted.left(), differences(parted.cell.store)) == ([], []), where
        if not died:
            break
    assert number > 15


def test_a_finish_that_is_sent_again_is_answered_as_before(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path)
    parted.slots(4)
    parted.submit()
    parted.run_next()
    part = parted.start_next()
    for _ in range(2):
        assert jobs.store.finish(part.job_id, part.fence, JobStatus.COMPLETED, result={}, outputs=("[]", "")) is JobStatus.COMPLETED
    assert jobs.store.finish(part.job_id, part.fence + 1, JobStatus.COMPLETED, result={}) is None
    assert differences(jobs.store) == []


def test_a_part_whose_workers_die_too_often_ends_its_job(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path)
    parted.slots(1)
    job = parted.submit()
    parted.run_next()
    for _ in range(jobs.settings.max_crashes):
        part = parted.start_next()
        jobs.store.requeue(part.job_id, part.fence, "crash")
    ended = parted.seen(job)
    assert (ended.status, ended.crashes) == (JobStatus.FAILED, 0)
    assert (ended.error_detail or {})["code"] == "worker_lost"
    assert (ended.error or "").startswith("part 0: ")
    assert (parted.left(), differences(jobs.store)) == ([], [])


def test_a_run_that_has_lost_its_part_gives_nothing(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path)
    parted.slots(1)
    job = parted.submit()
    parted.run_next()

    def lost(context: object) -> None:
        until(lambda: jobs.let_leases_end() or jobs.store.rescue(), "the run to be taken away")

    parted.meanwhile["part 0"] = lost
    outcome = parted.run_next()
    assert outcome is not None
    assert outcome.ending is Ending.FENCED
    parted.meanwhile.clear()
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert (parted.left(), differences(jobs.store)) == ([], [])
