"""`/pipeline/uploads`: upload media, with tus 1.0 or in one request, for jobs that name the upload's `url`."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, request
from flask_openapi.models.request_body import RequestBody

from pipeline_jobs.exceptions import ChecksumMismatch, UnknownUpload
from pipeline_jobs.files.upload import UPLOAD_ID, Checksum, Interrupted, Upload
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http import tus
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import page_reply, reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas import uploads as bodies
from pipeline_jobs.web.server.giving_way import give_way
from pipeline_jobs.web.server.slow import WATCH
from pipeline_jobs.web.state import web

_PATH = "/pipeline/uploads"
_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)

routes = Routes("uploads", _PATH, "Uploads of media for jobs (tus 1.0).")

_CONTENT = {tus.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_BYTES = RequestBody.model_validate({"description": "The bytes.", "content": _CONTENT, "required": False})


@routes.blueprint.after_request
def speak_tus(response: Response) -> Response:
    headers = response.headers
    headers["Tus-Resumable"] = tus.VERSION
    if request.method == "OPTIONS":
        headers.update(tus.capabilities(web().settings.upload_max_bytes))
    return response


@routes.post(
    "",
    "Start an upload",
    "With tus (`Upload-Length`, then PATCH), or as a whole in this request: `curl --data-binary @talk.mp4 -H 'Content-Type: "
    f"{tus.CONTENT_TYPE}'`. If a request is interrupted, the bytes that arrived are kept: get the offset and continue. The upload's full "
    "length counts towards the tenant's `max_storage_bytes`.",
    {201: answer("The upload.", bodies.Upload, "Location", "Upload-Offset", "Upload-Length", "Upload-Expires", "Tus-Resumable")},
    errors=(409, 412, 413, 415, 423, 429, tus.CHECKSUM_MISMATCH, 507),
    request_body=_BYTES,
)
def create(query: bodies.UploadScope, header: bodies.BeginHeaders) -> Response:
    tus.check_version(header.tus_resumable)
    metadata, checksum = tus.metadata(header.upload_metadata), tus.checksum(header.upload_checksum)
    body = _Body(request.environ)
    if header.upload_length is None and not body.length:
        raise Refused(400, "malformed_header", "Upload-Length: required, unless the whole upload is in this request", field="Upload-Length")
    length = tus.number("Upload-Length", header.upload_length) if header.upload_length is not None else body.length or 0
    if body.comes:
        body.check_type()
    tenant_id, workspace_id = caller().place(
        query.tenant_id or DEFAULT_TENANT, query.workspace_id or DEFAULT_WORKSPACE, query.model_fields_set
    )
    if body.length is not None and body.length > length:
        raise _too_much(length)
    upload = web().cell.uploads.create(tenant_id, workspace_id, length, metadata)
    if body.comes:
        upload = _append(upload, 0, body, checksum)
    return reply(upload.to_dict(), 201, {**tus.headers(upload), "Location": f"{_PATH}/{upload.upload_id}"})


@routes.get(
    "",
    "List uploads",
    "The uploads of a tenant, newest first, including incomplete ones. With a workspace (the parameter's, or the key's) a "
    "page may hold fewer than `limit` uploads and still have a next page.",
    {200: answer("One page.", bodies.UploadList, "Tus-Resumable")},
)
def list_(query: bodies.UploadListRequest) -> Response:
    _, workspace_id = caller().narrowed(query.tenant_id, query.workspace_id)
    tenant_id = caller().one_tenant(query.tenant_id)
    page = web().cell.uploads.page(tenant_id, workspace_id, cursor=query.cursor, limit=query.limit)
    return page_reply("uploads", page.items, Upload.to_dict, next_cursor=page.next_cursor)


@routes.get(
    "/<upload_id>",
    "Get an upload",
    "HEAD returns the same headers: `Upload-Offset` is where to continue.",
    {200: answer("The upload.", bodies.Upload, "Upload-Offset", "Upload-Length", "Upload-Expires", "Tus-Resumable")},
    errors=(412,),
)
def get(path: bodies.UploadPath, header: bodies.TusHeaders) -> Response:
    tus.check_version(header.tus_resumable)
    upload = own_upload(path.upload_id)
    return reply(upload.to_dict(), 200, tus.headers(upload))


@routes.patch(
    "/<upload_id>",
    "Continue an upload",
    "Appends this request's body at `Upload-Offset`. 409: the upload is at another offset, which `Upload-Offset` in the "
    "answer gives. 423: another request is writing to it. If a request is interrupted, the bytes that arrived are kept, "
    "unless it has a checksum.",
    {204: answer("All of it is stored.", None, "Upload-Offset", "Upload-Length", "Upload-Expires", "Tus-Resumable")},
    errors=(400, 409, 412, 413, 415, 422, 423, 429, tus.CHECKSUM_MISMATCH, 507),
    request_body=_BYTES,
)
def append(path: bodies.UploadPath, header: bodies.AppendHeaders) -> Response:
    tus.check_version(header.tus_resumable)
    upload = own_upload(path.upload_id)
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


@routes.delete(
    "/<upload_id>",
    "Delete an upload",
    "409 while a job that has not ended needs the upload.",
    {204: answer("It was deleted.", None, "Tus-Resumable")},
    errors=(409, 412),
)
def delete(path: bodies.UploadPath, header: bodies.TusHeaders) -> Response:
    tus.check_version(header.tus_resumable)
    web().cell.uploads.delete(own_upload(path.upload_id).upload_id)
    response = reply(None, 204)
    response.set_data(b"")
    response.headers.remove("Content-Type")
    return response


def own_upload(upload_id: str) -> Upload:
    """:raises UnknownUpload: there is none, or it is another's."""
    if not UPLOAD_ID.fullmatch(upload_id):
        raise UnknownUpload
    return caller().own(web().cell.uploads.get(upload_id), UnknownUpload)


def _append(upload: Upload, offset: int, body: _Body, checksum: Checksum | None) -> Upload:
    here = web()
    with here.waiting.required(upload.tenant_id):
        try:
            return here.cell.uploads.write(upload, offset, body.read, checksum)
        except Interrupted:
            if body.late:
                raise Refused(
                    408,
                    "too_slow",
                    "body: it arrived too slowly; the bytes that arrived are kept: get the offset and continue",
                    field="body",
                ) from None
            raise Refused(
                400,
                "incomplete_body",
                "body: it ended too early; the bytes that arrived are kept: get the offset and continue",
                field="body",
            ) from None
        except ChecksumMismatch as error:
            raise Refused(tus.CHECKSUM_MISMATCH, error.code, error.message, field="Upload-Checksum") from None


def _too_much(length: int) -> Refused:
    return Refused(413, "upload_too_large", f"body: it exceeds the upload's length of {length} bytes", field="body")


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
        give_way()
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
