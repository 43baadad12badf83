"""The judge is judged: whatever breaks a promise is found, and a clean run is clean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.evidence import Evidence
from tests.chaos.faults import Done
from tests.chaos.figures import by_job, executions, ghosts, ran_although_cancelled, rescues
from tests.chaos.journal import Body, read_bodies
from tests.chaos.oracle import judge
from tests.chaos.plan import FULL, PlannedJob, make_plan, share_of_full
from tests.chaos.processes import total_down
from tests.chaos.witness import Heard


def planned(token: str, kind: Any) -> PlannedJob:
    return PlannedJob(token, kind, 0.0, {"token": token}, "acme", "main", 0, http=False)


def record(status: str, **fields: Any) -> dict[str, str]:
    return {"status": status, "terminal_writes": "1", "attempt": "1", **fields}


def completed(token: str, job_id: str) -> dict[str, str]:
    return record("completed", result=json.dumps({"data": {"token": token}}), artifacts=f"acme/main/{job_id}/1")


CLEAN = Evidence(
    planned={token: planned(token, kind) for token, kind in {"a": "good", "b": "cancel", "c": "fail", "d": "poison"}.items()},
    client=[
        *({"what": "accepted", "job_id": f"j{token}", "token": token} for token in "abcd"),
        {"what": "cancel", "job_id": "jb", "status": "running", "requested": True},
    ],
    bodies=[Body("ja", 1, 10, "m", 1.0, "end", 2.0)],
    odd_bodies=[],
    records={
        "ja": completed("a", "ja"),
        "jb": record("cancelled", cancel_requested="1"),
        "jc": record("failed", error_detail='{"code": "stage_failed"}'),
        "jd": record("failed", error_detail='{"code": "worker_lost"}', crashes="3"),
    },
    heard={"ja": [Heard("completed", 2.0)], "jb": [Heard("cancelled", 3.0)]},
    differences=[],
    artifacts={"acme/main/ja/1": "a ja.1"},
)


def with_record(job_id: str, flat: Mapping[str, str] | None) -> Evidence:
    records = {**CLEAN.records, **({job_id: flat} if flat else {})}
    if flat is None:
        del records[job_id]
    return replace(CLEAN, records=records)


BROKEN = {
    "accepted and lost": with_record("jc", None),
    "accepted and not ended": with_record("jc", {"status": "running"}),
    "purged and still there": replace(CLEAN, purged={"jc"}),
    "ended twice": with_record("jc", {**CLEAN.records["jc"], "terminal_writes": "2"}),
    "ended otherwise than was heard": replace(CLEAN, heard={"ja": [Heard("failed", 2.0)]}),
    "cancelled and yet not cancelled": with_record("jb", {**completed("b", "jb"), "cancel_requested": "1"}),
    "ended in a way the job does not explain": with_record("ja", record("failed", error_detail='{"code": "internal_error"}')),
    "result or artifact is not the job's own": replace(CLEAN, artifacts={"acme/main/ja/1": "a ja.2"}),
    "artifact nobody points to": replace(CLEAN, artifacts={**CLEAN.artifacts, "acme/main/jc/1": "c jc.1"}),
    "two runs of one fence": replace(CLEAN, odd_bodies=["ja.1 started twice"]),
    "slot of a schedule lost or doubled": replace(CLEAN, odd_slots=["sch_1: ['fired', 'fired'] for one slot"]),
    "indexes or counters differ from a recount": replace(CLEAN, differences=["jobs"]),
    "working folder left": replace(CLEAN, folders=["ja.1"]),
    "orphan process": replace(CLEAN, orphans=["w1:1 pid 3"]),
    "process that did not end": replace(CLEAN, stuck=["w1:1"]),
    "undeclared HTTP answer": replace(CLEAN, undeclared=["500"]),
    "not accepted, however often it was tried": replace(CLEAN, given_up=["e"]),
}


def test_a_clean_run_is_clean_and_every_promise_is_tried_here() -> None:
    verdict = judge(CLEAN)
    assert verdict.ok, verdict.text()
    assert set(verdict.violations) == set(BROKEN)


@pytest.mark.parametrize("promise", BROKEN)
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


def test_a_cancel_that_was_told_to_have_won_must_have_won() -> None:
    told = [*CLEAN.client, {"what": "cancel", "job_id": "ja", "status": "cancelled", "requested": True}]
    assert judge(replace(CLEAN, client=told)).violations["cancelled and yet not cancelled"] != []


def test_a_poison_job_must_not_complete_and_its_crashes_are_three() -> None:
    for flat in (completed("d", "jd"), {**CLEAN.records["jd"], "crashes": "2"}):
        assert judge(with_record("jd", flat)).violations["ended in a way the job does not explain"] != []


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
    apart = rescues(bodies, [Done(3.0, "kill_worker", "m")], [(5.0, 7.0)], of_children=False, requeued={"ja": [2.0, 10.0]})
    assert (apart.to_the_queue, apart.to_the_start) == ([5.0], [2.0])
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


def test_the_full_form_has_the_faults_of_the_bar() -> None:
    assert FULL["kill_worker"] + FULL["kill_child"] >= 200
    assert FULL["kill_api"] + FULL["kill_beat"] + FULL["kill_maintenance"] >= 30
    assert FULL["kill_server"] >= 10
