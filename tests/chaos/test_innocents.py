"""What is told of pools and of jobs that kill their worker, and the bodies that do so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline_jobs.settings import Settings
from tests.celery_apps import celery_app
from tests.chaos.crashes import BY_ITS_JOB, Crash, apart_seconds, causes, crashes, hops, slain
from tests.chaos.evidence import apart_for
from tests.chaos.faults import Done
from tests.chaos.figures import executions
from tests.chaos.innocents import innocents
from tests.chaos.journal import MARK, Body, read_bodies
from tests.chaos.made_up import AFTER, BEFORE, CLEAN, KILLER, WORK, lost_with, pooled, with_record
from tests.chaos.oracle import judge
from tests.chaos.plan import EVERYTHING, POOLED, SHORT, make_plan
from tests.chaos.processes import Incarnation, Role
from tests.chaos.system import pool_of
from tests.chaos.waits import OF_WORKERS, Slots, of_workers, until_requeued, until_started, waited_apart
from tests.stack import ROOT


def violated(seen: Any) -> list[str]:
    found = judge(seen).violations
    return [promise for promise in found if found[promise]]


# -- pools


def test_a_pool_is_told_by_the_role() -> None:
    assert [pool_of("x:g1:7"), pool_of("x:w1:1")] == ["gpu", ""]


@pytest.mark.parametrize(
    "trail", [(1, 2), (1, 2, 2), (2, 1, 3), (1, 2, 4), (1, 2, 3, 3)], ids=["lost", "twice", "in another order", "unknown", "too many"]
)
def test_a_result_that_the_runs_do_not_make_is_found(trail: tuple[int, ...]) -> None:
    assert "change of pools lost or doubled" in violated(pooled("ja", BEFORE, WORK, AFTER, trail=trail))


@pytest.mark.parametrize("over", [None, "StageError"])
def test_a_result_of_a_stage_that_did_not_come_to_its_end_is_found(over: str | None) -> None:
    assert "change of pools lost or doubled" in violated(pooled("ja", BEFORE, (2, "g1", "work", over), AFTER))


@pytest.mark.parametrize(
    ("hops", "status", "wrong"), [(1, "completed", True), (3, "failed", True), (1, "failed", False), (2, "failed", False)]
)
def test_a_job_changes_pools_as_often_as_its_stages_ask_for(hops: int, status: str, wrong: bool) -> None:
    seen = pooled("jc", BEFORE, WORK, AFTER, hops=hops)
    records = {**CLEAN.records, "jc": {**seen.records["jc"], "status": status, "error_detail": '{"code": "stage_failed"}'}}
    assert ("change of pools lost or doubled" in violated(replace(seen, records=records))) is wrong


def test_changes_of_pools_are_read_from_the_events_and_are_no_crashes() -> None:
    log: list[list[object]] = [
        ["started", 1000, 1], ["requeued", 2000, 1, 0, "", "", "hop"], ["started", 3000, 1], ["requeued", 4000, 1, 0, "", "", "crash"],
        ["started", 5000, 1], ["requeued", 6000, 1, 0, "", "next: gpu", "hop"], ["started", 6500, 1], ["completed", 7000, 1],
    ]  # fmt: skip
    assert hops({"ja": log}) == {"ja": 2}
    assert [(one.claimed, one.at) for one in crashes({"ja": log}, lambda ms: ms / 1000, [])] == [(3.0, 4.0)]


def test_a_run_that_has_gone_on_in_another_pool_is_not_the_one_that_crashed() -> None:
    """It was so short that it began within the tolerance of the next claim."""
    log: list[list[object]] = [
        ["started", 1000, 1], ["requeued", 1150, 1, 0, "", "", "hop"], ["started", 1200, 1], ["requeued", 1700, 1, 0, "", "", "crash"],
    ]  # fmt: skip
    short = Body("ja", 1, 10, "x:g1:1", 1.02, over="hop", over_at=1.14)
    assert [one.body for one in crashes({"ja": log}, lambda ms: ms / 1000, [short])] == [None]
    assert [one.body for one in crashes({"ja": log[2:]}, lambda ms: ms / 1000, [short])] == [short]


def test_each_segment_is_due_once_and_one_that_came_to_its_end_twice_is_repeated() -> None:
    seen = executions(pooled("ja", BEFORE, WORK, AFTER))
    assert (seen.total, seen.again, seen.repeated, seen.unaccounted) == (3, 0, 0, 0)
    again = executions(pooled("ja", BEFORE, WORK, (3, "g1", "work", "hop"), (4, "w1", "after", "end")))
    assert (again.total, again.again, again.repeated, again.unaccounted) == (4, 1, 1, 1)


def test_the_journal_tells_the_stages_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "bodies.log"
    path.write_text(
        "start j.1 10 m 1.0\nat:before j.1 10 m 1.0\nhop j.1 10 m 2.0\nstart j.2 11 m 3.0\nat:work j.2 11 m 3.0\nkills j.2 11 m 4.0\n"
    )
    bodies, odd = read_bodies(path)
    assert odd == []
    assert [(body.stages, body.over, body.over_at) for body in bodies] == [(["before"], "hop", 2.0), (["work"], "kills", 4.0)]


def test_a_slot_of_another_pool_is_not_free() -> None:
    up = {"x:w1:1": [(0.0, 100.0)], "x:g1:1": [(0.0, 15.0)]}

    def free(crashed_in: str, started_in: str, **more: Any) -> list[float]:
        bodies = [Body("ja", 1, 10, f"x:{crashed_in}:1", 1.1), Body("ja", 2, 11, f"x:{started_in}:1", 20.0)]
        return list(until_started([Crash("ja", 1.0, 10.0, body=bodies[0])], bodies, Slots(up, **more), {"ja": POOLED}).times)

    assert free("w1", "w1", busy={}) == [10.0]
    assert free("g1", "g1", busy={}) == [5.0]
    assert free("g1", "g1", busy={"x:g1:1": [(0.0, 30.0), (0.0, 12.0)]}) == [3.0]
    assert free("w1", "w1", busy={"x:w1:1": [(0.0, 30.0), (0.0, 30.0)]}) == [0.0]


# -- jobs that kill their worker


#: `jx` killed the worker that ran `ja` too.
LOST = Crash("ja", 1.0, 9.0, body=Body("ja", 1, 10, "x:w1:1", 1.1))
JX = Body("jx", 1, 11, "x:w1:1", 1.5, "kills", 3.0)


def worker(mark: str, code: int, ended: float | None, killed: float | None = None) -> Incarnation:
    popen: Any = SimpleNamespace(returncode=code)
    role = Role(mark.split(":")[1], "worker", (), lambda _: True)
    return Incarnation(role, mark, popen, Path(), 0.0, 0.5, ended, killed)


def test_a_worker_was_killed_by_its_job_if_both_say_so() -> None:
    for seen in (worker("x:w1:1", -signal.SIGKILL, 3.2), worker("x:w1:1", -signal.SIGKILL, 30.2), worker("x:w1:1", -9, 3.4, 3.1)):
        assert slain([JX], [seen]) == {"x:w1:1": 3.0}, seen
    for other in (worker("x:w1:1", 1, 3.2), worker("x:w1:1", 0, None), worker("x:w2:1", -9, 3.2), worker("x:w1:1", -9, 30.2, 30.0)):
        assert slain([JX], [other]) == {}, other
    assert slain([replace(JX, over=None, over_at=None)], [worker("x:w1:1", -9, 3.2)]) == {}


def test_a_job_that_kills_its_worker_explains_the_crashes_of_that_worker_only() -> None:
    def false(crash: Crash, killed: dict[str, float]) -> list[str]:
        seen = replace(CLEAN, crashes=[crash], causes=causes([], [], 6.0, (), killed))
        return judge(seen).violations["crash that no kill explains"]

    assert false(LOST, {"x:w1:1": 3.0}) == []
    assert len(false(LOST, {"x:w2:1": 3.0})) == len(false(LOST, {"x:w1:1": 0.5})) == len(false(LOST, {"x:w1:1": 12.0})) == 1


def test_a_crash_of_a_job_that_kills_its_worker_needs_its_cause() -> None:
    """Unlike that of one that kills its process, which nothing else tells of."""
    seen = replace(with_record("ja", {**CLEAN.records["ja"], "params": '{"poison": "worker"}'}), crashes=[LOST])
    assert "crash that no kill explains" in violated(seen)


def test_its_own_end_is_the_jobs_deed_and_not_two_causes() -> None:
    dead = worker("x:w1:1", -signal.SIGKILL, 3.2)
    assert [one.what for one in causes([], [dead], 6.0, (), {"x:w1:1": 3.0})] == [BY_ITS_JOB]
    assert [one.what for one in causes([], [dead], 6.0)] == ["its own end"]
    assert {one.what for one in causes([], [replace(dead, killed=3.1)], 6.0, (), {"x:w1:1": 3.0})} == {BY_ITS_JOB, "killed"}


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_a_job_that_kills_its_worker_fails_with_it_whoever_asked_for_it(status: str) -> None:
    """Also one that no client was told of."""
    flat = {**KILLER, "status": status, "error_detail": '{"code": "stage_failed"}'}
    seen = replace(CLEAN, records={**CLEAN.records, "untold": flat})
    assert "job that killed its worker and did not fail of it" in violated(seen)
    assert violated(replace(CLEAN, records={**CLEAN.records, "untold": {**KILLER, "crashes": "5"}})) == []


def test_an_innocent_job_needs_three_crashes_to_fail() -> None:
    assert "ended in a way the job does not explain" in violated(lost_with("w1", "w2", killed=0))
    assert violated(lost_with("w1", "w2", "w3", killed=0)) == []


def test_innocent_jobs_that_failed_are_told_by_whether_they_met_a_killer() -> None:
    assert innocents(lost_with("w1", "w2", "w3", killed=1)) == {"ja": True}
    assert innocents(lost_with("w1", "w2", "w3", killed=0)) == {"ja": False}
    # A job that kills its own process is not innocent, and one that ended otherwise has not failed of it.
    assert innocents(lost_with("w1", "w2", "w3", params='{"poison": "kill"}')) == innocents(CLEAN) == {}


def test_the_last_three_crashes_condemn_and_only_where_nothing_else_was_done() -> None:
    promise = "innocent job that failed by jobs that kill their worker"
    four = lost_with("w1", "w2", "w3", "w4", killed=4)
    assert promise in violated(four)
    # The first one was a fault of the run's, and the others were not.
    mine = causes([Done(11.0, "kill_worker", "x:w1:1", 9)], [], 6.0, (), {mark: at for mark, at in four.slain.items() if ":w1" not in mark})
    assert promise in violated(replace(four, causes=mine))
    # The third one's worker was killed twice.
    both = [*four.causes, *causes([Done(31.0, "kill_worker", "x:w3:1", 9)], [], 6.0)]
    assert promise not in violated(replace(four, causes=both))
    # Nobody knows where a run was that had not begun: it was lost by a job if nothing else was done meanwhile, wherever.
    unborn = replace(four, crashes=[*four.crashes[:3], replace(four.crashes[3], body=None)])
    assert promise in violated(unborn)
    elsewhere = causes([Done(44.0, "kill_worker", "x:w9:1", 9)], [], 6.0)
    assert promise not in violated(replace(unborn, causes=[*four.causes, *elsewhere]))
    assert promise in violated(replace(four, causes=[*four.causes, *elsewhere]))


def test_what_starts_apart_is_told_by_its_event_and_timed_apart() -> None:
    log: list[list[object]] = [
        ["started", 1000, 1], ["requeued", 9000, 1, 0, "work", "starts apart, in 4 s", "crash"], ["started", 20000, 1],
        ["requeued", 28000, 1, 0, "work", "working", "crash"], ["started", 29000, 1],
    ]  # fmt: skip
    bodies = [Body("ja", n, 10 + n, f"x:w{n}:1", at) for n, at in enumerate((1.1, 20.1, 29.5), 1)]
    found = crashes({"ja": log}, lambda ms: ms / 1000, bodies)
    assert [one.apart for one in found] == [True, False]
    slots = Slots({"x:w9:1": [(0.0, 100.0)]}, {})
    assert until_started(found, bodies, slots, {}).times == [1.5]
    assert waited_apart(found, bodies).times == pytest.approx([11.1])


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (["requeued", 1, 1, 0, "", "starts apart from the jobs that were lost with it, in 19 s", "crash"], 19.0),
        (["requeued", 1, 1, 0, "", "working, in 19 s", "crash"], 0.0),
        (["started", 1, 1], 0.0),
        (["failed", 1, 1, 0, "", "starts apart, in 3 s", "worker_lost"], 0.0),
    ],
)
def test_how_long_a_job_waits_apart_is_read_from_its_log(line: list[object], seconds: float) -> None:
    assert apart_seconds(line) == seconds


def test_a_job_that_starts_apart_is_waited_for_as_long_as_its_log_says(cell: Settings) -> None:
    with celery_app(cell) as app:
        store = app.cell.store
        for job_id, text in (("a", "starts apart, in 19 s"), ("b", "starts apart, in 60 s"), ("c", "working")):
            store.client.rpush(store.keys("events", job_id), json.dumps(["requeued", 1, 1, 0, "", text, "crash"]))
        store.client.rpush(store.keys("events", "b"), json.dumps(["started", 2, 1]))
        assert apart_for(store, {"a", "b", "c", "unknown"}) == 19.0
        assert apart_for(store, set()) == 0.0


def test_a_run_is_lost_with_the_worker_that_a_job_killed() -> None:
    by_a_job = causes([], [], 6.0, (), {"x:w1:1": 3.0})
    assert of_workers([LOST], by_a_job) == [LOST]
    assert until_requeued([LOST], by_a_job, [], OF_WORKERS).times == [6.0]


def test_a_short_run_has_jobs_that_kill_their_worker_and_a_full_one_thirty() -> None:
    for jobs, count in ((400, 1), (20_000, 30)):
        plan = make_plan(3, jobs, 60, SHORT, lease_seconds=5, mix=EVERYTHING)
        killers = [job for job in plan.jobs if job.params.get("poison") == "worker"]
        assert len(killers) == count
        assert {(job.kind, job.depends_on, job.cancel_after) for job in killers} == {("poison", None, None)}


#: A worker whose child asks for its worker, and one whose parent is somebody else's.
ASK = """
import os, sys
from tests.chaos.pipeline import _its_worker
os.environ["CHAOS_RUN"] = sys.argv[1]
if (child := os.fork()) == 0:
    os._exit(_its_worker() == os.getppid())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(("says", "found"), [("x:w1:1", "1"), ("x:w1:2", "0")])
def test_a_job_kills_nobody_but_the_main_process_of_its_worker(says: str, found: str) -> None:
    env = {**os.environ, MARK: "x:w1:1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", ASK, says], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found
