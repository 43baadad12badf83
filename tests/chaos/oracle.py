"""The judge: what a run promised against what became of it. It knows the promises of `docs/reliability.md`, not the code behind them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping

from tests.chaos import crashes
from tests.chaos.canvases import sent
from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.hops import begun_again, broken_trails, in_another_pool, miscounted_hops
from tests.chaos.in_parts import badly_joined, lost_by_a_part, parts_in_another_pool, split_again
from tests.chaos.innocents import condemned, killers_that_lived, poison_of, worker_lost
from tests.chaos.order import before_their_turn, beyond_the_cap
from tests.chaos.pipeline import WORKER
from tests.chaos.plan import PlannedJob

TERMINAL = {"completed", "failed", "cancelled"}


def judge(seen: Evidence) -> Verdict:
    verdict = Verdict()
    verdict.must_not("accepted and lost", [job_id for job_id in seen.accepted if job_id not in seen.records])
    verdict.must_not("accepted and not ended", list(_not_ended(seen)))
    verdict.must_not("stood still when nothing was wrong any more", seen.unmoved)
    verdict.must_not("purged and still there", [job_id for job_id in seen.purged if job_id in seen.records])
    verdict.must_not("ended twice", [*_terminal_writes(seen), *_heard_twice(seen)])
    verdict.must_not("ended otherwise than was heard", list(_denied(seen)))
    verdict.must_not("cancelled and yet not cancelled", list(_uncancelled(seen)))
    verdict.must_not("ended in a way the job does not explain", list(_unexplained(seen)))
    verdict.must_not("result or artifact is not the job's own", list(_foreign(seen)))
    verdict.must_not("artifact nobody points to", list(_leftover_artifacts(seen)))
    verdict.must_not("two runs of one fence", seen.odd_bodies)
    verdict.must_not("crash that no kill explains", list(_false_crashes(seen)))
    verdict.must_not("job that killed its worker and did not fail of it", list(killers_that_lived(seen)))
    verdict.must_not("innocent job that failed by jobs that kill their worker", list(condemned(seen)))
    verdict.must_not("process that ended by itself", seen.unexpected)
    verdict.must_not("one key, two jobs", list(_doubled(seen)))
    verdict.must_not("began before the job that it waits for had ended", list(before_their_turn(seen)))
    verdict.must_not("more of a pipeline at once than its cap", list(beyond_the_cap(seen)))
    verdict.must_not("stage run again although its output was kept", [*begun_again(seen), *split_again(seen)])
    verdict.must_not("stage run by another pool than its own", [*in_another_pool(seen), *parts_in_another_pool(seen)])
    verdict.must_not("part lost, doubled or out of its place in the join", list(badly_joined(seen)))
    verdict.must_not("change of pools lost or doubled", [*miscounted_hops(seen), *broken_trails(seen)])
    verdict.must_not("continuation of a canvas lost, or without its cause", list(_continuations(seen)))
    verdict.must_not("chord that was not told of a member's end", list(_untold(seen)))
    verdict.must_not("slot of a schedule lost or doubled", seen.odd_slots)
    verdict.must_not("indexes or counters differ from a recount", seen.differences)
    verdict.must_not("working folder left", seen.folders)
    verdict.must_not("orphan process", seen.orphans)
    verdict.must_not("process that did not end", seen.stuck)
    verdict.must_not("undeclared answer", seen.undeclared)
    verdict.must_not("not accepted, however often it was tried", seen.given_up)
    return verdict


def _not_ended(seen: Evidence) -> Iterator[str]:
    """Of all records: also a job whose acceptance never reached its client must end."""
    for job_id, flat in seen.records.items():
        if flat["status"] not in TERMINAL:
            yield f"{job_id} is {flat['status']} ({flat.get('reason', '')})"


def _terminal_writes(seen: Evidence) -> Iterator[str]:
    for job_id, flat in seen.records.items():
        if flat["status"] in TERMINAL and flat.get("terminal_writes") != "1":
            yield f"{job_id} is {flat['status']} with {flat.get('terminal_writes', 'no')} terminal writes"


def _heard_twice(seen: Evidence) -> Iterator[str]:
    for job_id, endings in seen.ends.items():
        if len(endings) > 1:
            yield f"{job_id} was heard to end as {[one.status for one in endings]}"


def _denied(seen: Evidence) -> Iterator[str]:
    for job_id, endings in seen.ends.items():
        status = seen.records.get(job_id, {}).get("status")
        if endings[0].status != status and job_id not in seen.purged:
            yield f"{job_id} was heard to end as {endings[0].status} and is {status}"


def _uncancelled(seen: Evidence) -> Iterator[str]:
    """A client was told that the cancel is on its way, or the record says that one was asked for: it must end so."""
    told = {line["job_id"]: line for line in seen.client if line["what"] == "cancel"}
    for job_id, flat in seen.records.items():
        line = told.get(job_id)
        asked = flat.get("cancel_requested") == "1" or (line is not None and (line["status"] == "cancelled" or line["requested"]))
        if asked and flat["status"] in TERMINAL - {"cancelled"}:
            yield f"{job_id} was cancelled and is {flat['status']}"
        if line is not None and line["status"] in TERMINAL and line["status"] != flat["status"]:
            yield f"{job_id} was told to be {line['status']} and is {flat['status']}"


def _unexplained(seen: Evidence) -> Iterator[str]:
    cancels = {line["job_id"] for line in seen.client if line["what"] == "cancel"}
    for job_id, job in seen.accepted.items():
        flat = seen.records.get(job_id)
        if flat is None or flat["status"] not in TERMINAL:
            continue
        status, code = flat["status"], json.loads(flat.get("error_detail", "{}")).get("code")
        explained = _explained(job, flat, status, code, cancelled=job_id in cancels) or lost_by_a_part(seen, job_id)
        if not explained and not _by_dependency(seen, job, flat, code):
            yield f"{job_id} ({job.kind}) is {status}, {code}: {flat.get('error')}"


def _explained(job: PlannedJob, flat: Mapping[str, str], status: str, code: str | None, *, cancelled: bool) -> bool:
    if status == "cancelled":
        return job.kind == "cancel" and (cancelled or flat.get("cancel_requested") == "1")
    if status == "failed" and code == "worker_lost":
        return worker_lost(flat)
    if job.kind == "fail":
        return status == "failed" and code == "stage_failed"
    return status == "completed" and job.kind != "poison"


def _by_dependency(seen: Evidence, job: PlannedJob, flat: Mapping[str, str], code: str | None) -> bool:
    """It ended as it was asked to if the job that it waits for did not complete; and that one did not."""
    parents = json.loads(flat.get("depends_on", "[]"))
    if job.depends_on is None or all(seen.records.get(parent, {}).get("status") == "completed" for parent in parents):
        return False
    if job.on_dependency_failure == "fail":
        return flat["status"] == "failed" and code == "dependency_failed"
    return job.on_dependency_failure == "cancel" and flat["status"] == "cancelled"


def _false_crashes(seen: Evidence) -> Iterator[str]:
    # One that kills its worker is seen to do so.
    poison = {job_id for job_id, flat in seen.records.items() if poison_of(flat) not in ("", WORKER)}
    yield from crashes.unexplained(seen.crashes, seen.causes, poison.__contains__, lambda crash: _at_a_named_place(seen, crash))


def _at_a_named_place(seen: Evidence, crash: crashes.Crash) -> bool:
    return bool(seen.armed) if crash.body is None else crash.body.mark.split(":")[1] in seen.armed


def _doubled(seen: Evidence) -> Iterator[str]:
    """Of a key there is one job, whatever its clients were told."""
    keyed = {token for token, job in seen.planned.items() if job.keyed}
    made = Counter(json.loads(flat.get("params", "{}")).get("token") for flat in seen.records.values())
    yield from (f"{token}: {made[token]} jobs" for token in sorted(keyed) if made[token] > 1)
    first = {line["token"]: line["job_id"] for line in seen.client if line["what"] == "accepted"}
    for line in seen.client:
        if line["what"] == "again" and line["job_id"] != first[line["token"]]:
            yield f"{line['token']}: {first[line['token']]}, then {line['job_id']}"


def _continuations(seen: Evidence) -> Iterator[str]:
    """In a chord the last follows when all before it have completed, in a chain each follows the one before it."""
    for canvas in sent(seen.client):
        if canvas.ids[0] in seen.purged:
            continue
        status = [seen.records.get(job_id, {}).get("status") for job_id in canvas.ids]
        in_chain = [(status[n : n + 1], n + 1) for n in range(len(status) - 1)]
        steps = [(status[:-1], len(status) - 1)] if canvas.shape == "chord" else in_chain
        for causes, follower in steps:
            due = all(cause == "completed" for cause in causes)
            lost = worker_lost(seen.records.get(canvas.ids[follower], {}))
            planned = seen.planned[canvas.tokens[follower]]
            expected = ("failed" if planned.kind == "fail" else "completed") if due else None
            if status[follower] != expected and not (due and lost):
                yield f"{canvas.shape} {canvas.ids}: {status}, where {canvas.ids[follower]} should be {expected or 'not there'}"


def _untold(seen: Evidence) -> Iterator[str]:
    """Whoever waits for a chord's result must learn that there will be none."""
    for canvas in sent(seen.client):
        status = [seen.records.get(job_id, {}).get("status") for job_id in canvas.ids[:-1]]
        if canvas.shape == "chord" and any(one in ("failed", "cancelled") for one in status):
            state = seen.canvas_states.get(canvas.ids[-1], "PENDING")
            if state not in ("FAILURE", "REVOKED"):
                yield f"{canvas.ids}: members {status}, the chord's result is {state}"


def _foreign(seen: Evidence) -> Iterator[str]:
    for job_id, job in seen.accepted.items():
        flat = seen.records.get(job_id)
        if flat is None or flat["status"] != "completed":
            continue
        token = json.loads(flat["result"])["data"].get("token")
        if token != job.token:
            yield f"{job_id}: result of {token} instead of {job.token}"
        fence = flat.get("artifacts", "").rpartition("/")[2]
        if seen.artifacts.get(flat.get("artifacts", "")) != f"{job.token} {job_id}.{fence}":
            yield f"{job_id}: its artifact {flat.get('artifacts')!r} holds {seen.artifacts.get(flat.get('artifacts', ''))!r}"


def _leftover_artifacts(seen: Evidence) -> Iterator[str]:
    pointed_to = {flat["artifacts"] for flat in seen.records.values() if flat["status"] == "completed" and "artifacts" in flat}
    yield from sorted(set(seen.artifacts) - pointed_to - seen.kept)
