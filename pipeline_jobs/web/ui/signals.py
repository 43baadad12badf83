"""A job that waits for a person: the answer given on its page, and the page that a link in a mail opens."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.jobs import signals
from pipeline_jobs.jobs.signals import AlreadySignalled, Link
from pipeline_jobs.tenants import Whose
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.jobs import known_id
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other
from pipeline_jobs.web.ui.story import title_of

#: Longest note, in characters.
MAX_NOTE = 2_000
_ANSWERS = {"yes": True, "no": False}


@blueprint.post("/jobs/<job_id>/signals/<signal>")
def signal(job_id: str, signal: str) -> Response:
    who = caller()
    signals.send(web().cell.client, known_id(job_id), signal, _answer(), who.actor, who.whose)
    return see_other("ui.job", job_id=job_id)


def _answer() -> dict[str, Any]:
    """What the page's form sends."""
    approved = _ANSWERS.get(request.form.get("approved", ""))
    if approved is None:
        raise InvalidInput("approved must be yes or no", field="approved")
    return {"approved": approved, "note": request.form.get("note", "")[:MAX_NOTE]}


@blueprint.get("/signal")
def signal_link() -> Response:
    """It changes nothing: programs that look through mails follow links."""
    token = request.args.get("link", "")
    return _page_of(web().cell.signal_links.read(token), token)


@blueprint.post("/signal")
def send_by_link() -> Response:
    cell, token = web().cell, request.args.get("link", "")
    link = cell.signal_links.read(token)
    whose = Whose(link.tenant_id, link.workspace_id)
    try:
        signals.send(cell.client, link.job_id, link.name, link.payload, "link", whose, order=link.order)
    except AlreadySignalled:
        # The error's own text says who sent the other answer.
        return _page_of(link, token, status=409)
    return see_other("ui.signal_link", link=token)


def _page_of(link: Link, token: str, status: int = 200) -> Response:
    """Who holds a link learns what was answered only if that is what the link itself sends."""
    job = signals.job_of(web().cell.client, link)
    first = job.signals.get(link.name)
    own = first is not None and signals.is_its_word(link, first)
    return page("signal", status, link=link, token=token, job=job, title=title_of(job), first=first, own=own)
