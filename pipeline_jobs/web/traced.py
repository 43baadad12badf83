"""The request's place in a trace, as its `traceparent` says (W3C Trace Context): what its jobs take along, and the parent of its span."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from pipeline_jobs.tracing import correlation, spans
from pipeline_jobs.tracing.correlation import Correlation
from pipeline_jobs.web.access_line import rule_of
from pipeline_jobs.web.middleware import KEY


class Traced:
    """Wraps a WSGI app, inside of the `Envelope`."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        given = environ.get("HTTP_TRACEPARENT")
        correlation.bind(Correlation.of({"request_id": environ[KEY], "traceparent": given}) if given else Correlation(environ[KEY]))
        return self._spanned(environ, start_response) if spans.on() else self._app(environ, start_response)

    def _spanned(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """With a span until the answer begins to be sent."""
        method = environ["REQUEST_METHOD"]
        with spans.span(method, "server", http__request__method=method, request_id=environ[KEY]) as span:

            def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                span.set(http__response__status_code=int(status[:3]))
                if status[0] == "5":
                    span.fail(status[:3])
                return start_response(status, headers, *more)

            answer = self._app(environ, start)
            if rule := rule_of(environ):
                span.name(f"{method} {rule}")
                span.set(http__route=rule)
            return answer
