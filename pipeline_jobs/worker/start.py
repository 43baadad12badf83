"""What a worker does as it starts: its name, its default limits; and each pool child: have limits, be interruptible, stop well."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import resource
import secrets
import sys
from typing import Any

import structlog
from billiard import current_process
from celery import current_app
from celery.apps.worker import Worker as CommandWorker
from celery.concurrency import get_implementation
from celery.signals import worker_init, worker_process_init, worker_process_shutdown
from celery.utils.log import mlevel

from pipeline_jobs import logs
from pipeline_jobs.cell import Cell
from pipeline_jobs.exceptions import ConfigurationError, StoreUnavailable
from pipeline_jobs.files.artifacts import check_root
from pipeline_jobs.files.drive import check as check_drive
from pipeline_jobs.jobs.run import install_interrupt
from pipeline_jobs.pools.pool_names import DEFAULT, served, shown
from pipeline_jobs.settings import Settings
from pipeline_jobs.starting import allow_files
from pipeline_jobs.store.guard import unsafe
from pipeline_jobs.store.presence import refuse_other_queues
from pipeline_jobs.tracing import spans
from pipeline_jobs.worker import job_loop
from pipeline_jobs.worker.hints import JOBS_QUEUE, MAINTENANCE_QUEUE, class_queue, own_class_queue, takes_jobs
from pipeline_jobs.worker.own_metrics import count_stages
from pipeline_jobs.worker.prefork import TaskPool
from pipeline_jobs.worker.watching import kind_of, watch_of

logger = structlog.get_logger(__name__)

#: How long a child that stops waits for the collector of its spans, in seconds.
SPANS_SECONDS = 2.0
#: How much nicer to others a pool process is in which tenants' jobs run, and all that they start: on a machine that has all of it, the API,
#: the store and the leases' renewals are not to wait for a processor until a film is decoded. With nobody else there it costs nothing.
JOB_NICENESS = 10


def name_worker(sender: Any, **_: Any) -> None:
    """`worker_init`: an identity that a restarted worker of the same name does not share; leases are held under it."""
    cell = getattr(sender.app, "cell", None)
    if cell is None:
        return
    allow_files()
    # Celery sets logging up later; what is said until then obeys the same level.
    logs.OURS.setLevel(mlevel(sender.loglevel) or logging.INFO)
    sender.app.worker_id = f"{sender.hostname}/{secrets.token_hex(4)}"
    _take_pool(sender.app, cell)
    _refuse_other_pools(sender)
    try:
        _refuse_unsafe(cell)
        _refuse_wrong_artifacts(cell)
        _refuse_other_queues(cell)
    except SystemExit as error:
        # Whoever starts it again and again leaves one row.
        watch_of(sender.app, kind_of(sender.app), sender.hostname, f"{sender.hostname}/refused").refuse(str(error))
        raise
    if cell.settings.self_test and takes_jobs(sender.app):
        sender.app.warning = cell.pipelines.try_out(cell.settings)
    cell.pipelines.say()
    if sender.app.warning:
        logger.warning("self_test", found=sender.app.warning)
    if takes_jobs(sender.app):
        sender.app.worker_class = cell.pipelines.worker_class(sender.app.serves)
        sender.app.amqp.queues.select_add(own_class_queue(sender.app))
    if sender.app.amqp.queues[JOBS_QUEUE].no_ack and (ticks := sender.app.amqp.queues.consume_from.get(MAINTENANCE_QUEUE)):
        # As for jobs: a full server kills a worker at its write to `unacked`. A tick that is lost is made up for by the next one.
        ticks.no_ack = True
    _load_for_children(cell)
    options = sender.options
    if takes_jobs(sender.app) and not options.get("autoscale") and not options.get("concurrency"):
        # There is no Celery setting for the limits of autoscale; this is where the flag's value would be.
        options["autoscale"] = [most_slots(cell.settings, sender.app.serves), 1]


def _load_for_children(cell: Cell) -> None:
    """What each child needs for its first job, which waits for it: the scripts of a run, and what billiard loads as it sees to it that no
    child outlives its worker."""
    cell.store.prepare("claim", "progress", "keep_outputs", "finish")
    # Nor can a child read these when a run has opened as many files as there may be.
    cell.store.prepare("append_log", "requeue")
    if "cffi" in sys.modules:
        importlib.import_module("cffi.cparser")


def most_slots(settings: Settings, pool: str) -> int:
    """The slots of a worker that is not told how many: in a pool of special machines one, unless the pool has a cap."""
    return settings.pool_caps.get(pool, 1) if pool else settings.max_concurrent_jobs


def _take_pool(app: Any, cell: Cell) -> None:
    """The pool is read from the queues. :raises SystemExit: there are two: a slot is one pool's."""
    queues = app.amqp.queues
    found = served(queues.consume_from, JOBS_QUEUE)
    if len(found) > 1:
        names = ", ".join(map(shown, found))
        raise SystemExit(f"this worker does not start: a worker serves one pool (-Q jobs.{found[-1]}), and this one is to serve {names}")
    app.serves = cell.executor.pool = found[0] if found else DEFAULT
    if app.serves:
        # Celery has made a queue of its own of the name.
        queues.select_add(class_queue(app, app.serves))


def _refuse_other_pools(worker: Any) -> None:
    """:raises SystemExit: `celery worker` with another pool would run jobs. Threads and greenlets cannot be killed one by one: a cancel of
    a job that does not look would never be enforced, or would end the worker.

    Workers of `stages` and those of `celery.contrib.testing` may have any.
    """
    pool = get_implementation(worker.pool_cls)
    if isinstance(worker, CommandWorker) and takes_jobs(worker.app) and not issubclass(pool, TaskPool):
        raise SystemExit(f"this worker does not start: jobs need the pool prefork, not {pool.__module__} (take -P away, or jobs out of -Q)")


def _refuse_unsafe(cell: Cell) -> None:
    """:raises SystemExit: the server could lose what it was given, in one clear line. A server that is away is waited for."""
    try:
        reason = unsafe(cell.store)
    except StoreUnavailable:
        return
    if reason and not cell.settings.allow_unsafe_store:
        raise SystemExit(f"this worker does not start: {reason} (PIPELINE_ALLOW_UNSAFE_STORE=1 overrides)")


def _refuse_wrong_artifacts(cell: Cell) -> None:
    """:raises SystemExit: no artifact could ever be stored: each job would fail or wait, and nobody would know why."""
    try:
        check_root(cell.settings.artifacts_root)
        check_drive(cell.settings)
    except ConfigurationError as error:
        raise SystemExit(f"this worker does not start: {error}") from None


def _refuse_other_queues(cell: Cell) -> None:
    """:raises SystemExit: processes that are there already use other queues."""
    try:
        refuse_other_queues(cell.store, cell.settings)
    except ConfigurationError as error:
        raise SystemExit(f"this worker does not start: {error}") from None


def child_started(sender: Any = None, **_: Any) -> None:
    """`worker_process_init`: no child takes all memory, a cancel can reach a stage, webhooks are sent."""
    _be_nice()
    limit = current_app.cell.settings.job_memory_bytes
    if limit and sys.platform == "linux":
        # Of private memory, not of addresses: libraries reserve many of those and use few.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    install_interrupt()
    count_stages(current_app)
    job_loop.install(current_app, getattr(current_app, "seats", None), sender)
    cell = getattr(current_app, "cell", None)
    if cell is not None and cell.settings.webhook_seconds and MAINTENANCE_QUEUE in current_app.amqp.queues.consume_from:
        # In the place of one that died: the next tick of beat may be seconds away.
        cell.webhooks.sender.run_once()
    # What is there by now stays for as long as the child does: to look through all of it again and again was a sixth of a short job's time.
    gc.freeze()


def _be_nice() -> None:
    """Not where maintenance is done as well, or in a worker without children (pool `solo`): nobody can take it back."""
    queues = current_app.amqp.queues.consume_from
    if current_process().daemon and takes_jobs(current_app) and MAINTENANCE_QUEUE not in queues:
        os.nice(JOB_NICENESS)


def child_stops(**_: Any) -> None:
    """`worker_process_shutdown`: webhooks that are being sent get a moment, so that they need not be sent twice."""
    cell = getattr(current_app, "cell", None)
    if cell is not None:
        cell.webhooks.sender.stop(cell.settings.shutdown_grace_seconds)
    if (loop := getattr(current_app, "job_loop", None)) is not None:
        loop.events.flush()
    # The child ends without Python's own end.
    spans.stop(SPANS_SECONDS)


def install() -> None:
    """Connect all; connecting twice is one connection."""
    worker_init.connect(name_worker, dispatch_uid="pipeline-jobs-worker-init")
    worker_process_shutdown.connect(child_stops, dispatch_uid="pipeline-jobs-child-shutdown")
    worker_process_init.connect(child_started, dispatch_uid="pipeline-jobs-child-init")
