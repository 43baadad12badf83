"""Parts of a split that is over: nothing of them is in the next job with that id, and files that both name stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.events.log import read_all
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.pipelines import NoParams, Pipeline, RetryPolicy, Stage
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store
from tests.integration.conftest import Cell, tired_scripts
from tests.integration.part_world import Parted
from tests.integration.recount import differences


@pytest.fixture
def parted(jobs: Cell, tmp_path: Path) -> Parted:
    return Parted(jobs, tmp_path)


def many_of(jobs: Cell, folder: Path, open_parts: int) -> Parted:
    """A job that waits for so many open parts, of which ten have a slot."""
    parted = Parted(jobs, folder, words=[f"w{n}" for n in range(open_parts)], window=open_parts)
    parted.slots(10)
    parted.cell.client.submit(NewJob(pipeline="film", tenant_id="acme"), job_id="film")
    parted.run_next()
    return parted


def unasked(parted: Parted, runs: Sequence[Job]) -> list[Job]:
    """Of these runs of parts those that nobody has asked to end."""
    fields = parted.cell.store.fields_of_each(("status", "cancel_requested"), "job", [run.job_id for run in runs])
    return [run for run, (status, asked) in zip(runs, fields, strict=True) if status == "running" and not asked]


def test_the_end_of_a_job_is_its_last_event_whatever_its_parts_still_do(jobs: Cell, tmp_path: Path) -> None:
    parted = many_of(jobs, tmp_path, 100)
    runs = [parted.start_next() for _ in parted.hints()]
    parted.cell.client.cancel("film")
    late = unasked(parted, runs)
    assert late, "one script does not come to all of them"
    parted.cell.store.requeue(late[0].job_id, late[0].fence, "handback")
    assert [event.type.value for event in read_all(parted.cell.store, "film")][-1] == "job.cancelled"


def test_a_part_of_a_job_that_is_gone_writes_no_event_into_the_next_one_with_its_id(jobs: Cell, tmp_path: Path) -> None:
    parted = many_of(jobs, tmp_path, 100)
    runs = [parted.start_next() for _ in parted.hints()]
    with tired_scripts():
        parted.cell.client.cancel("film")
        late = unasked(parted, runs)
        parted.cell.client.delete("film")
        other = parted.cell.client.submit(NewJob(pipeline="film", tenant_id="other"), job_id="film")
    parted.cell.store.requeue(late[0].job_id, late[0].fence, "handback")
    assert parted.seen(other).tenant_id == "other"
    told = [str(event.data.get("message")) for event in read_all(parted.cell.store, "film")]
    assert [text for text in told if text.startswith("part ")] == []


def test_a_part_of_a_job_that_is_gone_is_given_nothing_of_the_next_one_with_its_id(jobs: Cell, tmp_path: Path) -> None:
    parted = many_of(jobs, tmp_path, 100)
    hints = parted.hints()
    with tired_scripts():
        parted.cell.client.cancel("film")
        part, fence = next((part, fence) for part, fence in hints if parted.cell.store.exists("job", part))
        parted.cell.client.delete("film")
        parted.cell.client.registry.register(Pipeline("fetches", (Stage("fetch", parted.fetch),), NoParams))
        parted.cell.client.submit(NewJob(pipeline="fetches", tenant_id="other", url="https://other.example/secret"), job_id="film")
        claimed = parted.cell.store.claim(part, fence, worker="c1", run="r")
    assert isinstance(claimed, Job)
    assert (claimed.tenant_id, claimed.part, claimed.url) == ("acme", None, None)


def test_an_erasure_is_not_done_while_a_part_that_began_meanwhile_runs(jobs: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parted = many_of(jobs, tmp_path, 100)
    begun: list[Job] = []
    settle = Store.settle

    def slow(self: Store) -> Any:
        if not begun and parted.hints():
            begun.append(parted.start_next())
        return settle(self)

    monkeypatch.setattr(Store, "settle", slow)
    with tired_scripts():
        erased = erase_tenant(parted.cell.store, parted.artifacts, "acme", dry_run=False)
    assert begun, "a worker began one while the erasure went on"
    assert not erased.done
    parted.cell.store.finish(begun[0].job_id, begun[0].fence, JobStatus.CANCELLED)


def purge(parted: Parted) -> None:
    """The duty that deletes what no record names any more."""
    Purge(parted.cell.store, parted.artifacts, parted.cell.settings).run_once()


def test_the_same_film_again_after_a_cancel_keeps_the_files_of_its_parts(parted: Parted) -> None:
    """The pieces of both are the same files, called by their content: the first split threw them away, the second one has them."""
    parted.slots(1)
    first = parted.submit()
    parted.run_next()
    parted.cell.client.cancel(first.job_id)
    parted.slots(1)
    again = parted.submit()
    parted.run_next()
    assert parted.seen(again).reason == "parts"
    purge(parted)
    parted.run_all()
    assert (parted.seen(again).status, parted.seen(again).error) == (JobStatus.COMPLETED, None)


def test_a_job_that_is_split_again_keeps_the_files_of_its_parts(parted: Parted) -> None:
    stages = parted.cell.client.registry.get("film").stages
    parted.cell.client.registry.register(Pipeline("again", stages, NoParams, needs_url=False, retry=RetryPolicy(2, 0)))
    parted.slots(1)
    job = parted.submit(pipeline="again")
    for _ in range(6):
        parted.run_next()
    (lost,) = (path for path in parted.folder.rglob("*") if path.is_file() and path.read_bytes() == b"THREE")
    lost.unlink()
    parted.run_next()
    assert parted.seen(job).attempt == 1
    parted.slots(1)
    parted.run_next()
    assert (parted.seen(job).reason, parted.ran.count("split")) == ("parts", 2)
    purge(parted)
    parted.run_all()
    assert (parted.seen(job).status, parted.seen(job).error) == (JobStatus.COMPLETED, None)


def test_a_cancel_of_many_jobs_in_parts_leaves_nothing(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, words=[f"w{n}" for n in range(20)], window=20)
    parted.slots(40)
    made = [parted.submit() for _ in range(5)]
    for _ in made:
        parted.run_next()
    assert {parted.seen(job).reason for job in made} == {"parts"}
    with tired_scripts():
        for job in made:
            parted.cell.client.cancel(job.job_id)
        while parted.cell.store.exists("ended_splits"):
            parted.slots(40)
    assert (parted.left(), parted.hints(), differences(jobs.store)) == ([], [], [])
