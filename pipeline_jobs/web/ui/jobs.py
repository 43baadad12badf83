"""The list of jobs, a job, and its actions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask import Response, request, url_for

from pipeline_jobs.events.job_log import read_one
from pipeline_jobs.events.log import Event, read, read_all
from pipeline_jobs.events.tokens import StreamToken, job_scope
from pipeline_jobs.exceptions import JobNotEnded, UnknownBatch, UnknownJob, UnknownPipeline
from pipeline_jobs.job import ANY_ID, Job
from pipeline_jobs.jobs.listing import tally
from pipeline_jobs.jobs.queue_position import queue_positions
from pipeline_jobs.runlog.lines import Line
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.batches import own_batch
from pipeline_jobs.web.api.deliveries import own_delivery
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http import submitting
from pipeline_jobs.web.http.costing import cost
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, is_fragment, page, see_other
from pipeline_jobs.web.ui.cancelling import who_cancelled
from pipeline_jobs.web.ui.forms import form_token, sent_token
from pipeline_jobs.web.ui.listing import GROUPS, SINCE, called, filters, read_box, read_query, since, write_box
from pipeline_jobs.web.ui.results import result_view, safe_link
from pipeline_jobs.web.ui.story import as_curl, happenings, timeline, title_of
from pipeline_jobs.web.ui.views import is_open, saved
from pipeline_jobs.webhooks.ledger import Delivery

blueprint.add_app_template_filter(safe_link)
blueprint.add_app_template_filter(title_of)

#: Lines of a job's log on its page.
MOST_LINES = 200
#: Other jobs that it waits for, on its page.
MOST_NEEDS = 10
#: What a job that is counted costs the store, in seconds: its record is asked twice, each time as for a list of mixed filters (`BUDGET`).
LOOKED_SECONDS = 6e-6


@blueprint.get("/jobs")
def jobs() -> Response:
    found = filters()
    if "find" in request.args:
        return _find(found)
    listed = web().cell.client.list(caller().query(read_query(found, request.args.get("cursor"))))
    values: dict[str, Any] = {"jobs": explained(listed.items), "next_cursor": seal(listed.next_cursor), "filters": found}
    return page("jobs", **values) if is_fragment() else page("jobs", **values, **_around(found))


def explained(found: Iterable[Job]) -> list[Job]:
    """The jobs, those that wait with their reason and limit as their own pages have them; without, where the store cannot tell now."""
    listed = list(found)
    waiting = [one.job_id for one in listed if one.status is JobStatus.QUEUED]
    positions = dict(zip(waiting, queue_positions(web().cell.store, waiting), strict=True))
    return [_at(positions.get(one.job_id), one) for one in listed]


def _at(queue: Mapping[str, Any] | None, job: Job) -> Job:
    return job.evolve(queue=queue, reason=queue["reason"]) if queue else job


def _find(kept: Mapping[str, str]) -> Response:
    """What was typed into the search box: to the list of its filters, or to the job whose id it is. :param kept: the tenant, if any."""
    text = request.args["find"].strip()
    try:
        found = {"tenant_id": kept["tenant_id"]} if "tenant_id" in kept else {}
        found |= read_box(text)
        if (moment := since(request.args.get("since", ""))) is not None:
            found["created_after"] = moment
        read_query(found)
    except Refused as refused:
        told = answer(refused)
        around = _around({name: value for name, value in kept.items() if name == "tenant_id"})
        return page("jobs", told.status_code, jobs=(), next_cursor=None, filters=kept, **around | {"box": text, "error": _said(told)})
    if ANY_ID.fullmatch(text) and _is_job(text):
        return see_other("ui.job", job_id=text)
    return see_other("ui.jobs", group=request.args.get("group") or None, **found)


def _said(told: Response) -> str:
    body = told.get_json()
    errors = [one for one in body.get("errors", ()) if one["field"] != "find"]
    return "; ".join(f"{called(one['field'].partition('.')[0])}: {one['message']}" for one in errors) or str(body["detail"])


def _is_job(job_id: str) -> bool:
    try:
        handle_of(job_id).record()
    except UnknownJob:
        return False
    return True


def _around(found: Mapping[str, str]) -> dict[str, Any]:
    """What surrounds a list: the search box, how many jobs each status has, and the groups that were asked for."""
    others = {name: value for name, value in found.items() if name != "status"}
    store, who = web().cell.store, caller()
    group = request.args.get("group") or None
    if group is not None and group not in GROUPS:
        raise Refused(422, "invalid_input", f"group must be one of: {', '.join(GROUPS)}", field="group")
    counts, groups = tally(store, who.query(read_query(others))), tally(store, who.query(read_query(found))) if group else None
    cost((counts.looked_at + (groups.looked_at if groups else 0)) * LOOKED_SECONDS)
    return {
        # What stays when another status is chosen.
        "others": others,
        # Each filter that can be taken away, and what is left then.
        "chosen": [(name, value, {k: v for k, v in found.items() if k != name}) for name, value in others.items() if name != "tenant_id"],
        "counts": counts,
        "group": group,
        "groups": groups,
        "box": write_box(found),
        "views": [(view, is_open(view, dict(found))) for view in saved()],
        "error": "",
        "SINCE": SINCE,
        "GROUPS": GROUPS,
    }


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    record = handle_of(job_id).record()
    happened, sent, needed = _events(record), deliveries(record), needs(record)
    return page(
        "job",
        job=record,
        steps=steps(record),
        took=took(record),
        result=result_view(record),
        lines=newest_lines(record),
        title=title_of(record),
        timeline=timeline(record, happened, sent, needed),
        told=happenings(record, happened, who_cancelled(record, happened)),
        needs=needed,
        batch_title=_batch_title(record),
        curl=as_curl(record, web().settings.base_url, with_key=caller().key_id is not None),
        deliveries=sent,
        # Where the film begins, in seconds: a link to a line of the transcript works without a script.
        at=request.args.get("t", type=int),
        token=form_token(),
        **_stream(record),
    )


@blueprint.post("/deliveries/<delivery_id>/redeliver")
def redeliver(delivery_id: str) -> Response:
    sent = web().cell.webhooks.ledger.redeliver(own_delivery(delivery_id).delivery_id)
    if request.form.get("back") == "delivery":
        return see_other("ui.delivery", delivery_id=delivery_id)
    return see_other("ui.job", job_id=sent.subject, _anchor="deliveries")


@blueprint.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    handle_of(job_id).revoke()
    return see_other("ui.job", job_id=job_id)


@blueprint.post("/jobs/<job_id>/retry")
def retry(job_id: str) -> Response:
    old = handle_of(job_id).record()
    made, _ = submitting.retry(old, request.form.get("from_stage") or None, sent_token())
    return see_other("ui.job", job_id=made.job_id)


@blueprint.post("/jobs/<job_id>/delete")
def delete(job_id: str) -> Response:
    handle = handle_of(job_id)
    job = handle.record()
    if not job.ended:
        # The button is on ended jobs only: this one was retried meanwhile, or the form is not ours.
        raise JobNotEnded
    handle.forget(job.order)
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
    here = "now" if record.awaits else {"running": "now", "failed": "failed", "cancelled": "failed"}.get(record.status.value, "todo")
    return [{"name": name, "state": "done" if i < at else here if i == at else "todo"} for i, name in enumerate(names)]


def newest_lines(record: Job) -> list[Line]:
    """The newest lines of its log, as far as the store has it."""
    if not record.log_lines:
        return []
    return caller().own(read_one(web().cell.store, record.job_id), UnknownJob).shown()[-MOST_LINES:]


def deliveries(record: Job) -> list[Delivery]:
    """Its webhooks, oldest first."""
    who = caller()
    return [one for one in web().cell.webhooks.ledger.of_subject(record.job_id) if who.reaches(one.tenant_id, one.workspace_id)]


def _events(record: Job) -> Sequence[Event]:
    """The events of its log. Of a job that runs they are told with the whole page only: its polls are many."""
    return () if is_fragment() and not record.ended else read_all(web().cell.store, record.job_id)


def needs(record: Job) -> list[Job]:
    """The jobs that it waits or waited for, as far as they are still there and the caller's."""
    found = []
    for job_id in (record.depends_on or record.parents)[:MOST_NEEDS]:
        try:
            found.append(handle_of(job_id).record())
        except UnknownJob:
            continue
    return found


def _batch_title(record: Job) -> str | None:
    if record.batch_id is None or record.name or is_fragment():
        return None
    try:
        title = own_batch(record.batch_id).metadata.get("title")
    except UnknownBatch:
        return None
    return title if isinstance(title, str) else None


def took(record: Job) -> float | None:
    """Seconds since the job began to run, or that it ran."""
    if record.attempt_started_at is None:
        return None
    return max(0.0, (record.completed_at or time.time() * 1000) - record.attempt_started_at) / 1000
