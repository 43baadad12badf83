"""Made-up evidence for the tests of the judge: a clean run, and others that differ from it in one thing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.chaos.crashes import Crash, causes
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Done
from tests.chaos.journal import Body
from tests.chaos.plan import CAPPED, PARTED, POOLED, PlannedJob
from tests.chaos.witness import Heard


def planned(token: str, kind: Any = "good", **fields: Any) -> PlannedJob:
    return PlannedJob(token, kind, 0.0, {"token": token}, "acme", "main", 0, http=False, **fields)


def record(status: str, **fields: Any) -> dict[str, str]:
    return {"status": status, "terminal_writes": "1", "attempt": "1", **fields}


def canvas(shape: str, *ids: str) -> dict[str, Any]:
    return {"what": "canvas", "shape": shape, "ids": list(ids), "tokens": [job_id[1:] for job_id in ids]}


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
        "jd": record("failed", params='{"poison": "kill"}', error_detail='{"code": "worker_lost"}', crashes="3"),
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


def waiting_for(parent: str, body: Body) -> Evidence:
    """Job `ja` waits for another one, and its body is given."""
    seen = with_record("ja", {**CLEAN.records["ja"], "depends_on": json.dumps([parent])})
    return replace(
        seen, planned={**CLEAN.planned, "a": planned("a", depends_on=parent[1:])}, bodies=[body, Body("jz", 1, 11, "m", 1.0, "end", 5.0)],
        records={**seen.records, "jz": record("completed")},
    )  # fmt: skip


def capped(*starts: float) -> Evidence:
    """Jobs of the capped pipeline that work for a second each."""
    bodies = [Body(f"jc{n}", 1, n, "m", start, "end", start + 1) for n, start in enumerate(starts)]
    return replace(
        CLEAN, bodies=bodies, records={**CLEAN.records, **{body.job_id: record("completed", pipeline=CAPPED) for body in bodies}}
    )


def in_canvas(shape: str, *statuses: str | None, state: str = "FAILURE") -> Evidence:
    """A chord or chain of jobs that ended so; None: there is no such job."""
    ids = [f"jk{n}" for n in range(len(statuses))]
    made = {job_id: record(status) for job_id, status in zip(ids, statuses, strict=True) if status}
    return replace(
        CLEAN, client=[*CLEAN.client, canvas(shape, *ids)], records={**CLEAN.records, **made}, canvas_states={ids[-1]: state},
        planned={**CLEAN.planned, **{job_id[1:]: planned(job_id[1:]) for job_id in ids}},
    )  # fmt: skip


def pooled(job_id: str, *runs: tuple[int, str, str, str | None], hops: int = 2, trail: Sequence[int] = (1, 2, 3)) -> Evidence:
    """A completed job that went from pool to pool. Its runs: fence, role of the worker, stage, how it was over."""
    bodies = [Body(job_id, fence, 10 + fence, f"x:{role}:1", fence, over, fence + 0.5, [stage]) for fence, role, stage, over in runs]
    data = {"token": "a", "trail": [f"{job_id}.{fence}" for fence in trail]}
    last = max([1, *(fence for fence, *_ in runs)])
    flat = record("completed", pipeline=POOLED, result=json.dumps({"data": data}), artifacts=f"acme/main/{job_id}/{last}")
    seen = with_record(job_id, flat)
    return replace(
        seen, bodies=[*bodies] or CLEAN.bodies, hops={job_id: hops}, artifacts={f"acme/main/{job_id}/{last}": f"a {job_id}.{last}"}
    )


def parted(*runs: tuple[str, int, str, str, str | None], heard: Sequence[tuple[int, str]] = (), **changes: Any) -> Evidence:
    """A completed job in parts, `ja`. Its runs: job or part, fence, role of the worker, what it did, how it was over.

    :param heard: what was joined.
    """
    bodies = [Body(job_id, fence, 10, f"x:{role}:1", n, over, n + 0.5, [did]) for n, (job_id, fence, role, did, over) in enumerate(runs)]
    last = max([1, *(fence for job_id, fence, *_ in runs if job_id == "ja")])
    result = json.dumps({"data": {"token": "a", "heard": [list(one) for one in heard]}})
    flat = record("completed", pipeline=PARTED, result=result, artifacts=f"acme/main/ja/{last}")
    seen = with_record("ja", {**flat, **changes})
    return replace(seen, bodies=[*bodies] or CLEAN.bodies, artifacts={f"acme/main/ja/{last}": f"a ja.{last}"})


#: Runs of `ja`, which has three parts, and what is joined of them.
CUT, JOINED = ("ja", 1, "w1", "split", "hop"), ("ja", 2, "w1", "join", "end")
PARTS = tuple((f"ja~1.{number}", 7, "g1", "part", "end") for number in range(3))
HEARD = tuple((number, f"ja~1.{number}.7") for number in range(3))
BEFORE, WORK, AFTER = (1, "w1", "before", "hop"), (2, "g1", "work", "hop"), (3, "w2", "after", "end")

#: A job that kills its worker, and what its bodies and an innocent's wrote each time.
KILLER = record("failed", params='{"poison": "worker"}', error_detail='{"code": "worker_lost"}', crashes="3")
LOST = {**KILLER, "params": "{}"}


def lost_with(*roles: str, killed: int = 3, **flat: str) -> Evidence:
    """`ja` was lost with each of these workers and then failed; jobs killed the first so many of them."""
    bodies = [Body("ja", n, 10, f"x:{role}:1", 10.0 * n) for n, role in enumerate(roles, 1)]
    lost = [Crash("ja", body.started, body.started + 7, requeued=n < len(roles), body=body) for n, body in enumerate(bodies, 1)]
    slain = {body.mark: body.started + 1 for body in bodies[:killed]}
    done = [Done(body.started + 1, "kill_worker", body.mark, 9) for body in bodies[killed:]]
    seen = with_record("ja", {**LOST, "crashes": str(len(roles)), **flat})
    return replace(seen, bodies=bodies, artifacts={}, heard={}, crashes=lost, causes=causes(done, [], 6.0, (), slain), slain=slain)
