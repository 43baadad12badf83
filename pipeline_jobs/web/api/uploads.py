"""`/pipeline/uploads`: send media of your own, by tus 1.0 or in one request; a job takes the upload's `url`."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.request_body import RequestBody

from pipeline_jobs.exceptions import ChecksumMismatch, UnknownUpload
from pipeline_jobs.files.uploads import UPLOAD_ID, Checksum, Interrupted
from pipeline_jobs.files.uploads import Upload as Record
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http import tus
from pipeline_jobs.web.http.openapi import answer, responses
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.validation import validated
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.uploads import (
    AppendHeaders,
    BeginHeaders,
    TusHeaders,
    Upload,
    UploadList,
    UploadListRequest,
    UploadPath,
    UploadScope,
)
from pipeline_jobs.web.server.slow import WATCH
from pipeline_jobs.web.state import web

_PATH = "/pipeline/uploads"
#: Before a client tries again that found every place for long requests taken, or another writer at work, in seconds.
BUSY_RETRY_SECONDS = 5
_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)

blueprint = APIBlueprint(
    "uploads", __name__, url_prefix=_PATH, abp_tags=[{"name": "uploads", "description": "Media of your own, for jobs (tus 1.0)."}]
)
blueprint.before_request(require_queue)

_CONTENT = {tus.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_BYTES = RequestBody.model_validate({"description": "The bytes.", "content": _CONTENT, "required": False})


@blueprint.after_request
def speak_tus(response: Response) -> Response:
    headers = response.headers
    headers["Tus-Resumable"] = tus.VERSION
    if request.method == "OPTIONS":
        headers.update(tus.capabilities(web().parts.uploads.max_bytes))
    return response


@blueprint.post(
    "",
    summary="Begin an upload",
    description="By tus (`Upload-Length`, then PATCH), or whole in this one request: `curl --data-binary @talk.mp4 -H 'Content-Type: "
    f"{tus.CONTENT_TYPE}'`. A request that breaks off leaves what came; ask for the offset and go on. The upload's whole length counts "
    "for the tenant's `max_storage_bytes`.",
    request_body=_BYTES,
    responses=responses(
        {201: answer("The upload.", Upload, "Location", "Upload-Offset", "Upload-Length", "Upload-Expires", "Tus-Resumable")},
        400, 404, 409, 412, 413, 415, 422, 423, 429, tus.CHECKSUM_MISMATCH, 503, 507,
    ),
)  # fmt: skip
@validated
def create(query: UploadScope, header: BeginHeaders) -> Response:
    tus.check_version(header.tus_resumable)
    metadata, checksum = tus.metadata(header.upload_metadata), tus.checksum(header.upload_checksum)
    body = _Body(request.environ)
    if header.upload_length is None and not body.length:
        raise Refused(
            400, "malformed_header", "Upload-Length: is required, unless the whole upload is in this request", field="Upload-Length"
        )
    length = tus.number("Upload-Length", header.upload_length) if header.upload_length is not None else body.length or 0
    if body.comes:
        body.check_type()
    tenant_id, workspace_id = caller().place(
        query.tenant_id or DEFAULT_TENANT, query.workspace_id or DEFAULT_WORKSPACE, query.model_fields_set
    )
    if body.length is not None and body.length > length:
        raise _too_much(length)
    upload = web().parts.uploads.create(tenant_id, workspace_id, length, metadata)
    if body.comes:
        upload = _append(upload, 0, body, checksum)
    return reply(upload.to_dict(), 201, {**tus.headers(upload), "Location": f"{_PATH}/{upload.upload_id}"})


@blueprint.get(
    "",
    summary="List uploads",
    description="Of a tenant, newest first: those that are not complete too. With one workspace (a parameter, or the key's) a page may "
    "hold fewer than `limit` and still have a next one.",
    responses=responses({200: answer("One page.", UploadList, "Tus-Resumable")}, 400, 404, 422, 503),
)
@validated
def list_(query: UploadListRequest) -> Response:
    tenant_id, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    if tenant_id is None:
        raise Refused(422, "invalid_input", "tenant_id: required with a key of all tenants", field="tenant_id")
    page = web().parts.uploads.page(tenant_id, workspace_id, cursor=query.cursor, limit=query.limit)
    return page_reply("uploads", page.items, Record.to_dict, next_cursor=page.next_cursor)


@blueprint.get(
    "/<upload_id>",
    summary="See an upload",
    description="HEAD gives the same headers: `Upload-Offset` is where to go on.",
    responses=responses(
        {200: answer("The upload.", Upload, "Upload-Offset", "Upload-Length", "Upload-Expires", "Tus-Resumable")}, 404, 412, 503
    ),
)
@validated
def get(path: UploadPath, header: TusHeaders) -> Response:
    tus.check_version(header.tus_resumable)
    upload = _own(path.upload_id)
    return reply(upload.to_dict(), 200, tus.headers(upload))


@blueprint.patch(
    "/<upload_id>",
    summary="Go on with an upload",
    description="Append this request's body at `Upload-Offset`. 409: the upload is elsewhere (the answer's `Upload-Offset` says where). "
    "423: another request writes it now. What came before a request broke off is kept, unless it has a checksum.",
    request_body=_BYTES,
    responses=responses(
        {204: answer("All of it is stored.", None, "Upload-Offset", "Upload-Length", "Upload-Expires", "Tus-Resumable")},
        400, 404, 409, 412, 413, 415, 422, 423, tus.CHECKSUM_MISMATCH, 503, 507,
    ),
)  # fmt: skip
@validated
def append(path: UploadPath, header: AppendHeaders) -> Response:
    tus.check_version(header.tus_resumable)
    upload = _own(path.upload_id)
    body = _Body(request.environ)
    body.check_type()
    offset, checksum = tus.number("Upload-Offset", header.upload_offset), tus.checksum(header.upload_checksum)
    if offset == upload.offset and body.length is not None and offset + body.length > upload.length:
        raise _too_much(upload.length)
    upload = _append(upload, offset, body, checksum)
    response = reply(None, 204, tus.headers(upload))
    response.set_data(b"")
    response.headers.remove("Content-Type")
    return response


@blueprint.delete(
    "/<upload_id>",
    summary="Remove an upload",
    description="409 while a job that has not ended needs it.",
    responses=responses({204: answer("It is gone.", None, "Tus-Resumable")}, 404, 409, 412, 503),
)
@validated
def delete(path: UploadPath, header: TusHeaders) -> Response:
    tus.check_version(header.tus_resumable)
    web().parts.uploads.delete(_own(path.upload_id).upload_id)
    response = reply(None, 204)
    response.set_data(b"")
    response.headers.remove("Content-Type")
    return response


def _own(upload_id: str) -> Record:
    """:raises UnknownUpload: there is none, or it is another's."""
    if not UPLOAD_ID.fullmatch(upload_id):
        raise UnknownUpload
    upload = web().parts.uploads.get(upload_id)
    if not caller().sees_of(upload.tenant_id, upload.workspace_id):
        raise UnknownUpload
    return upload


def _append(upload: Record, offset: int, body: _Body, checksum: Checksum | None) -> Record:
    here = web()
    with here.waiting.place() as admitted:
        if not admitted:
            raise Refused(503, "busy", "too many long requests are being served", headers={"Retry-After": str(BUSY_RETRY_SECONDS)})
        try:
            return here.parts.uploads.write(upload, offset, body.read, checksum)
        except Interrupted:
            if body.late:
                raise Refused(
                    408, "too_slow", "body: it came too slowly; what came is kept: ask for the offset and go on", field="body"
                ) from None
            raise Refused(
                400, "incomplete_body", "body: it ended too early; what came is kept: ask for the offset and go on", field="body"
            ) from None
        except ChecksumMismatch as error:
            raise Refused(tus.CHECKSUM_MISMATCH, error.code, error.message, field="Upload-Checksum") from None


def _too_much(length: int) -> Refused:
    return Refused(413, "upload_too_large", f"body: it goes beyond the upload's length of {length} bytes", field="body")


class _Body:
    """The body of a request as it comes: the limit for other bodies (PIPELINE_MAX_BODY_BYTES) is not for these."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self._input = environ["wsgi.input"]
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        given = environ.get("CONTENT_LENGTH") or ""
        #: Bytes that were announced; None: it ends when it ends.
        self.length = None if chunked else int(given) if _LENGTH.fullmatch(given) else 0
        self._left = self.length
        #: There is one.
        self.comes = chunked or bool(self.length)
        #: It came too slowly.
        self.late = False

    def check_type(self) -> None:
        """:raises Refused: 415"""
        kind = self._environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if kind != tus.CONTENT_TYPE or self._environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
            raise Refused(415, "unsupported_media_type", f"the body must be Content-Type: {tus.CONTENT_TYPE}, without a Content-Encoding")

    def read(self, size: int) -> bytes:
        """At most `size` bytes; `b""` at the end.

        :raises Interrupted: the sender went away, or is too slow.
        """
        wanted = size if self._left is None else min(size, self._left)
        if not wanted:
            return b""
        with WATCH.limit(self._environ, web().settings.request_seconds) as limit:
            try:
                data: bytes = self._input.read(wanted)
            except Exception:
                # The other end went away, or sent malformed chunks: each server has errors of its own.
                self.late = limit.over
                raise Interrupted from None
        if self._left is None:
            if not data and limit.over:
                self.late = True
                raise Interrupted
            return data
        self._left -= len(data)
        if not data:
            self.late = limit.over
            raise Interrupted
        return data
