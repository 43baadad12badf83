"""A schedule, and a client that chooses its ids, may use an id again: nothing of the earlier job has a say in the later one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.bulk_ended import BulkAction, each_ended
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation.erase import _erase_jobs
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.pages import Page
from pipeline_jobs.store.store import ClaimRefused, Store
from tests.integration.conftest import Cell

ID = "chosen-by-a-client"


def again(jobs: Cell, tenant: str, *, adopt: int | None = None) -> int:
    """A job of this tenant under the one id. :return: the fence of its dispatch."""
    job = jobs.client.prepare(NewJob(pipeline="sleep", tenant_id=tenant), ID)
    jobs.store.submit(job, adopt=adopt)
    return jobs.client.get(ID).fence


def end_and_remove(jobs: Cell, how: str) -> None:
    jobs.client.cancel(ID)
    run = jobs.client.get(ID)
    if not run.ended:
        jobs.store.finish(ID, run.fence, JobStatus.CANCELLED)
    if how == "delete":
        assert jobs.store.delete(ID)
    else:
        jobs.store.client.zadd(jobs.store.keys("ended"), {ID: 1})
        assert jobs.store.purge() == 1


@pytest.mark.parametrize("how", ["delete", "purge"])
def test_an_old_run_has_no_say_in_a_later_job_of_the_same_id(jobs: Cell, how: str) -> None:
    jobs.slots(10)
    old = again(jobs, "acme")
    jobs.start(ID)
    end_and_remove(jobs, how)
    new = again(jobs, "other")
    assert jobs.store.claim(ID, old, worker="w1", run="old") == ClaimRefused("stale")
    jobs.start(ID)
    assert jobs.store.announce("w1", 10, [(ID, old)]) == ["fenced"]
    assert jobs.store.progress(ID, old, 99.0) == "fenced"
    assert not jobs.store.keep_outputs(ID, old, "{}", "")
    assert jobs.store.finish(ID, old, JobStatus.COMPLETED, result={}) is None
    assert jobs.store.requeue(ID, old, "crash") is None
    assert (jobs.client.get(ID).status, jobs.client.get(ID).tenant_id, jobs.client.get(ID).fence) == (JobStatus.RUNNING, "other", new)


@pytest.mark.parametrize("how", ["delete", "purge"])
def test_the_trash_of_an_old_job_has_no_folder_of_a_later_one(jobs: Cell, how: str) -> None:
    jobs.slots(10)
    folders = []
    for _ in range(2):
        run_folder = f"acme/main/{ID}/{again(jobs, 'acme')}"
        run = jobs.start(ID)
        assert jobs.store.finish(ID, run.fence, JobStatus.COMPLETED, result={}, artifacts=run_folder) is JobStatus.COMPLETED
        folders.append(run_folder)
        if len(folders) == 1:
            end_and_remove(jobs, how)
    assert folders[1] not in jobs.store.take_trash()


@pytest.mark.parametrize("adopted", [False, True])
def test_no_fence_repeats_though_the_clock_was_set_back_and_the_job_was_dispatched_often(jobs: Cell, adopted: bool) -> None:
    jobs.slots(10)
    # The last order is from before the clock was set back by an hour.
    ahead = int(jobs.store.client.time()[0] + 3600) * 1_000_000
    jobs.store.client.set(jobs.store.keys("order"), ahead)
    seen: list[int] = []
    others: list[int] = []
    for _ in range(3):
        again(jobs, "acme", adopt=ahead + 50 if adopted and not seen else None)
        for _ in range(5):
            seen.append(jobs.start(ID).fence)
            jobs.store.requeue(ID, seen[-1], "handback")
        for _ in range(10):
            other = jobs.submit()
            jobs.client.cancel(other.job_id)
            others.append(other.order)
        end_and_remove(jobs, "delete")
    assert seen == sorted(set(seen))
    assert others == sorted(set(others))


def test_a_bare_message_is_adopted_with_the_fence_that_its_worker_drew(jobs: Cell) -> None:
    jobs.slots(10)
    assert again(jobs, "acme", adopt=1234) == 1234
    run = jobs.store.claim(ID, 1234, worker="w1", run="r")
    assert not isinstance(run, ClaimRefused)
    assert jobs.store.requeue(ID, 1234, "handback") is JobStatus.QUEUED
    assert jobs.start(ID).fence == 1235


def test_a_delete_that_comes_late_removes_no_later_job_of_another_tenant(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deletes has looked at the earlier job, and means that one."""
    jobs.slots(10)

    def ended(tenant: str) -> None:
        again(jobs, tenant)
        run = jobs.start(ID)
        assert jobs.store.finish(ID, run.fence, JobStatus.COMPLETED, result={}) is JobStatus.COMPLETED

    ended("acme")
    listed = Client.list

    def then_it_changes_hands(client: Client, query: JobQuery) -> Page[Job]:
        page = listed(client, query)
        assert jobs.store.delete(ID)
        ended("other")
        return page

    monkeypatch.setattr(Client, "list", then_it_changes_hands)
    each_ended(jobs.client, BulkAction.DELETE, JobQuery(tenant_id="acme"), dry_run=False)
    assert jobs.client.get(ID).tenant_id == "other"


def test_an_erasure_touches_no_later_job_of_another_tenant(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.slots(10)
    again(jobs, "acme")
    walked = type(jobs.store).walk

    def then_it_changes_hands(store: Store, key: str, *parts: str) -> Iterator[str]:
        for job_id in [*walked(store, key, *parts)]:
            store.cancel(job_id)
            assert store.delete(job_id)
            again(jobs, "other")
            yield job_id

    monkeypatch.setattr(type(jobs.store), "walk", then_it_changes_hands)
    assert _erase_jobs(jobs.store, "acme", None) == (0, 0)
    assert jobs.client.get(ID).tenant_id == "other"
    assert not jobs.client.get(ID).ended
