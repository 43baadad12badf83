"""Settings of gunicorn for the API, from ours: `gunicorn -c python:pipeline_jobs.web.gunicorn_conf wsgi:app`."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.files.artifacts import check_root
from pipeline_jobs.operation.shared_counts import SharedCounts
from pipeline_jobs.settings import load_settings
from pipeline_jobs.starting import allow_files, die_with, one_line_errors
from pipeline_jobs.store.presence import refuse_other_queues
from pipeline_jobs.store.store import Store, connect
from pipeline_jobs.tracing import spans
from pipeline_jobs.web.state import EXTENSION

# Here and not in each worker: said once.
with one_line_errors():
    _settings = load_settings()
    check_root(_settings.artifacts_root)
    if _settings.celery_prefix:
        refuse_other_queues(Store(connect(_settings.redis_url), _settings), _settings)
allow_files()
#: What all processes of this server count, made before the first of them: so that each shows the metrics of all. While workers are
#: replaced there are twice as many.
_counts = SharedCounts(4 * _settings.http_workers + 16)

bind = f"[{_settings.http_host}]:{_settings.http_port}" if ":" in _settings.http_host else f"{_settings.http_host}:{_settings.http_port}"
# Threads: a request that waits for a job holds one and costs little else, and so does a stream.
worker_class = "pipeline_jobs.web.server.gunicorn_worker.Worker"
logger_class = "pipeline_jobs.web.server.gunicorn_logs.Logger"
workers = _settings.http_workers
threads = _settings.http_threads + _settings.http_streams
worker_connections = max(1000, 2 * threads)
# The most that gunicorn allows.
limit_request_line = 8190
# A stop lets waiting requests end by themselves.
graceful_timeout = int(_settings.run_timeout_seconds) + 5
keepalive = 15
_MEMORY = "/dev/shm"  # noqa: S108 - of a file without a name  # nosec B108
#: The main thread says at each of its turns that it lives, by a file's times. On a disk that waits for what others sync there.
worker_tmp_dir = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None
# By default any peer on loopback, such as a proxy that passes headers on, is believed which part of the path is the app's own.
forwarder_headers = ""
# One fixed path per user for all gunicorns of a machine: two installations would fight for it.
control_socket_disable = True
#: How long a thread may keep the interpreter from another one that asks for it, in seconds. A request asks ten times or so, also behind
#: those of others that compute: with Python's 5 ms each of these made it 50 ms longer.
SWITCH_SECONDS = 0.001


def pre_request(worker: Any, request: Any) -> None:
    """gunicorn's own would look whether its address is to be logged, of which our log has nothing."""


def pre_fork(server: Any, worker: Any) -> None:
    """A row for what this worker will count: one that nobody has, or that a worker has left that ended."""
    worker.row = _counts.free_row({other.row for other in server.WORKERS.values()})


def post_fork(server: Any, worker: Any) -> None:
    """A worker whose master was killed would go on for `graceful_timeout`, and hold the port that the next master needs."""
    die_with(server.pid)
    sys.setswitchinterval(SWITCH_SECONDS)


def post_worker_init(worker: Any) -> None:
    """Let streams end with the worker; say which pipelines there are, and whether keys are asked for (on the side: a store that is down
    must not hold up the start)."""
    here = worker.wsgi.extensions[EXTENSION]
    cell = here.cell
    if worker.row is not None:
        here.requests.join(_counts, worker.row)
    worker.tell_refused(here.requests.refused_before)
    cell.events.stop_when(lambda: not worker.alive)
    here.waiting.stop_when(lambda: not worker.alive)
    cell.pipelines.say()
    _announce(worker)
    threading.Thread(target=_say_access, args=(worker,), name="access", daemon=True).start()


def _announce(worker: Any) -> None:
    here = worker.wsgi.extensions[EXTENSION]
    if here.settings.enable_job_queue:
        here.watch.start()
        threading.Thread(target=_keep_announced, args=(here, worker), name="announce", daemon=True).start()


def _keep_announced(here: Any, worker: Any) -> None:
    here.watch.until_announced()
    here.processes.keep_announced(lambda: worker.alive)


def worker_exit(server: Any, worker: Any) -> None:
    """Send the spans that are left. It ends on purpose: nobody need look for it. One whose app was never made has not announced itself."""
    spans.stop(2.0)
    app = getattr(worker, "wsgi", None)
    if app is not None and app.extensions[EXTENSION].settings.enable_job_queue:
        app.extensions[EXTENSION].watch.leave()


def _say_access(worker: Any) -> None:
    try:
        worker.wsgi.extensions[EXTENSION].access.required()
    except StoreUnavailable as error:
        # The first request that can ask says it.
        worker.log.warning("cannot tell yet whether API keys are required: %s", error)
