"""Two retries of one workflow, side by side: what its jobs gave is kept for both."""

from __future__ import annotations

import pytest

from pipeline_jobs.jobs.workflows import Workflows
from tests.integration.conftest import Cell
from tests.integration.recount import differences
from tests.integration.test_workflows import DIAMOND, Played, jobs, let_time_pass, of, workflows

__all__ = ["jobs", "workflows"]


def failed(jobs: Cell) -> Played:
    """A workflow whose `join` has failed, and `mail` behind it."""
    played = Played.of(jobs, of(DIAMOND))
    jobs.slots(10)
    for name in ("cut", "left", "right"):
        played.run(name)
    played.run("join", "failed")
    return played


@pytest.mark.parametrize("first_to_end", [0, 1])
def test_what_two_retries_need_stays_until_both_have_ended(jobs: Cell, workflows: Workflows, first_to_end: int) -> None:
    played = failed(jobs)
    retries = [Played.seen(jobs, workflows.retry(played.id)) for _ in range(2)]
    ended = retries.pop(first_to_end)
    workflows.cancel(ended.id)
    let_time_pass(jobs)
    assert jobs.store.exists("job", played.ids["left"]), "the other one still reads what it gave"
    for name in ("join", "mail"):
        retries[0].run(name)
    let_time_pass(jobs)
    assert [jobs.store.exists("batch", one.id) for one in (played, ended, *retries)] == [False] * 3
    assert differences(jobs.store) == []


def test_however_often_it_is_retried_its_record_stays_short(jobs: Cell, workflows: Workflows) -> None:
    played = failed(jobs)
    first = Played.seen(jobs, workflows.retry(played.id))
    for _ in range(30):
        workflows.cancel(workflows.retry(played.id).batch.batch_id)
    assert jobs.store.record("batch", played.id)["needed_by"].count("batch_") <= 2
    let_time_pass(jobs)
    assert jobs.store.exists("job", played.ids["left"])
    assert first.states()["join"] == "queued"


def test_of_very_many_retries_at_once_some_are_known(jobs: Cell, workflows: Workflows) -> None:
    played = failed(jobs)
    made = [workflows.retry(played.id).batch.batch_id for _ in range(25)]
    known = jobs.store.record("batch", played.id)["needed_by"].split(",")
    assert known == made[:-22:-1]
