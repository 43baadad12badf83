"""`create_app(cell)`: the Flask app of the HTTP face. Nothing is asked of the store before the first request."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

from flask import Flask, Request, request
from flask.sessions import NullSession, SessionInterface
from flask_openapi.models.info import Info
from flask_openapi.models.license import License
from flask_openapi.models.server import Server
from flask_openapi.openapi import OpenAPI
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import Map, MapAdapter
from werkzeug.sansio.utils import get_host

from pipeline_jobs import __version__
from pipeline_jobs.cell import Cell
from pipeline_jobs.files.upload import TURNS
from pipeline_jobs.operation.health import Acceptance
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.operation.watch import Watch
from pipeline_jobs.web import access_line, problems, site, ui
from pipeline_jobs.web.access import auth, ids, origin
from pipeline_jobs.web.api import (
    artifacts,
    audit,
    batches,
    bulk,
    cancel,
    deliveries,
    docs,
    events,
    health,
    history,
    job_logs,
    jobs,
    keys,
    metrics,
    pipeline_limits,
    pipelines,
    retry,
    run,
    scaling,
    schedules,
    signals,
    sockets,
    tenants,
    transcripts,
    uploads,
    webhook_secrets,
    webhooks,
    workflows,
)
from pipeline_jobs.web.asked import asked
from pipeline_jobs.web.http import openapi
from pipeline_jobs.web.http.places import Places
from pipeline_jobs.web.http.request_counts import RequestCounts
from pipeline_jobs.web.http.waiting import WaitingRoom
from pipeline_jobs.web.middleware import Envelope
from pipeline_jobs.web.processes import Processes
from pipeline_jobs.web.schemas.problem import Problem
from pipeline_jobs.web.server.giving_way import give_way
from pipeline_jobs.web.server.slow import rests
from pipeline_jobs.web.state import EXTENSION, Web
from pipeline_jobs.web.traced import Traced

_DESCRIPTION = """Multi-tenant jobs for long media and content pipelines.

Errors are `application/problem+json` documents (RFC 9457); programs should check `code`. Times are RFC 3339 in UTC.
`X-Request-Id` is taken from the request or generated, and returned in the answer.
Send an API key as `Authorization: Bearer pjk_...`. Until the first one is created, none is required, and only this machine is served."""


class _NoSessions(SessionInterface):
    """Flask's own makes an empty one for each request."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none


class Api(OpenAPI):
    """Flask, less what costs each request time and is not needed here: nothing is async, and the names of hosts are remembered."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    #: There are none: the page's are cookies of its own (`access/sessions.py`).
    session_interface = _NoSessions()

    def preprocess_request(self) -> Any:
        """As Flask's, which looks up each time what hooks there are for the route: 4 us a request, with `process_response`."""
        for hook in self._hooks_of(asked())[0]:
            if (answer := hook()) is not None:
                return answer
        return None

    def process_response(self, response: Any) -> Any:
        """As Flask's: for nearly all routes there is nothing to be done. Nobody here uses `after_this_request`."""
        return super().process_response(response) if self._hooks_of(asked())[1] else response

    @cached_property
    def _hooks(self) -> dict[str | None, tuple[list[Callable[[], Any]], bool]]:
        return {}

    def _hooks_of(self, request: Request) -> tuple[list[Callable[[], Any]], bool]:
        """What Flask calls before a route's view, and whether it calls anything after it: known once the first request has come."""
        found = self._hooks.get(request.endpoint)
        if found is None:
            names = (None, *reversed(request.blueprints))
            before = [hook for name in names for hook in self.before_request_funcs.get(name, ())]
            found = self._hooks[request.endpoint] = before, any(self.after_request_funcs.get(name) for name in names)
        return found

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """As Flask's, which checks and encodes the name of the host twice for each request."""
        if request is None or "HTTP_HOST" not in request.environ or "HTTP_UPGRADE" in request.environ:
            return super().create_url_adapter(request)
        environ, scheme = request.environ, request.environ["wsgi.url_scheme"]
        host = _server_name(scheme, environ["HTTP_HOST"])
        root, path, query = (_decoded(environ.get(name, "")) for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"))
        return MapAdapter(self.url_map, host, root, "", scheme, path, environ["REQUEST_METHOD"], query)


@lru_cache(maxsize=256)
def _server_name(scheme: str, host: str) -> str:
    """What werkzeug makes of a `Host` header. :raises BadHost: it is no name."""
    return Map().bind(get_host(scheme, host).lower()).server_name


def _decoded(text: str) -> str:
    """As WSGI has texts (PEP 3333)."""
    return text if text.isascii() else text.encode("latin1").decode(errors="replace")


def create_app(cell: Cell) -> Flask:
    """The WSGI app: every endpoint of `docs/api.md`."""
    settings = cell.settings
    app = Api(
        __name__,
        info=Info(title="pipeline-jobs", version=__version__, description=_DESCRIPTION, license=License(name="Apache-2.0")),
        # Where the document was read, unless the operator says where clients find it.
        servers=[Server(url=settings.public_url or "/")],
        validation_error_model=Problem,
        # Each operation documents its 500 itself, so that flask-openapi adds no answer of its own shape.
        validation_error_status=500,
        doc_ui=False,
        static_folder=None,
    )
    app.openapi_version = "3.1.0"
    # Of a form the second one counts, too: without it werkzeug takes no more than 500,000 bytes.
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    app.url_map.merge_slashes = False
    cell.store.before_script = TURNS.before_step = give_way
    # Some threads stay free for requests that do not wait.
    watch = Watch(cell.store, settings, cell.broker, kind="api", node=f"api@{socket.gethostname()}")
    processes = Processes(cell.store, watch.name)
    requests = RequestCounts()
    access = auth.Access(cell.keys, settings, cell.stream_tokens, cell.secret, processes.share)
    app.extensions[EXTENSION] = Web(
        cell,
        settings,
        WaitingRoom(max(1, settings.http_threads - 4), lambda: rests(request.environ)),
        access,
        Places(
            lambda: rests(request.environ),
            settings.http_streams,
            settings.http_streams_per_tenant,
            processes,
        ),
        processes,
        requests,
        StoreMetrics(cell.store, settings),
        watch,
        Acceptance(cell.store, settings, cell.client.guard),
    )
    access_line.install(app)
    origin.install(app, settings)
    auth.install(app, access)
    ids.install(app)
    problems.install(app)
    modules = (
        jobs, job_logs, events, sockets, cancel, retry, signals, bulk, batches, workflows, run, pipelines, pipeline_limits, artifacts,
        uploads, keys, tenants, webhooks, webhook_secrets, deliveries, schedules, audit, metrics, scaling, health, history, transcripts,
    )  # fmt: skip
    for module in modules:
        app.register_api(module.routes.blueprint)
    ui.install(app)
    docs.install(app, lambda: openapi.complete(app, cell.pipelines))
    site.install(app)
    if (proxies := settings.trusted_proxies) > 0:
        # Host comes as the client wrote it; a prefix of the path is nothing that a client may choose.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=0)  # type: ignore[method-assign]
    app.wsgi_app = Envelope(Traced(app.wsgi_app), requests)  # type: ignore[method-assign]
    return app
