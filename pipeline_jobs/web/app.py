"""`create_app(cell)`: the Flask app of the HTTP face. Nothing is asked of the store before the first request."""

from __future__ import annotations

import socket

from flask import Flask, request
from flask_openapi.models.info import Info
from flask_openapi.models.license import License
from flask_openapi.models.server import Server
from werkzeug.middleware.proxy_fix import ProxyFix

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
from pipeline_jobs.web.http import openapi
from pipeline_jobs.web.http.places import Places
from pipeline_jobs.web.http.request_counts import RequestCounts
from pipeline_jobs.web.http.waiting import WaitingRoom
from pipeline_jobs.web.light_flask import Api
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
