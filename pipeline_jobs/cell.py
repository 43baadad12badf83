"""Everything of one installation in this process. Both faces are given it; it knows neither Celery nor Flask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import KeyStore
from pipeline_jobs.events.hub import Hub
from pipeline_jobs.events.tokens import StreamTokens
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.copies import Copier
from pipeline_jobs.files.drive import Drive
from pipeline_jobs.files.kept import KeptFolders
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.history.gone_jobs import GoneJobs
from pipeline_jobs.history.mover import Mover
from pipeline_jobs.history.opened import opened
from pipeline_jobs.job import Job, NewJob, StepResult
from pipeline_jobs.jobs import pipeline_limits
from pipeline_jobs.jobs.batches import Batch, Batches
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.executor import Executor
from pipeline_jobs.jobs.handle import JobHandle, Submit, submitter
from pipeline_jobs.jobs.moved import Say, quiet
from pipeline_jobs.jobs.signals import SignalLinks
from pipeline_jobs.jobs.workflows import Workflows
from pipeline_jobs.operation.canary import Canary
from pipeline_jobs.operation.maintenance import LOOKED_AT_A_SECOND, Purge, Reconcile, Rescue, sweep_workdirs
from pipeline_jobs.pipelines import Registry, registry
from pipeline_jobs.schedules.fire import Fire
from pipeline_jobs.schedules.scheduler import Scheduler
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Hint, HintTemplate, Store, connect
from pipeline_jobs.webhooks.endpoints import Endpoints
from pipeline_jobs.webhooks.ledger import Ledger
from pipeline_jobs.webhooks.payload import SHAPES
from pipeline_jobs.webhooks.sender import Sender
from pipeline_jobs.webhooks.signing import Signer

if TYPE_CHECKING:
    from pipeline_jobs.history.history import History

#: A duty of maintenance: does what is to be done now, and says how much that was.
Duty = Callable[[], dict[str, int]]


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Endpoints, secrets and deliveries of a cell, and the loop that sends."""

    signer: Signer
    endpoints: Endpoints
    ledger: Ledger
    sender: Sender

    @classmethod
    def of(
        cls, store: Store, settings: Settings, secret: Callable[[], str], link: Callable[[str], str] = str, copier: Copier | None = None,
        look: Callable[[], None] = lambda: None,
    ) -> Webhooks:  # fmt: skip
        """:param secret: gives the key of the installation, from which secrets are derived. :param link: makes the address of a file.
        :param look: see `Endpoints`."""
        signer = Signer(secret)
        endpoints, ledger = Endpoints(store, settings, signer, look), Ledger(store, settings)
        shapes = {
            **SHAPES,
            "job": lambda flat, url: Job.from_mapping(flat).to_body(url, link),
            "batch": lambda flat, url: Batch.from_mapping(flat).to_body(url),
        }
        return cls(signer, endpoints, ledger, Sender(ledger, endpoints, signer, settings, shapes, copier))


@dataclass(frozen=True, slots=True)
class Cell:
    """What there is to work with. To make one connects nothing and starts no thread: a process may fork afterwards."""

    settings: Settings
    store: Store
    client: Client
    batches: Batches
    workflows: Workflows
    schedules: Scheduler
    uploads: Uploads
    artifacts: ArtifactStore
    kept: KeptFolders
    gone_jobs: GoneJobs
    keys: KeyStore
    webhooks: Webhooks
    events: Hub
    stream_tokens: StreamTokens
    signal_links: SignalLinks
    executor: Executor
    rescue: Rescue
    #: By their names, as beat ticks them.
    duties: dict[str, Duty]
    #: The key of the installation, which signs links, tokens and sessions; asked for when first needed.
    secret: Callable[[], str]
    #: Is told of jobs that were moved where no worker tells of it.
    say: Say
    #: Makes a job. In an app that `create_celery` made it is `run_job.apply_async`, and `results` is the app's AsyncResult.
    submit: Submit
    #: The handle of a job, by its id.
    results: Callable[[str], JobHandle]
    #: Where jobs are when their records are gone; None: there is no history.
    history: History | None = None
    #: Why the broker cannot be reached, or None.
    broker: Callable[[], str | None] = lambda: None

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        template: HintTemplate | None = None,
        publish: Callable[[Sequence[Hint]], None] | None = None,
        say: Say = quiet,
        pipelines: Registry = registry,
    ) -> Cell:
        """The cell that these settings name.

        :param template: how the scripts push a hint, where the broker is the store's own server; elsewhere `publish` gets the hints.
            With neither, jobs are dispatched to no queue.
        :param pipelines: those that can be run.
        """
        store = Store(connect(settings.redis_url), settings, template=template, publish=publish)

        @cache
        def secret() -> str:
            return settings.secret_key or store.secret()

        client = Client(store, pipelines, settings)
        batches = Batches(client, say)
        artifacts = ArtifactStore(settings.artifacts_root, settings.base_url, secret, settings.disk_reserve)
        uploads, scheduler, rescue = Uploads(store, settings, artifacts, client.guard.look), Scheduler(client), Rescue(store, settings, say)
        drive, purge, history = Drive.of(settings), Purge(store, artifacts, settings), opened(store, settings, pipelines)
        kept = KeptFolders(store)
        gone_jobs = GoneJobs(store, kept, history)
        if history is not None:
            client.before_delete, client.beyond = history.before_delete, gone_jobs
        links = SignalLinks(settings.base_url, secret)
        webhooks = Webhooks.of(store, settings, secret, artifacts.link, Copier(store, artifacts, drive), client.guard.look)

        def tidy() -> dict[str, int]:
            # First the uploads past their time: the purge deletes their files with the other trash.
            swept, rows = uploads.sweep(), webhooks.ledger.purge()
            audit.sweep(store, settings.audit_retention_seconds)
            done = {**purge.run_once(), "uploads": swept, "deliveries": rows, "workdirs": sweep_workdirs(store, settings)}
            audit.order(store)
            return done

        return cls(
            settings=settings,
            store=store,
            client=client,
            batches=batches,
            workflows=Workflows(client, batches),
            schedules=scheduler,
            uploads=uploads,
            artifacts=artifacts,
            kept=kept,
            gone_jobs=gone_jobs,
            keys=KeyStore(store),
            webhooks=webhooks,
            events=Hub(store),
            stream_tokens=StreamTokens(secret),
            executor=Executor(store, pipelines, settings, artifacts, drive, links),
            signal_links=links,
            rescue=rescue,
            duties={
                "purge": tidy,
                "rescue": rescue.run_once,
                "reconcile": Reconcile(store, int(LOOKED_AT_A_SECOND * max(1, settings.cleanup_seconds))).run_once,
                "canary": Canary(client, settings.canary_seconds).run_once,
                "fire": Fire(scheduler).run_once,
                "webhooks": webhooks.sender.run_once,
                "history": dict if history is None else Mover(history).run_once,
            },
            history=history,
            secret=secret,
            say=say,
            submit=submitter(client, say),
            results=partial(JobHandle, client, say),
        )

    @property
    def pipelines(self) -> Registry:
        """The pipelines that this process can run."""
        return self.client.registry

    def run_in_process(self, new: NewJob) -> StepResult:
        """Run a pipeline in this process, with no record and no cancel (the queue is off).

        :raises InvalidInput: names the field.
        :raises StageError: as a job would have failed.
        """
        return self.executor.run_in_process(self.client.prepare(new))

    def declare_pipelines(self) -> None:
        """Make known how many jobs of each pipeline may run at once. :raises StoreUnavailable:"""
        pipeline_limits.declare(self.store, self.pipelines.all())

    def close(self) -> None:
        """Give the connections back; used again it connects anew."""
        self.store.close()
        if self.history is not None:
            self.history.database.close()
