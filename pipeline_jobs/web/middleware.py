"""What surrounds every answer, whoever makes it: the request's id in and out and in its log lines, and the headers that keep
browsers from misusing an answer. There are no cookies but the page's own, and no CORS headers: other origins cannot read anything.

WSGI middleware and not Flask hooks: the headers are the same each time, and werkzeug checks each one that it is given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import has_request_context, request

from pipeline_jobs.logs import bind_request_id
from pipeline_jobs.tracing.correlation import REQUEST_ID
from pipeline_jobs.web.http.request_counts import RequestCounts

#: Where a request's environment has its id.
KEY = "pipeline_jobs.request_id"
_DEPRECATED = "pipeline-jobs.deprecated"

_ALWAYS = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]
#: Of a request that used what has another name by now (RFC 9745: since when, in Unix seconds).
_DEPRECATION = ("Deprecation", "@1795737600")
#: Unless the view has its own.
_DEFAULTS = {
    "content-security-policy": ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    "cache-control": ("Cache-Control", "no-store"),
    "referrer-policy": ("Referrer-Policy", "no-referrer"),
}


def request_id() -> str:
    """The id of the request that is being answered."""
    found: str = request.environ[KEY]
    return found


def note_deprecated() -> None:
    """The request that is being answered used what has another name by now: its answer says so."""
    if has_request_context():
        request.environ[_DEPRECATED] = True


class Envelope:
    """Wraps a WSGI app."""

    def __init__(self, app: WSGIApplication, requests: RequestCounts) -> None:
        self._app, self._requests = app, requests

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = time.perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID")
        name = given if given is not None and REQUEST_ID.fullmatch(given) else os.urandom(12).hex()
        environ[KEY] = name
        bind_request_id(name)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            self._requests.answered(environ, status, time.perf_counter() - began)
            present = {key.lower() for key, _ in headers}
            missing = [_DEPRECATION] if _DEPRECATED in environ else []
            missing += [header for key, header in _DEFAULTS.items() if key not in present]
            return start_response(status, [*headers, ("X-Request-Id", name), *_ALWAYS, *missing], *more)

        return self._app(environ, start)
