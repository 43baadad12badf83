"""The judge: what a run promised against what became of it. It knows the promises of `docs/reliability.md`, not the code behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.plan import PlannedJob

TERMINAL = {"completed", "failed", "cancelled"}
MAX_CRASHES = 3


def judge(seen: Evidence) -> Verdict:
    verdict = Verdict()
    verdict.must_not("accepted and lost", [job_id for job_id in seen.accepted if job_id not in seen.records])
    verdict.must_not("accepted and not ended", list(_not_ended(seen)))
    verdict.must_not("purged and still there", [job_id for job_id in seen.purged if job_id in seen.records])
    verdict.must_not("ended twice", [*_terminal_writes(seen), *_heard_twice(seen)])
    verdict.must_not("ended otherwise than was heard", list(_denied(seen)))
    verdict.must_not("cancelled and yet not cancelled", list(_uncancelled(seen)))
    verdict.must_not("ended in a way the job does not explain", list(_unexplained(seen)))
    verdict.must_not("result or artifact is not the job's own", list(_foreign(seen)))
    verdict.must_not("artifact nobody points to", list(_leftover_artifacts(seen)))
    verdict.must_not("two runs of one fence", seen.odd_bodies)
    verdict.must_not("slot of a schedule lost or doubled", seen.odd_slots)
    verdict.must_not("indexes or counters differ from a recount", seen.differences)
    verdict.must_not("working folder left", seen.folders)
    verdict.must_not("orphan process", seen.orphans)
    verdict.must_not("process that did not end", seen.stuck)
    verdict.must_not("undeclared HTTP answer", seen.undeclared)
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
    for job_id, endings in seen.heard.items():
        if len(endings) > 1:
            yield f"{job_id} was heard to end as {[one.status for one in endings]}"


def _denied(seen: Evidence) -> Iterator[str]:
    for job_id, endings in seen.heard.items():
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
        if not _explained(job, flat, status, code, cancelled=job_id in cancels):
            yield f"{job_id} ({job.kind}) is {status}, {code}: {flat.get('error')}"


def _explained(job: PlannedJob, flat: Mapping[str, str], status: str, code: str | None, *, cancelled: bool) -> bool:
    if status == "cancelled":
        return job.kind == "cancel" and (cancelled or flat.get("cancel_requested") == "1")
    if status == "failed" and code == "worker_lost":
        # A good job may meet three of our kills, too.
        return int(flat.get("crashes", 0)) == MAX_CRASHES
    if job.kind == "fail":
        return status == "failed" and code == "stage_failed"
    return status == "completed" and job.kind != "poison"


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
    yield from sorted(set(seen.artifacts) - pointed_to)
