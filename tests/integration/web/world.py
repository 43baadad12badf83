"""An installation with two pipelines, on the session's server: the web face's tests work with what it works with."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from flask.testing import FlaskClient
from pydantic import BaseModel, ConfigDict, Field
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import ALL, ApiKey, Role
from pipeline_jobs.cell import Cell
from pipeline_jobs.events.hub import Hub
from pipeline_jobs.files.artifacts import RunArtifacts
from pipeline_jobs.job import Job, NewJob, StepResult
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.pipelines import Pipeline, Registry, Stage
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.store.wire import _Owns
from pipeline_jobs.web.app import create_app
from pipeline_jobs.web.state import EXTENSION
from tests.waiting import until

#: 2025-01-03T12:00:00Z, the brief's own moment.
NOON = 1_735_905_600_000
URL = "https://media.example/clip.mp4"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    weight: float = Field(1.0, gt=0)


class SleepParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seconds: float = Field(0.0, ge=0, le=3600)
    steps: int = Field(10, ge=1, le=1000)
    parts: list[Part] = []


def settings_with(url: str, data_dir: str = "/nowhere", **changes: Any) -> Settings:
    """Both of the brief's flags on."""
    own = {"redis_url": url, "data_dir": data_dir, "secret_key": "test-secret", "enable_job_queue": True, "enable_run_api": True}
    return Settings(**{**own, **changes})


@dataclass
class World:
    """A cell, its clients, and a worker that does what a test says."""

    settings: Settings
    #: What a run of a stage does.
    stage: Callable[[Any], Any] = lambda context: None
    cells: list[Cell] = field(default_factory=list)
    clients: list[FlaskClient] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cell = self.make_cell()
        self.store = self.cell.store
        self.keys = self.cell.keys

    def pipelines(self) -> Registry:
        registry = Registry()
        stages = (Stage("fetch", lambda context: self.stage(context), 2), Stage("publish", lambda context: None))
        registry.register(Pipeline("media", stages, qualities=("720p", "1080p"), description="A film."))
        registry.register(Pipeline("sleep", (Stage("sleep", lambda context: None),), params=SleepParams, needs_url=False))
        return registry

    def make_cell(self, **changes: Any) -> Cell:
        """The cell as a process with other settings has it."""
        settings = Settings(**{**self.settings.model_dump(), **changes})
        self.cells.append(Cell.of(settings, pipelines=self.pipelines()))
        return self.cells[-1]

    def make_client(self, **changes: Any) -> FlaskClient:
        cell = self.make_cell(**changes) if changes else self.cell
        self.clients.append(create_app(cell).test_client())
        return self.clients[-1]

    # -- jobs

    def put(
        self,
        tenant_id: str = "acme",
        workspace_id: str = "main",
        status: JobStatus = JobStatus.QUEUED,
        pipeline: str = "sleep",
        **fields: Any,
    ) -> Job:
        """A job in this state.

        :param fields: of its record, written as they are: what a worker or a client of another version may have left there.
        """
        url = URL if pipeline == "media" else None
        job = self.cell.client.submit(NewJob(url=url, pipeline=pipeline, tenant_id=tenant_id, workspace_id=workspace_id))
        if status is JobStatus.RUNNING:
            self.start(job.job_id)
        elif status is JobStatus.CANCELLED:
            self.cell.client.cancel(job.job_id)
        elif status is not JobStatus.QUEUED:
            self.finish(job.job_id, status)
        return self.write(job.job_id, **fields) if fields else self.record(job.job_id)

    def write(self, job_id: str, **fields: Any) -> Job:
        """Write fields of a record past all rules."""
        key, flat = self.store.keys("job", job_id), self.record(job_id).evolve(**fields).to_mapping()
        self.store.client.hdel(key, *fields)
        self.store.client.hset(key, mapping=flat)
        return self.record(job_id)

    def start(self, job_id: str) -> Job:
        """A worker takes it, and is at its first stage."""
        self.store.announce("w1", 100, [])
        claimed = self.store.claim(job_id, self.record(job_id).fence, worker="w1", run="r")
        assert not isinstance(claimed, ClaimRefused), claimed
        stage = self.cell.pipelines.get(claimed.pipeline).stages[0].name
        assert self.store.progress(job_id, claimed.fence, 5.0, stage) == "ok"
        return self.record(job_id)

    def finish(self, job_id: str, outcome: JobStatus = JobStatus.COMPLETED, **fields: Any) -> Job:
        """Its run ends so."""
        job = self.record(job_id)
        job = job if job.status is JobStatus.RUNNING else self.start(job_id)
        assert self.store.finish(job_id, job.fence, outcome, **fields) is not None
        return self.record(job_id)

    def complete(self, job_id: str, **data: Any) -> Job:
        return self.finish(job_id, result=StepResult(True, data).to_dict())

    def fail(self, job_id: str, error: str = "no audio", **detail: Any) -> Job:
        return self.finish(job_id, JobStatus.FAILED, error=error, error_detail=detail or None)

    def publish(self, job_id: str, files: Mapping[str, bytes], folder: Any) -> str:
        """Complete it with these files. :return: what their paths begin with."""
        job = self.start(job_id)
        run = RunArtifacts(self.cell.artifacts, f"{job.tenant_id}/{job.workspace_id}/{job_id}/{job.fence}")
        for name, data in files.items():
            (folder / name).write_bytes(data)
            run.publish(folder / name, name)
        self.finish(job_id, result=StepResult(True).to_dict(), artifacts=run.prefix)
        return run.prefix

    def remove(self, job_id: str) -> None:
        """It ends, and its record goes."""
        if self.cell.client.cancel(job_id).status is JobStatus.RUNNING:
            self.finish(job_id)
        self.cell.client.delete(job_id)

    def record(self, job_id: str) -> Job:
        return self.cell.client.get(job_id)

    def ids(self) -> list[str]:
        """Of all jobs, newest first."""
        return [job.job_id for job in self.cell.client.list(JobQuery(limit=100)).items]

    # -- what happens meanwhile

    def when_waiting(self, action: Callable[[str], object]) -> None:
        """As soon as a request waits for the end of a job, do this with the job's id, in another thread."""
        self._when_subscribed("celery-task-meta-", action)

    def when_followed(self, action: Callable[[], object]) -> None:
        """As soon as somebody follows events, do this, in another thread."""
        self._when_subscribed(self.store.keys("news", ""), lambda tenant: action())

    def _when_subscribed(self, channel: str, action: Callable[[str], object]) -> None:
        def look() -> None:
            with self.make_cell().store.client as server:
                (found, *_) = until(lambda: server.pubsub_channels(f"{channel}*"), "a request that waits")
            action(found.removeprefix(channel))

        self.threads.append(threading.Thread(target=look))
        self.threads[-1].start()

    def lose_store(self, *, known: bool = True) -> None:
        """The server cannot be reached any more.

        :param known: whether anybody is asked for a key is known by then, so that a request gets as far as its view.
        """
        for client in self.clients if known else ():
            access = client.application.extensions[EXTENSION].access
            access.required()
            access._open_until = float("inf")
        for cell in self.cells:
            pool = cell.store.client.connection_pool
            cell.store.client.connection_pool = redis.ConnectionPool(port=1, retry=Retry(NoBackoff(), 0), decode_responses=True)
            pool.disconnect()
            # Each thread's own connection.
            cell.store.wire._owns = _Owns()

    # -- keys, audit

    def key(self, tenant_id: str = "acme", role: Role = Role.SUBMIT, workspace_id: str | None = None, **fields: int) -> tuple[ApiKey, str]:
        """:param fields: of its record, written as they are (`revoked_at`, `expires_at`, `last_used_at`)."""
        key, text = self.keys.create(tenant_id, role, actor="test", workspace_id=workspace_id)
        if fields:
            self.change_key(key.key_id, **fields)
        return key, text

    def change_key(self, key_id: str, **fields: Any) -> None:
        self.store.client.hset(f"{self.store.keys.prefix}api_key:{key_id}", mapping=fields)

    @property
    def audit(self) -> list[audit.Row]:
        """Newest first; nothing of what the tests did themselves. Whoever writes one that is about a tenant gives it to that tenant."""
        client, keys = self.store.client, self.store.keys
        installations = [json.loads(row["detail"]) for key in ("audit", "audit_work") for _, row in client.xrange(keys(key))]
        assert {detail.get("tenant_id", ALL) for detail in installations} <= {ALL}
        return [row for row in audit.page(self.store, limit=100).items if row.actor != "test"]

    def close(self) -> None:
        for thread in self.threads:
            thread.join(30)
        for cell in self.cells:
            end_streams(cell.events)
            cell.close()


def end_streams(hub: Hub) -> None:
    """Of those that no test read to their end: as long as anybody follows events, the hub's thread asks the server, in later tests too."""
    for topic in list(hub._topics.values()):
        for follower in list(topic.followers):
            follower.close()


def make_app(node: Any, world: World) -> Any:
    """For schemathesis: its streams end at once, its waits are short. :param node: the test, which finds each operation in its reports."""
    # What pytest 9.2 has no more, and schemathesis 4.32 reads and sets.
    node._nodeid = node.nodeid
    app = world.make_client(run_timeout_seconds=0.05, announce_seconds=1000, rescue_seconds=1000).application
    cell = world.cells[-1]
    cell.events.stop_when(lambda: True)
    # It is ready, for longer than the test takes.
    cell.store.announce("w1", 0, [])
    cell.store.beat("rescue")
    return app
