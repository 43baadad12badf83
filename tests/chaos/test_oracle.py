"""The judge is judged: whatever breaks a promise is found, and a clean run is clean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cases import each
from tests.chaos.crashes import Crash, causes, crashes
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Done, out_of_reach
from tests.chaos.figures import by_job, executions, ghosts, ran_although_cancelled, rescues
from tests.chaos.journal import Body, read_bodies
from tests.chaos.made_up import (
    AFTER,
    BEFORE,
    CLEAN,
    KILLER,
    WORK,
    capped,
    completed,
    in_canvas,
    lost_with,
    parted,
    planned,
    pooled,
    record,
    waiting_for,
    with_record,
)  # fmt: skip
from tests.chaos.oracle import judge
from tests.chaos.plan import CAPPED, EVERYTHING, FULL, FULL_JOBS, NEWER, PARTED, POOLED, make_plan, share_of_full
from tests.chaos.processes import total_down
from tests.chaos.witness import Heard

#: A run of `ja` that counts as crashed at 5.
CRASH = Crash("ja", 1.0, 5.0, body=Body("ja", 1, 10, "x:w1:1", 1.1))
AGAIN = {"what": "again", "job_id": "jother", "token": "a"}

BROKEN = {
    "accepted and lost": with_record("jc", None),
    "accepted and not ended": with_record("jc", {"status": "running"}),
    "stood still when nothing was wrong any more": replace(CLEAN, unmoved=["jc"]),
    "purged and still there": replace(CLEAN, purged={"jc"}),
    "ended twice": with_record("jc", {**CLEAN.records["jc"], "terminal_writes": "2"}),
    "ended otherwise than was heard": replace(CLEAN, heard={"ja": [Heard("failed", 2.0)]}),
    "cancelled and yet not cancelled": with_record("jb", {**completed("b", "jb"), "cancel_requested": "1"}),
    "ended in a way the job does not explain": with_record("ja", record("failed", error_detail='{"code": "internal_error"}')),
    "result or artifact is not the job's own": replace(CLEAN, artifacts={"acme/main/ja/1": "a ja.2"}),
    "artifact nobody points to": replace(CLEAN, artifacts={**CLEAN.artifacts, "acme/main/jc/1": "c jc.1"}),
    "two runs of one fence": replace(CLEAN, odd_bodies=["ja.1 started twice"]),
    "crash that no kill explains": replace(CLEAN, crashes=[CRASH]),
    "stage run again although its output was kept": pooled("ja", BEFORE, (2, "g1", "work", None), (3, "w1", "before", "hop")),
    "stage run by another pool than its own": pooled("ja", BEFORE, (2, "w1", "work", "hop"), AFTER),
    "change of pools lost or doubled": pooled("ja", BEFORE, WORK, AFTER, hops=3),
    "part lost, doubled or out of its place in the join": parted(),
    "job that killed its worker and did not fail of it": with_record("jd", {**KILLER, "crashes": "2"}),
    "innocent job that failed by jobs that kill their worker": lost_with("w1", "w2", "w3"),
    "process that ended by itself": replace(CLEAN, unexpected=["w1:1 ended with 1"]),
    "one key, two jobs": replace(CLEAN, client=[*CLEAN.client, AGAIN]),
    "began before the job that it waits for had ended": waiting_for("jz", Body("ja", 1, 10, "m", 4.9, "end", 6.0)),
    "more of a pipeline at once than its cap": capped(1.0, 1.5, 1.9),
    "continuation of a canvas lost, or without its cause": in_canvas("chord", "completed", "completed", None),
    "chord that was not told of a member's end": in_canvas("chord", "completed", "failed", None, state="PENDING"),
    "slot of a schedule lost or doubled": replace(CLEAN, odd_slots=["sch_1: ['fired', 'fired'] for one slot"]),
    "indexes or counters differ from a recount": replace(CLEAN, differences=["jobs"]),
    "working folder left": replace(CLEAN, folders=["ja.1"]),
    "orphan process": replace(CLEAN, orphans=["w1:1 pid 3"]),
    "process that did not end": replace(CLEAN, stuck=["w1:1"]),
    "undeclared answer": replace(CLEAN, undeclared=["500"]),
    "not accepted, however often it was tried": replace(CLEAN, given_up=["e"]),
}


def test_a_clean_run_is_clean_and_every_promise_is_tried_here() -> None:
    verdict = judge(CLEAN)
    assert verdict.ok, verdict.text()
    assert set(verdict.violations) == set(BROKEN)


@each("promise", BROKEN)
def test_a_broken_promise_is_found(promise: str) -> None:
    assert judge(BROKEN[promise]).violations[promise] != []


@pytest.mark.parametrize(
    "evidence",
    [
        replace(CLEAN, heard={"ja": [Heard("completed", 2.0), Heard("completed", 4.0)]}),
        with_record("ja", {**CLEAN.records["ja"], "terminal_writes": "0"}),
    ],
    ids=["heard twice", "never counted"],
)
def test_two_ends_are_found_both_ways(evidence: Evidence) -> None:
    assert judge(evidence).violations["ended twice"] != []


@pytest.mark.parametrize(("status", "is_broken"), [("failed", False), ("completed", True)])
def test_the_end_of_what_nobody_knows_is_that_of_a_canvas_that_broke_off_if_it_failed(status: str, is_broken: bool) -> None:
    verdict = judge(replace(CLEAN, heard={"of a chord": [Heard(status, 2.0)]}))
    assert bool(verdict.violations["ended otherwise than was heard"]) is is_broken


def test_a_cancel_that_was_told_to_have_won_must_have_won() -> None:
    told = [*CLEAN.client, {"what": "cancel", "job_id": "ja", "status": "cancelled", "requested": True}]
    assert judge(replace(CLEAN, client=told)).violations["cancelled and yet not cancelled"] != []


def test_a_poison_job_must_not_complete_and_its_crashes_are_three_or_more() -> None:
    assert judge(with_record("jd", {**CLEAN.records["jd"], "crashes": "4"})).ok
    for flat in (completed("d", "jd"), {**CLEAN.records["jd"], "crashes": "2"}):
        assert judge(with_record("jd", flat)).violations["ended in a way the job does not explain"] != []


@pytest.mark.parametrize(
    "evidence",
    [
        waiting_for("jz", Body("ja", 1, 10, "m", 5.1, "end", 6.0)),
        capped(1.0, 1.5, 2.2),
        in_canvas("chord", "completed", "completed", "completed"),
        in_canvas("chord", "completed", "failed", None),
        in_canvas("chain", "failed", None, None),
        pooled("ja", BEFORE, WORK, AFTER),
        pooled("ja", BEFORE, (2, "g1", "work", None), (3, "g1", "work", "hop"), (4, "w1", "after", "end"), trail=(1, 3, 4)),
        # Killed between its last line and the change of pools.
        pooled("ja", BEFORE, (2, "w1", "before", "hop"), (3, "g1", "work", "hop"), (4, "w1", "after", "end"), trail=(2, 3, 4)),
        with_record("jd", KILLER),
        lost_with("w1", "w2", "w3", killed=2),
        lost_with("w1", "w2", "w3", "w4"),
    ],
    ids=[
        "dependent",
        "cap",
        "chord",
        "failed chord",
        "failed chain",
        "pooled",
        "a segment again",
        "a segment twice",
        "killer",
        "innocent",
        "more than three",
    ],
)
def test_what_comes_in_its_turn_is_no_violation(evidence: Evidence) -> None:
    found = judge(evidence).violations
    assert not [promise for promise in found if found[promise] and promise not in ("result or artifact is not the job's own",)]


@pytest.mark.parametrize(
    "evidence",
    [
        in_canvas("chain", "completed", None, None),
        in_canvas("chain", "failed", "completed", "completed"),
        in_canvas("chord", "failed", "completed", "completed"),
        in_canvas("chord", "completed", "completed", "failed"),
    ],
    ids=["a chain breaks", "a chain goes on", "a chord goes on", "a chord's last fails"],
)
def test_a_canvas_that_breaks_or_goes_on_wrongly_is_found(evidence: Evidence) -> None:
    assert judge(evidence).violations["continuation of a canvas lost, or without its cause"] != []


def test_a_key_of_which_two_records_are_there_is_found_whatever_was_told() -> None:
    made = {name: {**CLEAN.records["ja"], "params": '{"token": "a"}'} for name in ("ja", "jcopy")}
    seen = replace(CLEAN, planned={**CLEAN.planned, "a": planned("a", keyed=True)}, records={**CLEAN.records, **made})
    assert judge(seen).violations["one key, two jobs"] == ["a: 2 jobs"]


@pytest.mark.parametrize("policy", ["fail", "cancel", "run"])
def test_a_dependent_ends_as_it_was_asked_to_when_the_other_one_failed(policy: str) -> None:
    ended = {
        "fail": record("failed", error_detail='{"code": "dependency_failed"}'),
        "cancel": record("cancelled"),
        "run": completed("a", "ja"),
    }
    plan = {**CLEAN.planned, "a": planned("a", depends_on="c", on_dependency_failure=policy)}

    def wrong(other: str, parent: Mapping[str, str]) -> list[str]:
        flat = {**ended[other], "depends_on": '["jc"]'}
        seen = replace(CLEAN, planned=plan, records={**CLEAN.records, "ja": flat, "jc": parent})
        return judge(seen).violations["ended in a way the job does not explain"]

    assert wrong(policy, CLEAN.records["jc"]) == []
    for other in {"fail", "cancel"} - {policy}:
        assert wrong(other, CLEAN.records["jc"])[0].startswith("ja ")
    if policy != "run":
        # It had no reason to.
        assert "ja " in " ".join(wrong(policy, completed("c", "jc")))


def crashed(*seen: Crash, done: list[Done], away: Sequence[tuple[float, float]] = (), **evidence: Any) -> list[str]:
    """What the oracle finds of crashes, given what was done; a lease is 6 s."""
    return judge(replace(CLEAN, crashes=seen, causes=causes(done, [], 6.0, away), **evidence)).violations["crash that no kill explains"]


def test_a_crash_is_explained_by_the_death_of_its_own_process_only() -> None:
    assert crashed(CRASH, done=[Done(4.0, "kill_worker", "x:w1:1", 9)]) == []
    assert crashed(CRASH, done=[Done(4.0, "kill_child", "x:w1:1", 10)]) == []
    for other in (
        Done(4.0, "kill_worker", "x:w2:1", 9),
        Done(4.0, "kill_child", "x:w1:1", 11),
        Done(0.5, "kill_child", "x:w1:1", 10),
        Done(6.0, "kill_worker", "x:w1:1", 9),
        Done(4.0, "kill_maintenance", "x:w1:1", 10),
    ):
        assert len(crashed(CRASH, done=[other])) == 1, other


def test_no_pause_of_a_server_no_death_of_a_node_and_no_step_of_the_clock_explains_a_crash() -> None:
    assert len(crashed(CRASH, done=[Done(2.0, "pause_server", seconds=9.0), Done(2.0, "clock_step", seconds=90.0)])) == 1
    assert len(crashed(CRASH, done=[Done(2.0, "kill_broker", "broker:0:leader", 10, 9.0)])) == 1
    assert (
        len(crashed(CRASH, done=[Done(2.0, "kill_server", seconds=9.0), Done(2.0, "drop_clients"), Done(2.0, "fill_disk", "x:w1:1")])) == 1
    )


def test_a_worker_that_was_kept_from_renewing_for_long_enough_explains_a_crash() -> None:
    crash = replace(CRASH, at=9.0)
    assert crashed(crash, done=[Done(2.0, "stop_tree", "x:w1:1", 9, 8.0)]) == []
    assert crashed(crash, done=[Done(2.0, "net_drop", "x:w1:1", 9, 1.0)]) == []
    assert len(crashed(crash, done=[Done(2.0, "stop_tree", "x:w1:1", 9, 3.0)])) == 1
    assert len(crashed(crash, done=[Done(2.0, "stop_child", "x:w1:1", 10, 8.0)])) == 1


def test_what_a_pause_cost_is_found_when_the_server_is_back_and_not_later() -> None:
    stopped = Done(2.0, "stop_tree", "x:w1:1", 9, 7.0)
    assert crashed(replace(CRASH, at=16.0), done=[stopped], away=[(8.9, 15.0)]) == []
    assert len(crashed(replace(CRASH, at=18.0), done=[stopped], away=[(8.9, 15.0)])) == 1
    assert len(crashed(replace(CRASH, at=16.0), done=[stopped])) == 1


def test_a_folder_that_is_kept_after_its_record_is_pointed_to() -> None:
    more = replace(CLEAN, artifacts={**CLEAN.artifacts, "acme/main/jc/1": "c jc.1"})
    assert judge(replace(more, kept=frozenset({"acme/main/jc/1"}))).violations["artifact nobody points to"] == []


def test_a_process_that_was_stopped_right_after_its_claim_explains_a_run_that_had_not_begun() -> None:
    unborn = replace(CRASH, claimed=4.0, at=10.2, body=None)
    stopped = [Done(4.1, "stop_tree", "x:w1:1", 10, 6.5)]
    assert crashed(unborn, done=stopped) == []
    # One that was claimed in the middle of it was another worker's, and one before it has begun.
    for claimed in (2.0, 6.0):
        assert len(crashed(replace(unborn, claimed=claimed), done=stopped)) == 1


def test_the_death_of_a_child_explains_one_crash() -> None:
    unborn = replace(CRASH, job_id="jb", body=None)
    assert crashed(unborn, done=[Done(4.0, "kill_child", "x:w1:1", 10)]) == []
    assert len(crashed(CRASH, unborn, done=[Done(4.0, "kill_child", "x:w1:1", 10)])) == 1
    assert crashed(CRASH, unborn, done=[Done(4.0, "kill_worker", "x:w1:1", 9)]) == []


def test_what_a_child_had_asked_before_its_death_is_heard_when_the_server_is_back() -> None:
    """Its claim is carried out after the pause, and right after it the crash that its worker told of."""
    unborn = replace(CRASH, claimed=12.1, at=12.2, body=None)
    killed = [Done(9.0, "kill_child", "x:w1:1", 10)]
    assert crashed(unborn, done=killed, away=[(8.9, 12.0)]) == []
    assert len(crashed(unborn, done=killed, away=[(9.1, 12.0)])) == 1
    assert len(crashed(replace(unborn, claimed=20.0, at=20.1), done=killed, away=[(8.9, 12.0)])) == 1


def test_poison_and_named_places_explain_themselves() -> None:
    poison = {**CLEAN.records["ja"], "params": '{"token": "a", "poison": "kill"}'}
    assert judge(replace(with_record("ja", poison), crashes=[CRASH])).violations["crash that no kill explains"] == []
    assert crashed(CRASH, done=[], armed=frozenset({"w1"})) == []
    assert len(crashed(CRASH, done=[], armed=frozenset({"w2"}))) == 1


def test_crashes_are_read_from_the_events_of_a_job() -> None:
    log: list[list[object]] = [
        ["created", 500],
        ["started", 1000, 1],
        ["requeued", 5000, 1, 0, "", "", "crash"],
        ["started", 6000, 1],
        ["requeued", 7000, 1, 0, "", "", "retry"],
        ["started", 8000, 2],
        ["failed", 9000, 2, 0, "", "lost", "worker_lost"],
    ]
    bodies = [Body("ja", 1, 10, "m", 1.1), Body("ja", 2, 11, "m", 6.1), Body("ja", 4, 12, "m", 8.1)]
    found = crashes({"ja": log}, lambda ms: ms / 1000, bodies)
    assert found == [Crash("ja", 1.0, 5.0, True, bodies[0]), Crash("ja", 8.0, 9.0, False, bodies[2])]


def test_the_body_of_the_next_run_is_not_that_of_a_run_that_had_not_begun() -> None:
    log: list[list[object]] = [["started", 1000, 1], ["requeued", 5000, 1, 0, "", "", "crash"], ["started", 5050, 1]]
    following = Body("ja", 2, 11, "m", 5.1)
    assert crashes({"ja": log}, lambda ms: ms / 1000, [following]) == [Crash("ja", 1.0, 5.0, True, None)]
    begun = Body("ja", 1, 10, "m", 1.1)
    assert crashes({"ja": log}, lambda ms: ms / 1000, [following, begun]) == [Crash("ja", 1.0, 5.0, True, begun)]


def test_of_two_jobs_with_one_id_the_second_is_judged() -> None:
    removed = {"what": "removed", "job_id": "ja", "at": 10.0, "tenant_id": "acme", "workspace_id": "main", "status": "failed", "crashes": 0}
    second = {"what": "accepted", "job_id": "ja", "token": "a2"}
    lives = replace(
        CLEAN, client=[*CLEAN.client, removed, second], planned={**CLEAN.planned, "a2": planned("a2", job_id="ja", after="a")},
        heard={**CLEAN.heard, "ja": [Heard("failed", 2.0), Heard("completed", 12.0)]},
        records={**CLEAN.records, "ja": completed("a2", "ja")}, artifacts={"acme/main/ja/1": "a2 ja.1"},
    )  # fmt: skip
    assert judge(lives).ok, judge(lives).text()
    # A run of the first one has ended the second.
    assert not judge(replace(lives, records={**lives.records, "ja": completed("a", "ja")})).ok


def test_executions_are_counted_by_what_the_record_knows() -> None:
    runs = [Body("ja", 1, 10, "m", 1.0, "end", 5.0), Body("ja", 2, 11, "m", 3.0, "end", 6.0)]
    seen = executions(replace(CLEAN, bodies=runs))
    assert (seen.total, seen.again, seen.repeated, seen.overlapping, seen.unaccounted) == (2, 1, 1, 1, 1)
    known = with_record("ja", {**CLEAN.records["ja"], "crashes": "1"})
    assert executions(replace(known, bodies=runs)).unaccounted == 0


def test_a_rescue_is_timed_from_the_kill_that_hit_it_without_the_outage() -> None:
    bodies = [Body("ja", 1, 10, "m", 1.0), Body("ja", 2, 11, "n", 12.0, "end", 13.0), Body("jb", 1, 12, "m", 1.0, "end", 2.0)]
    seen = rescues(bodies, [Done(3.0, "kill_worker", "m")], [(5.0, 7.0), (6.0, 8.0)], of_children=False)
    assert seen.times == pytest.approx([6.0])
    later = rescues(bodies, [Done(20.0, "kill_worker", "m")], [], of_children=False)
    assert later.times == []


def test_ghosts_and_bodies_that_outran_their_cancel_are_told() -> None:
    runs = by_job(
        [Body("ja", 1, 10, "m", 1.0, "end", 2.0), Body("ja", 2, 11, "m", 5.0, "end", 6.0), Body("jb", 1, 12, "m", 1.0, "end", 2.0)]
    )
    assert ghosts(runs, {"ja": [Heard("completed", 2.5)], "jb": [Heard("completed", 2.5)]}) == ["ja"]
    cancels = [{"what": "cancel", "job_id": job_id, "at": 4.0} for job_id in ("ja", "jb")]
    assert ran_although_cancelled(runs, cancels) == ["ja"]


def test_overlapping_outages_count_once() -> None:
    assert total_down([(0, 4), (3, 6), (9, 20)], 2, 10) == 5


def test_the_body_journal_tells_what_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "bodies.log"
    path.write_text("start j.1 10 m 1.0\nend j.1 10 m 2.0\nstart j.1 11 m 3.0\nend k.1 11 m 4.0\n")
    bodies, odd = read_bodies(path)
    assert (len(bodies), odd) == (1, ["j.1 started twice", "k.1 is over (end) and never started"])


def test_a_seed_is_a_plan() -> None:
    plans = [make_plan(seed, 200, 60, share_of_full(200), lease_seconds=5) for seed in (1, 1, 2)]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]
    assert len(plans[0].faults) == sum(share_of_full(200).values())


def test_every_way_to_come_is_in_a_plan_and_no_job_is_counted_twice() -> None:
    plan = make_plan(1, 400, 60, share_of_full(400), lease_seconds=5, mix=EVERYTHING)
    ways: dict[str, list[Any]] = {
        "after": [job.after for job in plan.jobs],
        "depends": [job.depends_on for job in plan.jobs],
        "keyed": [job.keyed for job in plan.jobs],
        "capped": [job.pipeline == CAPPED for job in plan.jobs],
        "newer": [job.pipeline == NEWER for job in plan.jobs],
        "pooled": [job.pipeline == POOLED for job in plan.jobs],
        "parted": [job.pipeline == PARTED for job in plan.jobs],
        "killer": [job.params.get("poison") == "worker" for job in plan.jobs],
        "chord": [one.shape == "chord" for one in plan.canvases],
        "chain": [one.shape == "chain" for one in plan.canvases],
    }
    assert all(any(way) for way in ways.values()), ways
    assert len(plan.tokens()) == len(plan.jobs) + sum(len(one.members) + 1 for one in plan.canvases)
    tokens = plan.tokens()
    for job in plan.jobs:
        earlier = job.after or job.depends_on
        assert earlier is None or tokens[earlier].at <= job.at


def test_the_full_form_has_the_faults_of_the_bar() -> None:
    assert sum(count for kind, count in FULL.items() if kind.startswith("kill_")) >= 600
    assert sum(count for kind, count in FULL.items() if kind.startswith(("stop_", "pause_"))) >= 60
    assert FULL["clock_step"] >= 20
    assert FULL_JOBS >= 20_000


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (Done(10.0, "pause_server", None, None, 8.0), True),
        (Done(10.0, "kill_server", None, None, 0.5), True),
        (Done(10.0, "net_drop", "x:w1:1", 7, 5.0), True),
        (Done(10.0, "net_drop", "x:w2:1", 7, 5.0), False),
        (Done(10.0, "kill_child", "x:w1:1", 7, 0.0), False),
        (Done(10.0, "kill_broker", "broker:0:leader", 7, 8.0), False),
        (Done(2.0, "pause_server", None, None, 1.0), False),
        (Done(14.0, "pause_server", None, None, 1.0), False),
    ],
)
def test_a_worker_that_gave_up_on_the_store_did_so_by_itself_unless_something_kept_it_from_it(fault: Done, kept: bool) -> None:
    assert out_of_reach([fault], "x:w1:2", 12.0, 13.0) is kept
