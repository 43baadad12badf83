"""How a request becomes a job: its Idempotency-Key, the rates it is held against, and what the answer says of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pipeline_jobs.exceptions import JobNotEnded
from pipeline_jobs.job import Job, NewJob, dumps
from pipeline_jobs.jobs.client import Again
from pipeline_jobs.store.idempotency import Accepted
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access_line import note_job
from pipeline_jobs.web.http.rate_headers import rate_headers
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.fields import MAX_KEY
from pipeline_jobs.web.state import web

REPLAYED = "Idempotent-Replayed"


def submit(new: NewJob, route: str, key: str | None) -> tuple[Job, dict[str, str]]:
    """The job that this request makes, or that its Idempotency-Key made before; and headers of the answer.

    :param route: within which the key is one of a kind (besides the caller's tenant and workspace).
    :raises Refused: 422, the key is too long or empty. :raises JobGone: its job was removed.
    """
    return _made(route, key, lambda sender: web().cell.submit(job=new, idempotency_key=key, sender=sender).accepted)


def retry(
    old: Job, from_stage: str | None, key: str | None, changes: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Job, dict[str, str]]:
    """The same for the retry of an ended job.

    :param changes: fields of the new job that are not as those of the old one (`RetryRequest.changes`).
    :raises JobNotEnded:
    :raises InvalidInput: there is no such stage, or a field may not be so.
    """
    client = web().cell.client
    if not changes:
        return _made("retry", key, lambda sender: client.retry(old, from_stage=from_stage, idempotency_key=key, sender=sender))
    if not old.ended:
        raise JobNotEnded
    new, again = replace(old.asked_again(), **changes), _changed(client.again(old, from_stage), changes)
    return _made("retry", key, lambda sender: client.accept(new, again=again, idempotency_key=key, sender=sender))


def _changed(again: Again, changes: Mapping[str, Any]) -> Again:
    """What a retry that changes something begins with: what the old job's stages gave was made of its own parameters, so it is kept only
    where the caller says from which stage on to run. What is changed is part of what the request is known by (its Idempotency-Key)."""
    known_by = f"{again.from_stage or ''}\n{dumps(dict(changes))}"
    if again.from_stage is None:
        again = replace(again, outputs="", blobs="")
    return replace(again, from_stage=known_by)


def run_schedule(schedule_id: str, key: str | None) -> tuple[Job, dict[str, str]]:
    """The same for a run of a schedule that is asked for.

    :raises UnknownSchedule:
    """
    cell, actor = web().cell, caller().actor
    made, headers = _made(
        "schedule runs", key, lambda sender: cell.schedules.run_now(schedule_id, idempotency_key=key, sender=sender, actor=actor)
    )
    # As it is now: it may have been dispatched already.
    return cell.results(made.job_id).record(), headers


def check_key(key: str | None) -> str | None:
    """:raises Refused: 422, the Idempotency-Key is too long or empty."""
    if key is not None and not 0 < len(key) <= MAX_KEY:
        raise Refused(422, "invalid_input", f"Idempotency-Key must have 1..{MAX_KEY} characters", field="Idempotency-Key")
    return key


def _made(route: str, key: str | None, make: Callable[[Sender], Accepted]) -> tuple[Job, dict[str, str]]:
    check_key(key)
    accepted = make(caller().sender(route))
    note_job(accepted.job)
    return accepted.job, {REPLAYED: "true"} if accepted.replayed else rate_headers(accepted.rates)
