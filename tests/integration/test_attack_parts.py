"""What a hostile reader thought of against parts of jobs (docs/decisions/0018-parts.md): each test is one history."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from annotated_types import Ge
from pydantic import BaseModel, Field

from pipeline_jobs.context import JobContext
from pipeline_jobs.events.log import read_all
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.executor import Ending, Executor
from pipeline_jobs.jobs.part_runs import MAX_RESULT
from pipeline_jobs.media import film_cuts, in_parts
from pipeline_jobs.media.pipeline import InPartsParams
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.pipelines import Map, NoParams, Part, Pipeline, Registry, RetryPolicy, Stage, Wait
from pipeline_jobs.serve import create_api
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store
from tests.integration.conftest import Cell, tired_scripts
from tests.integration.part_world import Parted
from tests.integration.recount import differences
from tests.integration.test_ids import asked


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


# -- a part of a split that is over, which nobody has asked to end yet


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


# -- what is no fault of the job's


def test_a_worker_whose_pipeline_has_no_such_stage_does_not_end_the_job(parted: Parted) -> None:
    """In the middle of a deploy: the stage has another name there, or runs as one."""
    parted.slots(1)
    job = parted.submit()
    parted.run_next()
    registry = Registry()
    stages = (Stage("fetch", parted.fetch), Stage("hear_all", lambda context: {"all": []}), Stage("tell", parted.tell))
    registry.register(Pipeline("film", stages, NoParams, needs_url=False))
    before = Executor(parted.cell.store, registry, parted.cell.settings, parted.artifacts)
    own, parted.executors[""] = parted.executors[""], before
    parted.run_next()
    assert not parted.seen(job).ended, parted.seen(job).error
    parted.executors[""] = own


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_result_that_finds_no_room_in_the_folder_for_temporary_files_ends_no_job(parted: Parted, monkeypatch: pytest.MonkeyPatch) -> None:
    hear = Map("hear", parted.split, lambda context, part: {"long": "x" * 20_000}, lambda context, results: {"all": len(results)})
    parted.cell.client.registry.register(Pipeline("long", (Stage("fetch", parted.fetch), hear), NoParams, needs_url=False))
    parted.slots(1)
    job = parted.submit(pipeline="long")
    parted.run_next()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "NamedTemporaryFile", full)
        outcome = parted.run_next()
    assert not parted.seen(job).ended, parted.seen(job).error
    assert outcome is not None
    assert outcome.ending is Ending.REQUEUED


def test_a_wait_behind_parts_has_them_run_once(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs.with_settings(keep_stage_bytes=0), tmp_path)
    stages = parted.cell.client.registry.get("film").stages
    parted.cell.client.registry.register(Pipeline("asks", (*stages[:2], Wait("ok"), stages[2]), NoParams, needs_url=False))
    parted.slots(1)
    job = parted.submit(pipeline="asks")
    parted.run_all()
    assert parted.seen(job).reason == "signal"
    parted.cell.store.run("signal", id=job.job_id, name="ok", payload="1", by="me", tenant="", workspace="")
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert {name: parted.ran.count(name) for name in ("split", "part 0", "part 4")} == {"split": 1, "part 0": 1, "part 4": 1}


# -- limits of a part


def test_a_part_runs_no_longer_than_its_job_may(parted: Parted) -> None:
    """As a client of Celery says it (`time_limit`)."""
    parted.slots(1)
    parted.submit(max_run_seconds=60.0)
    parted.run_next()
    part = parted.start_next()
    until, started = parted.cell.store.fields(["run_until", "started_at"], "job", part.job_id)
    assert int(until or 0) - int(started or 0) <= 60_000


def test_what_a_part_copies_elsewhere_is_not_charged_for_good(parted: Parted) -> None:
    """Its record goes with its end, and nobody knows of the copies any more: as it publishes nothing, it may copy nothing."""
    parted.slots(1)
    parted.submit()
    parted.run_next()
    part = parted.start_next()
    parted.cell.store.run("copy_reserve", id=part.job_id, fence=part.fence, names='["a"]', bytes=9, most=100)
    parted.cell.store.finish(part.job_id, part.fence, JobStatus.COMPLETED, result={}, outputs=('[["hear",{},null,{}]]', ""))
    assert parted.cell.store.record("usage", "acme").get("drive_bytes", "0") == "0"


def test_no_parameters_that_are_allowed_give_more_parts_than_a_film_may_have() -> None:
    seconds = 4 * 3600
    (least,) = (one.ge for one in InPartsParams.model_fields["part_seconds"].metadata if isinstance(one, Ge))
    keys = list(range(0, seconds, 5))
    assert len(film_cuts.chosen(keys, seconds, float(least))) <= in_parts.MAX_PARTS


class Looked(list[int]):
    """Key frames that count how often they are looked at."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        for one in super().__iter__():
            self.looks += 1
            yield one


def test_where_a_film_of_key_frames_only_is_cut_is_found_without_looking_at_all_of_them_for_each_part() -> None:
    keys = Looked(range(0, 14_400, 1))
    film_cuts.chosen(keys, 14_400, 30.0)
    assert keys.looks <= 3 * len(keys)


# -- files that two splits name, one after the other


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


# -- sizes


def test_what_a_part_leaves_in_very_many_files_is_no_large_row(parted: Parted) -> None:
    """Names count as what is said: a child that a hostile film has taken over may write any number of empty files."""

    def litter(context: JobContext, part: Part) -> None:
        for number in range(2000):
            (context.workdir / f"{'n' * 200}{number}").touch()

    hear = Map("hear", parted.split, litter, lambda context, results: {"all": len(results)})
    parted.cell.client.registry.register(Pipeline("litter", (Stage("fetch", parted.fetch), hear), NoParams, needs_url=False))
    parted.slots(1)
    job = parted.submit(pipeline="litter")
    parted.run_next()
    parted.run_next()
    (split,) = (key for key in parted.left() if ":parts:" in key) if not parted.seen(job).ended else ("",)
    assert not split or parted.cell.store.client.hstrlen(split, "r:0") <= 10 * MAX_RESULT


def test_a_part_that_is_given_very_many_files_is_no_large_row(parted: Parted) -> None:
    def split(context: JobContext) -> Iterator[Part]:
        files = [context.workdir / f"{'n' * 200}{number}" for number in range(2000)]
        for path in files:
            path.touch()
        yield Part({}, files)

    hear = Map("hear", split, lambda context, part: {}, lambda context, results: {"all": len(results)})
    parted.cell.client.registry.register(Pipeline("litter", (Stage("fetch", parted.fetch), hear), NoParams, needs_url=False))
    parted.slots(1)
    job = parted.submit(pipeline="litter")
    parted.run_next()
    (split_key,) = (key for key in parted.left() if ":parts:" in key) if not parted.seen(job).ended else ("",)
    assert not split_key or parted.cell.store.client.hstrlen(split_key, "i:0") <= 10 * MAX_RESULT


def test_a_part_sees_the_signals_of_its_job_as_in_a_run_in_process(parted: Parted) -> None:
    seen: list[Mapping[str, Any]] = []
    hear = Map("hear", parted.split, lambda context, part: seen.append(context.signals), lambda context, results: {"all": len(results)})
    parted.cell.client.registry.register(Pipeline("asks", (Stage("fetch", parted.fetch), Wait("ok"), hear), NoParams, needs_url=False))
    parted.slots(1)
    job = parted.submit(pipeline="asks")
    parted.cell.store.run("signal", id=job.job_id, name="ok", payload="1", by="me", tenant="", workspace="")
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    assert seen == [{"ok": 1}] * 5


# -- controls: what held


def test_a_secret_of_a_job_is_not_in_what_its_parts_say(parted: Parted) -> None:
    class Params(BaseModel):
        token: str = Field(json_schema_extra={"format": "password"})

    hear = Map("hear", parted.split, lambda context, part: print(dict(context.params)), lambda context, results: {"all": []})
    parted.cell.client.registry.register(Pipeline("tells", (Stage("fetch", parted.fetch), hear), Params, needs_url=False))
    parted.slots(4)
    job = parted.submit(pipeline="tells", params={"token": "hunter2!"})
    parted.run_all()
    assert parted.seen(job).status is JobStatus.COMPLETED
    said = "".join(parted.cell.store.lines("logs", job.job_id))
    assert said.count("{'token': '***'}") == 5
    assert "hunter2" not in said


def test_hop_split_and_wait_in_one_pipeline_leave_nothing(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, pool="gpu")
    fetch, hear, tell = parted.cell.client.registry.get("film").stages
    stages = (fetch, hear, replace(tell, pool="gpu"), Wait("ok"), Stage("last", lambda context: {"last": context.data["ok"]}))
    parted.cell.client.registry.register(Pipeline("all", stages, NoParams, needs_url=False))
    parted.slots(2)
    parted.slots(2, "gpu")
    job = parted.submit(pipeline="all")
    parted.run_all()
    assert parted.seen(job).reason == "signal"
    parted.cell.store.run("signal", id=job.job_id, name="ok", payload="1", by="me", tenant="", workspace="")
    parted.run_all()
    ended = parted.seen(job)
    assert (ended.status, ended.result["data"]["told"], ended.result["data"]["last"]) == (JobStatus.COMPLETED, "ONE TWO THREE FOUR FIVE", 1)
    assert [parted.ran.count(name) for name in ("fetch", "split", "part 0", "join", "tell")] == [1] * 5
    assert (parted.left(), differences(jobs.store)) == ([], [])


def test_a_newcomer_is_next_beside_very_many_parts(jobs: Cell, tmp_path: Path) -> None:
    parted = Parted(jobs, tmp_path, words=[f"w{n}" for n in range(150)], window=100)
    parted.slots(4)
    parted.submit()
    parted.run_next()
    running = [parted.start_next() for _ in range(4)]
    newcomer = parted.submit(tenant_id="new")
    parted.cell.store.finish(running[0].job_id, running[0].fence, JobStatus.COMPLETED, result={}, outputs=('[["hear",{},null,{}]]', ""))
    assert newcomer.job_id in [job_id for job_id, _ in parted.hints()]
    assert differences(jobs.store) == []


def test_no_id_of_a_part_is_one_that_a_client_may_say(parted: Parted) -> None:
    parted.slots(1)
    job = parted.submit()
    parted.run_next()
    part, _ = parted.hints()[0]
    app = create_api(parted.cell.settings)
    api, rules = app.test_client(), [rule for rule in app.url_map.iter_rules() if "job_id" in rule.arguments]
    assert len(rules) > 8
    assert {asked(api, rule, method, "job_id", part) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}} == {404}
    for said in ({"depends_on": (part,)}, {"job_id": part}):
        named = said.pop("job_id", None)
        with pytest.raises(InvalidInput):
            parted.cell.client.submit(NewJob(**{"pipeline": "film", "tenant_id": "acme", **said}), job_id=named)  # type: ignore[arg-type]
    assert not parted.seen(job).ended


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
