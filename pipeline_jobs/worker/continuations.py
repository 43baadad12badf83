"""What Celery tells of a task's end (callbacks, the next task of a chain, a chord, errbacks), told of jobs where no run does it.

A run that ends its job tells it by Celery's own code, right after `finish`. For that case and for every other end the script that ended the
job has left a row (`lua/lib/ending.lua`); maintenance tells what a row is about, at least once, and then removes it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog
from celery import Celery
from celery.app.task import Context
from celery.canvas import maybe_signature
from celery.exceptions import TaskRevokedError

from pipeline_jobs.exceptions import IdTaken
from pipeline_jobs.jobs.results import MAX_BY_VALUE, fetch
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import TenantContext, with_tenant
from pipeline_jobs.worker.hints import FENCE_HEADER
from pipeline_jobs.worker.result import JobFailed

logger = structlog.get_logger(__name__)

#: Rows of a script.
BATCH = 100


def run_once(app: Celery) -> dict[str, int]:
    """Tell what nobody has told. :return: `{"continued": rows}`"""
    store: Store = app.cell.store
    told = 0
    while True:
        rows = [name.partition("@") for name in store.run("continue", limit=BATCH)]
        told += sum(tell(app, job_id, fence) for job_id, _, fence in rows)
        if len(rows) < BATCH:
            return {"continued": told}


def tell(app: Celery, job_id: str, fence: str = "") -> bool:
    """Tell a job's end, and remove its row.

    :param fence: of its last run; without one it is the end that has the row of the id, since before any other.
    :return: False: there is no row, or it stays, because it cannot be told now.
    """
    store: Store = app.cell.store
    row = store.record("continuation", job_id)
    if fence and row.get("fence") != fence:
        row = store.record("later_continuation", job_id, fence)
    if not row:
        return False
    request = _request(job_id, row["message"])
    try:
        claimed = _chord_claimed(app, request)
        with with_tenant(TenantContext(row["tenant_id"], row["workspace_id"])):
            _tell(app, request, row)
        # Looked at on both sides: the claim may end while Celery is told, or be made by another member's process.
        if claimed or _chord_claimed(app, request):
            return False
    except app.backend.temporary_errors() as error:
        logger.warning("the end of a job cannot be reported to Celery now, will try again", seldom=True, job_id=job_id, error=str(error))
        return False
    except Exception as error:
        # It would be so every time: as Celery does, the rest of its chain and its errbacks hear of it, and nobody is told again.
        logger.exception("the continuation of a job can never be sent", job_id=job_id)
        app.backend.mark_as_failure(job_id, error, request=request)
    return bool(store.run("continued", id=job_id, fence=row.get("fence", "")))


def _tell(app: Celery, request: Context, row: Mapping[str, str]) -> None:
    """As Celery's tracer does after a task's body."""
    if row["status"] != "completed":
        error = JobFailed(row["error"]) if row["status"] == "failed" else TaskRevokedError("cancelled")
        app.backend.mark_as_failure(request.id, error, request=request)
        return
    result = fetch(app.cell.artifacts, request.id, json.loads(row["result"]), MAX_BY_VALUE)
    family = {"parent_id": request.id, "root_id": request.root_id or request.id}
    for callback in request.callbacks or ():
        _send(maybe_signature(callback, app=app), result, family)
    if request.chain:
        _send(maybe_signature(request.chain[-1], app=app), result, {**family, "chain": request.chain[:-1]})
    app.backend.mark_as_done(request.id, result, request, store_result=False)


def _chord_claimed(app: Celery, request: Context) -> bool:
    """A process has claimed the chord (`.c`), which is not told yet (`.s`). It may have died since: until its claim ends by itself
    (Celery 5.7), Celery does nothing for anybody else, so that who tells it now has to tell it once more.
    """
    if not (request.group and request.chord):
        return False
    backend = app.backend
    claim, members = (backend.get_key_for_group(request.group, part) for part in (".c", ".s"))
    if int(backend.client.exists(claim, members)) < 2:
        return False
    # The server's clock may have been set back since, by hours: the claim would stand for as much longer.
    backend.client.pexpire(claim, 1000 * backend.longest_claim(maybe_signature(request.chord, app=app)), lt=True)
    return True


def _send(following: Any, result: Any, options: Mapping[str, Any]) -> None:
    # A job of a chain has its id from the start: who told this before has made it.
    with suppress(IdTaken):
        following.apply_async((result,), **options)


def _request(job_id: str, message: str) -> Context:
    """What a worker would make of a job's own message. Without a fence: what a run says of its job's failure may mean that it goes on."""
    whole = json.loads(message)
    args, kwargs, embedded = json.loads(base64.b64decode(whole["body"]))
    request: dict[str, Any] = {**whole["headers"], **embedded, "args": args, "kwargs": kwargs, "delivery_info": {}}
    return Context({**request, "id": job_id, FENCE_HEADER: None})
