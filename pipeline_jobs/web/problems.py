"""Errors as `application/problem+json` (RFC 9457): `{type, title, status, detail, instance, code, request_id}`, with `field`
and `errors` where a field is to blame."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from flask import Flask, Response, current_app, request
from pydantic_core import to_json
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestedRangeNotSatisfiable

from pipeline_jobs import exceptions
from pipeline_jobs.jobs.signals import AlreadySignalled, BadLink, SignalTooLate
from pipeline_jobs.store.rates import Rate
from pipeline_jobs.store.readable import DamagedRecord
from pipeline_jobs.web.http.rate_headers import rate_headers
from pipeline_jobs.web.http.request_counts import PROBLEM
from pipeline_jobs.web.middleware import request_id

CONTENT_TYPE = "application/problem+json"

#: Before a client asks a store again that was down, in seconds.
STORE_RETRY_SECONDS = 5

#: Before a client tries again that found the disk full, in seconds: room comes as ended jobs are purged, or from an operator.
DISK_RETRY_SECONDS = 300

#: Before a client tries again that found another writer at its upload, in seconds.
LOCKED_RETRY_SECONDS = 2

#: Where the page for people is: its mistakes are told with links.
_PAGE = "/pipeline/ui"

#: Longest name of a field that an answer repeats, in characters.
MAX_FIELD = 100

_STATUS: Mapping[type[exceptions.PipelineJobsError], int] = {
    exceptions.InvalidInput: 422,
    exceptions.UnknownJob: 404,
    exceptions.UnknownUpload: 404,
    exceptions.UploadConflict: 409,
    exceptions.UploadInUse: 409,
    exceptions.UploadLocked: 423,
    exceptions.UploadTooLarge: 413,
    exceptions.UnknownBatch: 404,
    exceptions.UnknownSchedule: 404,
    exceptions.JobNotEnded: 409,
    exceptions.ResultGone: 410,
    exceptions.JobGone: 409,
    exceptions.ScheduleGone: 409,
    exceptions.JobNotWaiting: 409,
    AlreadySignalled: 409,
    SignalTooLate: 409,
    BadLink: 404,
    exceptions.UnknownEndpoint: 404,
    exceptions.UnknownDelivery: 404,
    exceptions.EndpointDisabled: 409,
    exceptions.KeyChanged: 409,
    exceptions.KeyReused: 422,
    exceptions.QueueDisabled: 404,
    exceptions.RequestError: 400,
    exceptions.StoreUnavailable: 503,
    exceptions.StoreFull: 503,
    exceptions.TryLater: 429,
    exceptions.IdTaken: 503,
    DamagedRecord: 500,
    exceptions.DiskFull: 507,
}

_CODES: Mapping[int, str] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "body_too_large",
    415: "unsupported_media_type",
    414: "request_line_too_long",
    416: "range_not_satisfiable",
    426: "upgrade_required",
    417: "expectation_failed",
    429: "busy",
    431: "headers_too_large",
}

#: Of statuses that HTTP does not know.
_PHRASES: Mapping[int, str] = {460: "Checksum Mismatch"}

#: Refused by the server itself, before any route.
_BEFORE: Mapping[int, str] = {
    408: "the headers or the body did not arrive within PIPELINE_REQUEST_SECONDS",
    414: "the request line (method, path and query) is longer than 8190 bytes",
    431: "the headers are too large: at most 100 headers of 8190 bytes each are permitted",
    417: "Expect: only 100-continue is supported",
    429: "too many connections or requests of yours are open at once",
}

_RETRY = "Retry-After: 1\r\n"

logger = structlog.get_logger("pipeline_jobs.web")


class Refused(Exception):
    """An answer of 4xx or 5xx that only HTTP knows (a media type, an unknown parameter). Raise it in a view."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers
        self.members = {"field": field, **members} if field is not None else members


def problem(status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> Response:
    """The answer for an error.

    :param members: further members of the body (RFC 9457, section 3.2).
    """
    request.environ[PROBLEM] = code
    body = {
        "type": f"urn:pipeline-jobs:problem:{code}",
        "title": _PHRASES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": quote(request.path),
        "code": code,
        "request_id": request_id(),
        **members,
    }
    return Response(to_json(body), status, headers, content_type=CONTENT_TYPE)


def bare_code(status: int) -> str:
    """The code of a problem that is known by its status alone."""
    return _CODES.get(status, "bad_request")


def bare_problem(status: int, reason: str) -> bytes:
    """A whole answer, for requests that are refused before they are one: no path, and an id of our own."""
    code = bare_code(status)
    name = os.urandom(12).hex()
    body = to_json(
        {
            "type": f"urn:pipeline-jobs:problem:{code}",
            "title": reason,
            "status": status,
            "detail": _BEFORE.get(status, "the request line, a header or the transfer coding is malformed"),
            "instance": "",
            "code": code,
            "request_id": name,
        }
    )
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-Id: {name}\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n{_RETRY if status == 429 else ''}\r\n"
    )
    return head.encode("ascii") + body


def install(app: Flask) -> None:
    app.register_error_handler(Exception, answer)


def answer(error: Exception) -> Response:
    """The problem for any exception that a view raised."""
    match error:
        case Refused():
            return _refused(error)
        case exceptions.PipelineJobsError():
            return _known(error)
        case HTTPException():
            return _http(error)
    return _unexpected(error)


def _refused(error: Refused) -> Response:
    return problem(error.status, error.code, error.detail, headers=error.headers, **error.members)


def _known(error: exceptions.PipelineJobsError) -> Response:
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), None)
    if status is None:
        return _unexpected(error)
    members: dict[str, Any] = {}
    if isinstance(error, exceptions.InvalidInput) and error.field is not None:
        members["field"] = error.field[:MAX_FIELD]
        members["errors"] = [{"field": members["field"], "message": error.message, "code": error.code}]
    if isinstance(error, exceptions.InvalidItems):
        members["errors"] = list(error.errors)
    headers = None
    if isinstance(error, exceptions.TryLater):
        headers = {"Retry-After": str(error.retry_after)}
        if isinstance(error, exceptions.RateLimited):
            headers |= rate_headers([Rate(error.whose, error.limit, 0, error.retry_after)])
    elif isinstance(error, exceptions.UploadConflict):
        members["field"], headers = "Upload-Offset", {"Upload-Offset": str(error.offset)}
    elif isinstance(error, exceptions.UploadLocked):
        headers = {"Retry-After": str(LOCKED_RETRY_SECONDS)}
    elif isinstance(error, exceptions.UploadTooLarge):
        members["field"] = "Upload-Length" if "Upload-Length" in error.message else "body"
    elif isinstance(error, exceptions.DiskFull):
        headers = {"Retry-After": str(DISK_RETRY_SECONDS)}
    elif status == 503:
        headers = {"Retry-After": str(STORE_RETRY_SECONDS)}
    return problem(status, error.code, error.message, headers=headers, **members)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status >= 500:
        return _unexpected(error)
    kept = {name: value for name, value in error.get_headers() if name in {"Allow", "Content-Range"}}
    if isinstance(error, RequestedRangeNotSatisfiable) and error.length is not None:
        kept["Content-Range"] = f"bytes */{error.length}"
    return problem(status, _CODES.get(status, "bad_request"), _detail(status, error), headers=kept)


def _detail(status: int, error: HTTPException) -> str:
    if status == 404:
        return f"there is nothing at {request.path[:200]}{_hint()}"
    if isinstance(error, MethodNotAllowed) and (taken := set(error.valid_methods or ()) - {"HEAD", "OPTIONS"}):
        return f"this address takes only {', '.join(sorted(taken))}"
    if status == 413:
        return "the body is larger than PIPELINE_MAX_BODY_BYTES allows"
    return error.description or HTTPStatus(status).phrase


def _hint() -> str:
    """What a program may have meant that mistyped its path. People get a page with links."""
    if request.path.startswith(_PAGE):
        return ""
    adapter = current_app.create_url_adapter(request)
    if adapter and adapter.test(request.path.rstrip("/")):
        return "; it is there without the slash at its end"
    return "; /docs lists what there is"


def _unexpected(error: Exception) -> Response:
    logger.error("request_failed", method=request.method, path=request.path, exc_info=error)
    return problem(500, "internal_error", "an error occurred in the server; its log has the details under this request_id")
