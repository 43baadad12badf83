"""Jobs that kill their worker, and the others that were there: the former must end, and must not take the latter with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.crashes import BY_ITS_JOB, Cause, Crash
from tests.chaos.evidence import Evidence
from tests.chaos.pipeline import WORKER

MAX_CRASHES = 3


def poison_of(flat: Mapping[str, str]) -> str:
    """How a job kills its process; empty: it does not."""
    return str(json.loads(flat.get("params", "{}")).get("poison", ""))


def worker_lost(flat: Mapping[str, str]) -> bool:
    """A good job may meet three of our kills, too. One that was lost with its worker may be given more tries."""
    return code(flat) == "worker_lost" and int(flat.get("crashes", 0)) >= MAX_CRASHES


def code(flat: Mapping[str, str]) -> str | None:
    """Of the error of a job that failed."""
    found: str | None = json.loads(flat.get("error_detail", "{}")).get("code")
    return found


def killers_that_lived(seen: Evidence) -> Iterator[str]:
    """Of all records: also of jobs that no client was told of. None of them waits for another one, and none is cancelled."""
    for job_id, flat in seen.records.items():
        if poison_of(flat) == WORKER and not worker_lost(flat):
            yield f"{job_id} is {flat['status']}, {code(flat)}, after {flat.get('crashes', 0)} crashes"


def condemned(seen: Evidence) -> Iterator[str]:
    """Innocent jobs that failed although each of their last crashes was the work of a job that kills its worker."""
    for job_id, found in _failed(seen).items():
        last = found[-MAX_CRASHES:]
        if len(last) == MAX_CRASHES and all(only_by_a_job(crash, seen.causes) for crash in last):
            yield f"{job_id}: lost with {[_where(crash) for crash in last]}"


def _where(crash: Crash) -> str:
    return f"{crash.body.mark.split(':', 1)[1] if crash.body else 'a worker before it began'} at {crash.at:.3f}"


def innocents(seen: Evidence) -> dict[str, bool]:
    """Those that failed with their worker: whether any of their crashes may have been the work of a job that kills its worker."""
    return {job_id: any(_by_a_job(crash, seen.causes) for crash in found) for job_id, found in _failed(seen).items()}


def _failed(seen: Evidence) -> dict[str, list[Crash]]:
    """The crashes of each innocent job that failed of them, in their order."""
    failed = {job_id for job_id, flat in seen.records.items() if code(flat) == "worker_lost" and not poison_of(flat)}
    return {job_id: sorted((one for one in seen.crashes if one.job_id == job_id), key=lambda one: one.at) for job_id in failed}


def only_by_a_job(crash: Crash, causes: Sequence[Cause]) -> bool:
    """A job killed its worker, and nothing else was done that can have ended this run.

    Of a run that had not begun nobody knows which worker had it: then nothing else was done to any of them.
    """
    return {cause.what for cause in causes if cause.explains(crash)} == {BY_ITS_JOB}


def _by_a_job(crash: Crash, causes: Sequence[Cause]) -> bool:
    return any(cause.what == BY_ITS_JOB and cause.explains(crash) for cause in causes)
