"""The list of jobs, a job, and its actions."""

from __future__ import annotations

import secrets
import time
from typing import Any

from flask import Response, request, url_for

from pipeline_jobs.events.log import read
from pipeline_jobs.events.tokens import StreamToken, job_scope
from pipeline_jobs.exceptions import JobNotEnded, UnknownPipeline
from pipeline_jobs.job import Job
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http import submitting
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, is_fragment, page, see_other
from pipeline_jobs.web.ui.listing import BY, filters, read_query
from pipeline_jobs.web.ui.results import result_view, safe_link

blueprint.add_app_template_filter(safe_link)


@blueprint.get("/jobs")
def jobs() -> Response:
    who, found = caller(), filters()
    listed = web().cell.client.list(who.query(read_query(found)))
    return page(
        "jobs",
        jobs=listed.items,
        next_cursor=seal(listed.next_cursor),
        filters=found,
        # What stays when another status is chosen.
        others={name: value for name, value in found.items() if name != "status"},
        # What the form shows, if there is something besides tenant and status.
        by=next((name for name in BY if name in found), None),
        choices={name: text for name, text in BY.items() if name != "workspace_id" or who.workspace_id is None},
    )


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    record = handle_of(job_id).record()
    return page(
        "job",
        job=record,
        steps=steps(record),
        took=took(record),
        result=result_view(record),
        # Of the form that runs it again: sent twice, it makes one job.
        token=secrets.token_urlsafe(16),
        **_stream(record),
    )


@blueprint.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    handle_of(job_id).revoke()
    return see_other("ui.job", job_id=job_id)


@blueprint.post("/jobs/<job_id>/retry")
def retry(job_id: str) -> Response:
    old = handle_of(job_id).record()
    made, _ = submitting.retry(old, None, request.form.get("token", "")[:64] or None)
    return see_other("ui.job", job_id=made.job_id)


@blueprint.post("/jobs/<job_id>/delete")
def delete(job_id: str) -> Response:
    handle = handle_of(job_id)
    if not handle.record().ended:
        # The button is on ended jobs only: this one was retried meanwhile, or the form is not ours.
        raise JobNotEnded
    handle.forget()
    return see_other("ui.jobs")


def _stream(record: Job) -> dict[str, Any]:
    """Where the page's script follows the job (`/pipeline/jobs/{id}/events`), and from which event on; nothing for a job that has ended.

    A session opens the page only, so the script is given a token for this one stream: it is good for an hour, and as long as the key is.
    """
    if record.ended or is_fragment():
        return {}
    who, cell = caller(), web().cell
    after = read(cell.store, record.job_id, 0, 1).last
    token = cell.stream_tokens.make(StreamToken(who.key_id, job_scope(record.job_id)))[0] if who.key_id else None
    return {"events": url_for("events.history", job_id=record.job_id, token=token), "after": after}


def steps(record: Job) -> list[dict[str, Any]]:
    """The pipeline's stages, each `done`, `now`, `failed` or `todo`; none if the pipeline is no longer known."""
    try:
        names = [stage.name for stage in web().cell.pipelines.get(record.pipeline).stages]
    except UnknownPipeline:
        return []
    at = names.index(record.stage) if record.stage in names else -1
    if record.status == "completed":
        at = len(names)
    here = {"running": "now", "failed": "failed", "cancelled": "failed"}.get(record.status.value, "todo")
    return [{"name": name, "state": "done" if i < at else here if i == at else "todo"} for i, name in enumerate(names)]


def took(record: Job) -> float | None:
    """Seconds since the job began to run, or that it ran."""
    if record.attempt_started_at is None:
        return None
    return max(0.0, (record.completed_at or time.time() * 1000) - record.attempt_started_at) / 1000
