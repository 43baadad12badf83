"""A job's film and transcript for somebody without a key: a signed link with an end. It shows no parameters, no log, no other file."""

from __future__ import annotations

import time
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from flask import Response, request, url_for

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import JobNotEnded, UnknownJob
from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.access.caller import ANYBODY, caller
from pipeline_jobs.web.access.share_links import Share, read_share, write_share
from pipeline_jobs.web.api.artifacts import is_plain, send_file
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page
from pipeline_jobs.web.ui.results import Link, ResultView, result_view
from pipeline_jobs.web.ui.story import title_of

#: How long a link may be good, in seconds, by the word of the form.
ENDS = {"1 hour": 3600, "1 day": 86_400, "7 days": 604_800, "30 days": 2_592_000}
#: Longest beginning of a summary in a preview, in characters.
_PREVIEW = 200
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@blueprint.post("/jobs/<job_id>/share")
def share(job_id: str) -> Response:
    record, who = handle_of(job_id).record(), caller()
    if record.status is not JobStatus.COMPLETED:
        raise JobNotEnded
    ends = request.form.get("ends", "")
    if ends not in ENDS:
        raise Refused(422, "invalid_input", f"ends must be one of: {', '.join(ENDS)}", field="ends")
    until = int(time.time()) + ENDS[ends]
    token = write_share(Share(who.key_id or "", record.job_id, record.order, until), web().cell.secret())
    detail = {"until": until, "tenant_id": record.tenant_id}
    audit.record(web().cell.store, who.actor, "job.shared", record.job_id, detail, tenant_id=record.tenant_id)
    return page("share", job=record, title=title_of(record), link=_absolute(url_for("ui.shared", token=token)), until=until * 1000)


@blueprint.get("/shared")
def shared() -> Response:
    record, token = _shared()
    result = result_view(record)
    found = _narrowed(record, result, token) if result else None
    picture = _picture(record, result) if result else None
    response = page(
        "shared",
        job=record,
        title=title_of(record),
        result=found,
        token=token,
        at=request.args.get("t", type=int),
        here=_absolute(url_for("ui.shared", token=token)),
        picture=_absolute(_file(record, picture, token)) if picture else None,
        preview=((result.summary or result.transcript or "") if result else "")[:_PREVIEW],
    )
    # Who has the link has it from somebody, not from a search.
    response.headers["X-Robots-Tag"] = "noindex"
    return response


@blueprint.get("/shared/<path:filename>")
def shared_file(filename: str) -> Response:
    """What the page of the link shows, through the link: so it ends with it, which a signed address of the file would not."""
    record, _ = _shared()
    result, path = result_view(record), f"{record.artifacts}/{filename}"
    # The folder has more than is shared: the whole result, for one.
    shown = (result.media, result.captions, _picture(record, result)) if result else ()
    if filename not in {_name(record, one) for one in shown if one and _within(record, one)} or not is_plain(path):
        raise _unknown()
    return send_file(path, request.headers.get("Range"))


def _shared() -> tuple[Job, str]:
    """The job of the link, and the link's token.

    :raises Refused: 404, one answer for all causes: it is not ours, its time is over, its key was revoked, its job is gone.
    """
    here, token = web(), request.args.get("token", "")
    found = read_share(token, here.cell.secret())
    if found is None or not here.access.still_good(replace(ANYBODY, key_id=found.key_id or None)):
        raise _unknown()
    try:
        record = here.cell.results(found.job_id).record()
    except UnknownJob:
        raise _unknown() from None
    if record.order != found.order:
        raise _unknown()
    return record, token


def _unknown() -> Refused:
    return Refused(404, "unknown_share", "there is no such link, or its time is over: ask whoever gave it to you for a new one")


def _narrowed(record: Job, result: ResultView, token: str) -> ResultView:
    """What a link shows of a result; its film by the link itself."""
    played = (result.media, result.captions)
    media, captions = ((replace(one, href=_file(record, one, token)) if one and _within(record, one) else None) for one in played)
    return replace(
        result,
        data={"language": result.data.get("language")},
        links=[],
        facts={},
        warnings=[],
        media=media,
        captions=captions,
        storyboard=None,
        poster=None,
    )


def _picture(record: Job, result: ResultView) -> Link | None:
    return next((one for one in result.links if _within(record, one) and one.file.lower().endswith(_PICTURES)), None)


def _within(record: Job, link: Link) -> bool:
    """The file is one that this job published."""
    return bool(record.artifacts) and f"/{record.artifacts}/" in unquote(urlsplit(link.href).path) and link.href.startswith("/")


def _name(record: Job, link: Link) -> str:
    return unquote(urlsplit(link.href).path).partition(f"/{record.artifacts}/")[2]


def _file(record: Job, link: Link, token: str) -> str:
    return url_for("ui.shared_file", filename=_name(record, link), token=token)


def _absolute(path: str) -> str:
    return (web().settings.public_url or request.host_url.rstrip("/")) + path
