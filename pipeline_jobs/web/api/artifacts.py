"""`GET /pipeline/artifacts/{path}?signature=...`: the files that a job published, by the signed links in its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import PurePosixPath

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import http_date, parse_range_header
from werkzeug.wsgi import wrap_file

from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.files.kept import KeptFolder
from pipeline_jobs.job import ANY_ID
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http.openapi import answer, file_answer
from pipeline_jobs.web.http.replies import page_reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.artifacts import ArtifactPath, KeptList, KeptListRequest, RangeHeaders, SignatureQuery
from pipeline_jobs.web.state import web

#: What a browser may show. Anything else (HTML, SVG, ...) is a download of unknown bytes: an artifact must never run as a page of ours.
_SAFE_TYPES = {
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".srt": "text/plain; charset=utf-8",
    ".ass": "text/plain; charset=utf-8",
    ".vtt": "text/vtt; charset=utf-8",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4s": "video/mp4",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
_UNKNOWN_TYPE = "application/octet-stream"
#: Opened as a page of its own, a file may play and show itself, and nothing else.
_POLICY = "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"

routes = Routes("artifacts", "/pipeline/artifacts", "Published files.", flag=None)


@routes.get(
    "/<path:path>",
    "Download a file",
    "One byte range is supported (`Range`, `If-Range`). 404 unless the signature is valid and the file is one that a job's record, "
    "or what is kept after it, refers to: the files of a deleted job, and those of a run that lost its lease, cannot be downloaded.",
    {
        200: file_answer("The file.", "ETag", "Accept-Ranges", "Sunset"),
        206: file_answer("The range.", "ETag", "Accept-Ranges", "Content-Range", "Sunset"),
        304: {"description": "The client already has this version."},
    },
    errors=(404, 416, 503),
)
def artifact(path: ArtifactPath, query: SignatureQuery, header: RangeHeaders) -> Response:
    name = path.path
    if not is_plain(name) or not web().cell.artifacts.verify(name, query.signature):
        raise _unknown()
    until = _kept_until(name)
    response = send_file(name, header.range)
    if until is not None:
        response.headers["Sunset"] = http_date(until / 1000)
    return response


@routes.get(
    "",
    "List kept files",
    "The files of jobs whose records were removed (those of the others are at their jobs), newest job first. With a workspace a page "
    "may hold fewer than `limit` entries and still have a next page. `DELETE /pipeline/jobs/{id}` removes them before their time.",
    {200: answer("One page.", KeptList)},
)
def list_(query: KeptListRequest) -> Response:
    who = caller()
    _, workspace_id = who.narrowed(query.tenant_id, query.workspace_id)
    page = web().cell.kept.page(who.one_tenant(query.tenant_id), workspace_id, cursor=query.cursor, limit=query.limit)
    return page_reply("artifacts", page.items, KeptFolder.to_dict, next_cursor=page.next_cursor)


def _unknown() -> Refused:
    # One answer for all causes: a stranger learns nothing about which jobs and files there are.
    return Refused(404, "unknown_artifact", "there is no such file, its job was deleted, or the signature of the link is not valid")


def is_plain(path: str) -> bool:
    """`{tenant}/{workspace}/{job}/{fence}/{name}`, and nothing that walks elsewhere."""
    parts = path.split("/")
    odd = "\\" in path or any(ord(character) < 32 or ord(character) == 127 for character in path)
    return len(parts) >= 5 and len(path) <= 1024 and not odd and not any(part in {"", ".", ".."} for part in parts)


def _kept_until(path: str) -> int | None:
    """When the file may be removed (Unix ms); None: nobody says, because its run was one in process or of the release before.

    :raises Refused: neither a job's record nor what is kept after it says that its winning run published under this prefix.
    """
    folders = path.split("/")[:4]
    job_id, fence = folders[2:4]
    if fence == "0":
        return None
    if ANY_ID.fullmatch(job_id):
        for folder, until in _folders(web().cell, job_id, folders[0]):
            if folder == "/".join(folders):
                return until
    raise _unknown()


def _folders(cell: Cell, job_id: str, tenant_id: str) -> Iterator[tuple[str | None, int | None]]:
    """Those of the job with this id, and of the tenant's one before it whose files are kept; each with its end."""
    with suppress(UnknownJob):
        job = cell.results(job_id).record()
        yield job.artifacts, job.artifacts_expire_at
    with suppress(UnknownJob):
        kept = cell.kept.get(job_id, tenant_id)
        yield kept.path, kept.expires_at


def send_file(path: str, wanted: str | None) -> Response:
    """A file that somebody may have, as browsers may show it. :param wanted: the `Range` header. :raises Refused: 404, 416."""
    store = web().cell.artifacts
    try:
        size = store.stat(path).size
        file = store.open(path)
    except FileNotFoundError:
        raise _unknown() from None
    kind = _SAFE_TYPES.get(PurePosixPath(path).suffix.lower(), _UNKNOWN_TYPE)
    response = Response(wrap_file(request.environ, file, 64 * 1024), content_type=kind, direct_passthrough=True)
    response.call_on_close(file.close)
    headers = response.headers
    headers["Content-Length"] = str(size)
    # A run's files are written once, so name and size tell the version.
    response.set_etag(blake2b(f"{size}:{path}".encode(), digest_size=12).hexdigest())
    # Asked again each time: the file goes with its job.
    headers["Cache-Control"] = "private, no-cache"
    headers["Content-Security-Policy"] = _POLICY
    if kind == _UNKNOWN_TYPE:
        headers["Content-Disposition"] = "attachment"
    try:
        response.make_conditional(request, accept_ranges=_is_one_range(wanted), complete_length=size)
    except RequestedRangeNotSatisfiable:
        response.close()
        raise
    return response


def _is_one_range(wanted: str | None) -> bool:
    """Whether to look at `Range` at all. What is no single range of bytes is passed over (RFC 9110, section 14.2)."""
    if wanted is None:
        return True
    found = parse_range_header(wanted)
    return found is not None and found.units == "bytes" and len(found.ranges) == 1
