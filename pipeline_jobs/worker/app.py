"""`create_celery(settings)`: the Celery app with all of the worker face on it."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from pipeline_jobs import logs, pipelines
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.jobs.batches import Batch
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.executor import Executor
from pipeline_jobs.operation.canary import Canary
from pipeline_jobs.operation.maintenance import Purge, Reconcile, Rescue
from pipeline_jobs.schedules.fire import Fire
from pipeline_jobs.schedules.scheduler import Scheduler
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store, connect
from pipeline_jobs.webhooks.parts import Webhooks
from pipeline_jobs.worker import control, start, tasks, tenancy
from pipeline_jobs.worker.event_flush import EventFlushStep
from pipeline_jobs.worker.hints import JOBS_QUEUE, publisher, template
from pipeline_jobs.worker.lease import LeaseKeeperStep
from pipeline_jobs.worker.parts import Jobs
from pipeline_jobs.worker.rescuer import RescuerStep

#: Where tasks go that name no queue: those that a stage or a team's own code starts. Never `jobs`: they would take slots unaccounted.
STAGES_QUEUE = "stages"
#: Module of the built-in pipeline.
BUILT_IN = "pipeline_jobs.media.pipeline"


class JobsCelery(Celery):
    """A Celery app whose results of jobs are their records. `app.jobs` holds the parts."""

    jobs: Jobs

    @cached_property
    def AsyncResult(self) -> Any:
        return self.subclass_with_self("pipeline_jobs.worker.result:JobResult")


def create_celery(settings: Settings) -> JobsCelery:
    """The app. Nothing is connected until it is used.

    :raises ConfigurationError: a module of `PIPELINE_MODULES` cannot be imported.
    """
    logs.configure()
    pipelines.load((BUILT_IN, *settings.module_list))
    app = JobsCelery("pipeline_jobs", control=control.JobControl, set_as_current=True)
    _configure(app, settings)
    app.jobs = _parts(app, settings)
    tasks.register(app)
    app.steps["worker"].add(LeaseKeeperStep)
    app.steps["worker"].add(RescuerStep)
    app.steps["consumer"].add(EventFlushStep)
    control.install()
    start.install()
    tenancy.install()
    return app


def _configure(app: Celery, settings: Settings) -> None:
    on_redis = settings.broker_url.startswith(("redis", "valkey", "sentinel"))
    app.conf.update(
        broker_url=settings.broker_url,
        result_backend=f"pipeline_jobs.worker.backend:JobBackend+{settings.redis_url}",
        # Only JSON is accepted from a broker: pickle would run what it is sent.
        accept_content=["json"],
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        # no_ack on Redis: our lease brings lost work back, not the visibility timeout; it saves two commands a job, and a full server
        # cannot kill the worker at its write to `unacked`. On AMQP it would lift the prefetch limit.
        # Its own exchange and key: by default it would be bound to those of `stages` too, and what is sent there would run twice.
        task_queues=[Queue(JOBS_QUEUE, Exchange(JOBS_QUEUE), routing_key=JOBS_QUEUE, no_ack=on_redis)],
        task_default_queue=STAGES_QUEUE,
        task_create_missing_queues=True,
        worker_pool="pipeline_jobs.worker.prefork:TaskPool",
        worker_autoscaler="pipeline_jobs.worker.autoscale:Autoscaler",
        worker_disable_prefetch=on_redis,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_track_started=True,
        broker_connection_retry_on_startup=True,
        # Forked children load the speech model: give them time to come up on a busy machine.
        worker_proc_alive_timeout=30,
        # How long a dead child's last words are waited for; the default of 10 s would be added to every crash.
        worker_lost_wait=2.0,
        result_backend_always_retry=True,
        beat_schedule=tasks.beat_schedule(settings),
        timezone="UTC",
    )
    if on_redis:
        # kombu's default is to wait for ever.
        app.conf.broker_transport_options = {"socket_timeout": 30, "socket_connect_timeout": 5, "socket_keepalive": True}
    else:
        app.conf.broker_transport_options = {"confirm_publish": True}


def _parts(app: JobsCelery, settings: Settings) -> Jobs:
    own = settings.broker_is_store
    store = Store(connect(settings.redis_url), settings, template=template(app) if own else None, publish=None if own else publisher(app))

    @cache
    def key() -> str:
        return settings.secret_key or store.secret()

    @cache
    def artifacts() -> ArtifactStore:
        return ArtifactStore(settings.artifacts_root, settings.base_url, key(), settings.disk_reserve)

    registry = pipelines.registry
    client = Client(store, registry, settings)
    jobs = Jobs(
        app=app,
        settings=settings,
        client=client,
        executor=Executor(store, registry, settings, artifacts),
        purge=Purge(store, artifacts),
        rescue=Rescue(store, settings),
        reconcile=Reconcile(store),
        canary=Canary(client, settings.canary_seconds),
        uploads=Uploads(store, settings, artifacts),
        fire=Fire(Scheduler(client)),
        webhooks=Webhooks.of(store, settings, key, {"batch": lambda flat, url: Batch.from_mapping(flat).to_body(url)}),
        artifacts=artifacts,
    )
    jobs.rescue.moved = jobs.say_rescued
    return jobs
