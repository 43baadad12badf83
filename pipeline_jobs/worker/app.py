"""`create_celery(settings)`: the Celery app with all of the worker face on it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from ssl import CERT_REQUIRED
from typing import Any

import structlog
from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError
from kombu.utils.url import parse_url

from pipeline_jobs import logs, pipelines
from pipeline_jobs.cell import Cell, Duty
from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.pipelines import NO_CLASS, WorkerClass
from pipeline_jobs.pools.pool_names import DEFAULT
from pipeline_jobs.settings import Settings
from pipeline_jobs.starting import SCHEME, watched
from pipeline_jobs.tracing import spans
from pipeline_jobs.worker import celery_logs, continuations, control, prefixed, start, stopping, tasks, tenancy, watching
from pipeline_jobs.worker.event_flush import EventFlushStep
from pipeline_jobs.worker.fitness import Fitness, FitnessStep
from pipeline_jobs.worker.hints import JOBS_QUEUE, publisher, template
from pipeline_jobs.worker.job_loop import JobLoop
from pipeline_jobs.worker.lease import LeaseKeeper, LeaseKeeperStep
from pipeline_jobs.worker.own_metrics import OwnMetrics, OwnMetricsStep
from pipeline_jobs.worker.rescuer import RescuerStep
from pipeline_jobs.worker.seats import Seats
from pipeline_jobs.worker.task_events import TaskEvents
from pipeline_jobs.worker.watching import WatchStep

#: Where tasks go that name no queue: those that a stage or a team's own code starts. Never `jobs`: they would take slots unaccounted.
STAGES_QUEUE = "stages"
#: Module of the built-in pipeline.
BUILT_IN = "pipeline_jobs.media.pipeline"


class JobsCelery(Celery):
    """A Celery app whose results of jobs are their records. `app.cell` is what it works with."""

    cell: Cell
    #: Node name and incarnation of the worker this process belongs to; pool children inherit it by fork.
    worker_id = "none"
    #: The pool that the worker of this process serves (`pools`).
    serves = DEFAULT
    #: What the worker of this process can run.
    worker_class: WorkerClass = NO_CLASS
    #: What its pipelines' own tests found that an operator should know.
    warning = ""
    #: In a worker's main process: who renews the leases.
    keeper: LeaseKeeper | None = None
    #: In a worker whose children take their next jobs themselves: what each of them has, for the main process and for them.
    seats: Seats | None = None
    #: In such a child: who runs its jobs.
    job_loop: JobLoop | None = None
    #: In a worker's main process, who knows whether its machine can run jobs.
    fitness: Fitness | None = None
    #: Likewise, what it shows to Prometheus; its children count there.
    own_metrics: OwnMetrics | None = None

    @cached_property
    def AsyncResult(self) -> Any:
        return self.subclass_with_self("pipeline_jobs.worker.result:JobResult")


def create_celery(settings: Settings) -> JobsCelery:
    """The app. Nothing is connected until it is used.

    :raises ConfigurationError: a module of `PIPELINE_MODULES` cannot be imported, there is no such broker, or it cannot have the prefix.
    """
    logs.configure(settings.log_format)
    spans.check()
    _check(settings)
    pipelines.load((BUILT_IN, *settings.module_list))
    app = _with_cell(settings, set_as_current=True)
    app.steps["worker"].add(WatchStep)
    app.steps["worker"].add(LeaseKeeperStep)
    app.steps["worker"].add(RescuerStep)
    app.steps["worker"].add(FitnessStep)
    app.steps["worker"].add(OwnMetricsStep)
    app.steps["consumer"].add(EventFlushStep)
    celery_logs.install()
    control.install()
    start.install()
    stopping.install()
    tenancy.install()
    watching.install()
    return app


def create_sender(settings: Settings) -> JobsCelery:
    """An app that sends jobs and finds their results, for a process that has an app of its own (`from_celery`): it is not the current one,
    and Celery's signals, its logging and its commands are as they were. Our own lines go where that process has structlog's go, else to
    standard error.

    :raises ConfigurationError: there is no such broker, or it cannot have the prefix.
    """
    if not structlog.is_configured():
        logs.configure(settings.log_format)
    _check(settings)
    return _with_cell(settings, set_as_current=False)


def _check(settings: Settings) -> None:
    """:raises ConfigurationError:"""
    _check_prefix(settings)
    _check_broker(settings.broker_url)


def _with_cell(settings: Settings, set_as_current: bool) -> JobsCelery:
    prefixed.install()
    app = JobsCelery("pipeline_jobs", control=control.JobControl, set_as_current=set_as_current)
    _configure(app, settings)
    own = settings.broker_is_store
    cell = Cell.of(settings, template=template(app) if own else None, publish=None if own else publisher(app), say=TaskEvents(app))
    duties: dict[str, Duty] = {**cell.duties, "continue": partial(continuations.run_once, app)}
    app.cell = replace(cell, results=app.AsyncResult, broker=partial(_broker, app), duties=duties)
    # The template was written by it; what a team sets on the app from here on must hold for the messages of its own tasks.
    app.__dict__.pop("amqp", None)
    app.cell = replace(app.cell, submit=tasks.register(app).apply_async)
    return app


def _on_redis(settings: Settings) -> bool:
    return settings.broker_url.startswith(("redis", "valkey", "sentinel"))


def _check_prefix(settings: Settings) -> None:
    """:raises ConfigurationError: the broker is of a kind whose names nobody prefixes: two installations would take each other's jobs."""
    if settings.celery_prefix and not _on_redis(settings) and not settings.broker_url.startswith(("amqp://", "amqps://", "pyamqp://")):
        raise ConfigurationError("PIPELINE_KEY_PREFIX: with this broker only the default can be used, since it cannot prefix its queues")


def _check_broker(url: str) -> None:
    """:raises ConfigurationError: kombu has no transport for it, or its package is missing."""
    try:
        Connection(url).transport_cls  # noqa: B018 - it is looked up
    except Exception as error:  # each transport has errors of its own
        # Its text may quote a part of the password.
        raise ConfigurationError(f"CELERY_BROKER_URL cannot be used ({type(error).__name__})") from None


def _configure(app: Celery, settings: Settings) -> None:
    on_redis, prefix, by_sentinel = _on_redis(settings), settings.celery_prefix, settings.broker_url.startswith(SCHEME)
    quorum = not on_redis and settings.broker_queue_type == "quorum"
    app.conf.update(
        broker_url=watched(settings.broker_url).broker_url if by_sentinel else settings.broker_url,
        result_backend=f"pipeline_jobs.worker.backend:JobBackend+{settings.redis_url}",
        # Only JSON is accepted from a broker: pickle would run what it is sent.
        accept_content=["json"],
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        # no_ack on Redis: our lease brings lost work back, not the visibility timeout; it saves two commands a job, and a full server
        # cannot kill the worker at its write to `unacked`. On AMQP it would lift the prefetch limit.
        # Its own exchange and key: by default it would be bound to those of `stages` too, and what is sent there would run twice.
        task_queues=[
            Queue(
                JOBS_QUEUE,
                Exchange(JOBS_QUEUE),
                routing_key=JOBS_QUEUE,
                no_ack=on_redis,
                queue_arguments={"x-queue-type": "quorum"} if quorum else None,
            )
        ],
        task_default_queue=STAGES_QUEUE,
        task_create_missing_queues=True,
        worker_pool="pipeline_jobs.worker.prefork:TaskPool",
        worker_consumer="pipeline_jobs.worker.consumer:JobConsumer",
        worker_autoscaler="pipeline_jobs.worker.autoscale:Autoscaler",
        worker_disable_prefetch=on_redis,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_track_started=True,
        broker_connection_retry_on_startup=True,
        # However long the broker is away, it is no fault of the worker's, which would end after 100 tries.
        broker_connection_max_retries=None,
        # Forked children load the speech model: give them time to come up on a busy machine.
        worker_proc_alive_timeout=30,
        # How long a dead child's last words are waited for; the default of 10 s would be added to every crash.
        worker_lost_wait=2.0,
        result_backend_always_retry=True,
        beat_schedule=tasks.beat_schedule(settings),
        timezone="UTC",
    )
    if on_redis:
        # A full server refuses the writes with which a worker begins to consume: it tries again, since to start anew takes it longer.
        app.conf.broker_channel_error_retry = True
        # kombu's default is to wait for ever.
        app.conf.broker_transport_options = {"socket_timeout": 30, "socket_connect_timeout": 5, "socket_keepalive": True}
        if by_sentinel:
            app.conf.broker_transport_options["master_name"] = watched(settings.broker_url).master
    else:
        app.conf.broker_transport_options = {"confirm_publish": True}
    if settings.broker_url.startswith("rediss://"):
        # Where the address says nothing of certificates kombu would check none, and Flower looks nowhere else.
        app.conf.broker_use_ssl = {"ssl_cert_reqs": CERT_REQUIRED, **parse_url(settings.broker_url).get("ssl", {})}
    if quorum:
        app.conf.task_default_queue_type = app.conf.task_create_missing_queue_type = "quorum"
    if prefix:
        app.conf.broker_transport_options[prefixed.PREFIX_OPTION] = prefix
        app.conf.result_backend_transport_options = {prefixed.PREFIX_OPTION: prefix}


def _broker(app: Celery) -> str | None:
    """Why the broker cannot be reached, or None."""
    try:
        with app.connection_for_write(connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (OperationalError, OSError):
        return "the broker cannot be reached"
    return None
