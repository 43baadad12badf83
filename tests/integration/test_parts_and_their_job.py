"""What a part has of its job, and what neither may lose by the other: limits, signals, secrets, faults of a machine."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.executor import Ending, Executor
from pipeline_jobs.pipelines import Map, NoParams, Pipeline, Registry, Stage, Wait
from pipeline_jobs.serve import create_api
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell
from tests.integration.part_world import Parted
from tests.integration.recount import differences
from tests.integration.test_ids import asked


@pytest.fixture
def parted(jobs: Cell, tmp_path: Path) -> Parted:
    return Parted(jobs, tmp_path)


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
