"""The entry point: what the HTTP API, the Celery face and your own code call to create, get and end jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline_jobs.access import audit
from pipeline_jobs.addresses import check_source, is_plain
from pipeline_jobs.exceptions import IdTaken, InvalidInput, JobNotEnded, JobNotWaiting, KeyReused, StoreUnavailable
from pipeline_jobs.files.upload import is_upload_url
from pipeline_jobs.job import ANY_ID, JOB_ID, MAX_MOMENT, PRIORITY_MAX, PRIORITY_MIN, Job, NewJob, dumps, new_job_id
from pipeline_jobs.jobs.lately import Lately
from pipeline_jobs.jobs.listing import JobQuery, page
from pipeline_jobs.jobs.outputs import of_stages, written
from pipeline_jobs.jobs.outputs import read as outputs_of
from pipeline_jobs.jobs.pool_gate import PoolGate
from pipeline_jobs.jobs.queue_position import queue_position, told, with_queue_position
from pipeline_jobs.pipelines import Pipeline, Registry
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus, Reason
from pipeline_jobs.store.channel import Channel
from pipeline_jobs.store.guard import StoreGuard
from pipeline_jobs.store.idempotency import Accepted, first_form_of_job, forms_of_job, idempotency
from pipeline_jobs.store.pages import Page
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import ANYBODYS, TenantContext, TenantLimits, Whose, check_owner
from pipeline_jobs.tracing import correlation, spans
from pipeline_jobs.webhooks.targets import check_own

MAX_ATTEMPTS = 10
MAX_TAGS, MAX_TAG = 20, 64
MAX_DEPENDENCIES = 100
ON_DEPENDENCY_FAILURE = ("fail", "cancel", "run")
#: 30 days.
MAX_SECONDS = 2_592_000
#: A year.
MAX_RETAIN = 31_536_000
MAX_JSON = 16_384
#: Longest time between two looks at the record while waiting, in seconds: a lost message delays a waiter by no more.
WAIT_CHECK = 1.0
#: How many jobs that were seen waiting are remembered.
WAITING_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Again:
    """Of which job a new one is the retry, and what of that one's outputs it begins with."""

    job_id: str
    from_stage: str | None
    outputs: str
    blobs: str
    #: From this stage on other jobs' outputs are not used either; None: they are.
    fresh_from: str | None
    #: Whose results it may read, as that one did: it waits for none of them.
    parents: tuple[str, ...] = ()


class Beyond(Protocol):
    """Where jobs are whose records are gone (`history.gone_jobs`)."""

    def page(self, query: JobQuery) -> Page[Job]:
        """A page of all jobs, those with a record among them."""

    def delete_all(self, jobs: Sequence[Job]) -> None:
        """Delete what there is of these besides their records. Safe to repeat."""


class Client:
    """Jobs, for everybody who is not a worker."""

    def __init__(self, store: Store, registry: Registry, settings: Settings) -> None:
        self.store = store
        self.registry = registry
        self.settings = settings
        self.guard = StoreGuard(store, settings)
        self.gate = PoolGate(store)
        #: Called with the id of a job before its record is deleted; may raise what `delete` does. The history sets it.
        self.before_delete: Callable[[str, int | None], None] = lambda job_id, order: None
        #: What the history has besides; None: there is none.
        self.beyond: Beyond | None = None
        self._waiting = Lately(WAITING_MOST)

    def prepare(self, new: NewJob, job_id: str | None = None) -> Job:
        """The record of a new job, checked, defaults filled in; nothing is stored.

        :raises InvalidInput: names the field.
        :raises UnknownPipeline:
        """
        check_owner(new.tenant_id, new.workspace_id)
        pipeline, quality = self.check(new)
        now = time.time()
        values = {
            **vars(new),
            "pipeline": pipeline.name,
            "tenant_id": new.tenant_id,
            "workspace_id": new.workspace_id,
            "job_id": job_id or new_job_id(self.settings.cell, now),
            "status": JobStatus.QUEUED,
            "reason": Reason.FAIR_SHARE,
            "created_at": int(now * 1000),
            "quality": quality,
            **pipeline.stored_params(new.params),
            "max_attempts": new.max_attempts or pipeline.retry.max_attempts,
            **self.registry.start_of(pipeline.name),
            **correlation.given(),
        }
        if new.webhook is not None:
            values["webhook"] = check_own(new.webhook, allow_private=self.settings.webhook_allow_private)
        # Whom it may wait for is the caller's right, and nothing that the job is.
        values.pop("depends_within", None)
        return Job.of(values)

    def _traced(self, new: NewJob, job_id: str | None) -> Job:
        with spans.root("submit"):
            return self.prepare(new, job_id)

    def check(self, new: NewJob) -> tuple[Pipeline, str | None]:
        """All but whose it is and its params. :return: its pipeline, and its quality.

        :raises InvalidInput: names the field.
        :raises UnknownPipeline:
        """
        pipeline = self.registry.get(new.pipeline)
        _check_common(new)
        self.check_url(pipeline, new.url)
        if new.quality is None:
            return pipeline, pipeline.qualities[0] if pipeline.qualities else None
        if new.quality not in pipeline.qualities:
            allowed = ", ".join(pipeline.qualities) or "none"
            raise InvalidInput(f"quality must be one of: {allowed}", field="quality")
        return pipeline, new.quality

    @staticmethod
    def check_url(pipeline: Pipeline, url: str | None) -> None:
        """Of a job of this pipeline. :raises InvalidInput:"""
        if pipeline.needs_url:
            # Whether there is such an upload, and whose, is the store's to say.
            if not is_plain(url) and not is_upload_url(url or ""):
                check_source(url)
        elif url is not None:
            raise InvalidInput(f"pipeline {pipeline.name!r} does not use a url", field="url")

    def submit(self, new: NewJob, **options: Any) -> Job:
        """The job that `accept` made, or had made before."""
        return self.accept(new, **options).job

    def accept(
        self,
        new: NewJob,
        *,
        job_id: str | None = None,
        message: str | None = None,
        idempotency_key: str | None = None,
        again: Again | None = None,
        sender: Sender | None = None,
    ) -> Accepted:
        """Accept a job. When this returns, the job is in the store.

        :param job_id: take this id instead of drawing one (a Celery task id chosen by the caller).
        :param message: its own Celery message; `worker.hints` makes one for jobs with callbacks.
        :param idempotency_key: a tenant's key for this request, good for 24 hours: it makes one job, however often it is sent.
        :param again: it runs another job once more; see `retry`.
        :param sender: who sends it: whose rate counts besides the tenant's, and where the key is one of a kind.
        :raises InvalidInput: names the field.
        :raises IdTaken: the given id is another job's.
        :raises KeyReused: the key has made the job of another request; `JobGone`: its job was removed since.
        :raises InvalidInput: it depends on a job that is none of the tenant's.
        :raises RateLimited: the tenant submits faster than it may; `StorageFull`: it keeps as many bytes as it may;
            `WebhooksFull`: it has as many webhooks waiting.
        :raises QueueFull: the tenant has as many jobs waiting as it may; `StoreFull`: the installation has, or its server is nearly full;
            `CellUpgrading`: it needs pools, and some processes know of none.
        :raises StoreUnavailable: nothing was accepted, as far as is known.
        """
        durably = self.guard.check()
        if job_id is not None and not ANY_ID.fullmatch(job_id):
            raise InvalidInput("a job id has letters, digits, '.', '_' and '-'", field="job_id")
        job = self._traced(new, job_id) if spans.on() else self.prepare(new, job_id)
        if job.schema > 1:
            self.gate.check(job.schema)
        once = first = None
        if again is not None:
            job = job.evolve(
                retry_of=again.job_id, outputs=again.outputs or None, blobs=again.blobs or None, fresh_from=again.fresh_from,
                parents=again.parents,
            )  # fmt: skip
            job = job.evolve(**self.registry.get(job.pipeline).start(len(outputs_of(again.outputs))))
            once = idempotency(idempotency_key, sender, f"{again.job_id}\n{again.from_stage or ''}", what="retry")
        elif idempotency_key is not None:
            first = first_form_of_job(new)
            once = idempotency(idempotency_key, sender, *(forms_of_job(new) if first is None else (first,)))
        while True:
            try:
                return self.store.submit(
                    job, message=message, durably=durably, idempotency=once, depends_within=new.depends_within, sender=sender
                )
            except KeyReused:
                if first is None:
                    raise
                # Another release may have remembered the request by its other form.
                first, once = None, idempotency(idempotency_key, sender, *forms_of_job(new))
            except IdTaken:
                if job_id is not None:
                    raise
                # 28 random bits a second: two jobs may draw the same id. The store decides, we draw again.
                job = job.evolve(job_id=new_job_id(self.settings.cell))

    def retry(
        self, old: Job | str, *, from_stage: str | None = None, idempotency_key: str | None = None, sender: Sender | None = None
    ) -> Accepted:
        """Run an ended job again: a new one with the same input. What its stages gave is used again, but for the last stage.

        :param old: its id, or its record where that has just been read.
        :param from_stage: run this stage and those after it.
        :raises UnknownJob:
        :raises JobNotEnded:
        :raises InvalidInput: the pipeline has no such stage (any more).
        :raises KeyReused, JobGone, TryLater, StoreUnavailable: as `accept`.
        """
        if isinstance(old, str):
            old = self.store.get(old)
        if not old.ended:
            raise JobNotEnded
        again = self.again(old, from_stage)
        return self.accept(old.asked_again(), again=again, idempotency_key=idempotency_key, sender=sender)

    def again(self, old: Job, from_stage: str | None = None) -> Again:
        """What a retry of an ended job begins with.

        :raises InvalidInput: the pipeline has no such stage (any more).
        """
        stages = [stage.name for stage in self.registry.get(old.pipeline).stages]
        if from_stage is not None and from_stage not in stages:
            raise InvalidInput(f"from_stage must be one of: {', '.join(stages)}", field="from_stage")
        outputs = written(of_stages(old.outputs, stages[: stages.index(from_stage or stages[-1])]))
        fresh_from = from_stage or (stages[-1] if old.status is JobStatus.COMPLETED else None)
        return Again(old.job_id, from_stage, *outputs, fresh_from, old.parents or old.depends_on)

    def check_pools(self, pipeline: str) -> None:
        """:raises CellUpgrading: the pipeline needs pools, or runs in parts, and some processes know of none."""
        if start := self.registry.start_of(pipeline):
            self.gate.check(start["schema"])

    def get(self, job_id: str) -> Job:
        """:raises UnknownJob:"""
        return self.store.get(job_id)

    def list(self, query: JobQuery) -> Page[Job]:
        """A page of jobs, newest first.

        :raises InvalidInput: the cursor is not one of ours.
        """
        return page(self.store, query)

    def describe(self, job_id: str, whose: Whose = ANYBODYS) -> Job:
        """The job as the API shows it: a waiting one with `queue` (why it waits, its position, about how long) and the exact reason.

        :raises UnknownJob: there is none, or it is not theirs.
        """
        # One script for both would make the GET of every other job a tenth dearer (Lua copies the record). Who looks at a job that waits
        # looks again: both are asked at once then.
        seen = (whose, job_id)
        if seen in self._waiting:
            job, queue = with_queue_position(self.store, job_id, whose)
        else:
            job, queue = self.store.get(job_id, whose), None
            if job.status is JobStatus.QUEUED:
                self._waiting.add(seen)
                queue = queue_position(self.store, job_id)
        if job.status is not JobStatus.QUEUED:
            self._waiting.discard(seen)
            return job
        # Between the two looks it may have started.
        return job.evolve(queue=queue, reason=queue["reason"]) if queue else self.store.get(job_id, whose)

    def change(self, job_id: str, whose: Whose = ANYBODYS, *, priority: int | None = None, run_at: int | None = None) -> Job:
        """Change a waiting job's priority (-50..50) or earliest start (Unix milliseconds, 0: now).

        :raises InvalidInput: names the field.
        :raises UnknownJob: there is none, or it is not theirs.
        :raises JobNotWaiting: it was dispatched, runs, or has ended.
        """
        if priority is not None and not PRIORITY_MIN <= priority <= PRIORITY_MAX:
            raise InvalidInput(f"priority must be {PRIORITY_MIN}..{PRIORITY_MAX}", field="priority")
        _check_run_at(run_at)
        changed = self.store.change(job_id, whose, priority=priority, run_at=run_at)
        if changed is None:
            raise JobNotWaiting
        self._waiting.add((whose, job_id))
        job, queue = changed[0], told(changed[1])
        return job.evolve(queue=queue, reason=queue["reason"]) if queue else job

    def limits(self, tenant_id: str) -> TenantLimits:
        """A tenant's own limits (`*`: the defaults of all)."""
        return TenantLimits.from_numbers(self.store.limits(tenant_id))

    def set_limits(self, tenant_id: str, limits: TenantLimits, *, actor: str | None = None) -> TenantLimits:
        """Put a tenant's limits in the place of those it had. They act on its backlog at once.

        :param actor: for the audit log.
        """
        if tenant_id != "*":
            TenantContext(tenant_id)
        numbers = limits.to_dict()
        self.store.set_limits(tenant_id, numbers)
        audit.record(self.store, actor, "limits.changed", tenant_id, {name: value for name, value in numbers.items() if value is not None})
        return self.limits(tenant_id)

    def is_job(self, task_id: str) -> bool:
        """Whether an id is a job's: by its form, or because there is a record (adopted messages bring ids of their own)."""
        return bool(JOB_ID.fullmatch(task_id) or self.store.exists("job", task_id))

    def cancel(self, job_id: str) -> Job:
        """Ask for a job's end and give the record as it is then: cancelled, running with `cancel_requested`, or ended before.

        :raises UnknownJob:
        """
        return self.store.cancel(job_id).job

    def delete(self, job_id: str, order: int | None = None) -> None:
        """Remove an ended job and its artifacts.

        :param order: `Job.order` of the one that was looked at: a later job with this id is not removed.
        :raises UnknownJob:
        :raises JobNotEnded: cancel it first.
        """
        self.before_delete(job_id, order)
        if not self.store.delete(job_id, order):
            raise JobNotEnded

    def wait(self, job_id: str, timeout: float) -> Job:
        """Wait at most `timeout` seconds for a job's end; the record as it is then, ended or not.

        :raises UnknownJob: it does not exist, or was removed meanwhile.
        """
        deadline = time.monotonic() + timeout
        job = self.store.get(job_id)
        if job.ended or timeout <= 0:
            return job
        name = f"{self.settings.celery_prefix}celery-task-meta-{job_id}"
        with Channel(self.store) as channel:
            # Subscribe, then look: an end between the two is seen by the look.
            channel.listen_to({name})
            while True:
                job = self.store.get(job_id)
                left = deadline - time.monotonic()
                if job.ended or left <= 0:
                    return job
                try:
                    channel.next(min(left, WAIT_CHECK))
                except StoreUnavailable:
                    # The look at the record says whether the store is back.
                    channel.begin_again()


#: What a job may be given that needs no look here.
_UNCHECKED = frozenset({"url", "quality", "pipeline", "tenant_id", "workspace_id", "params", "metadata"})


def _check_common(new: NewJob) -> None:
    if not new.params and not new.metadata and vars(new).keys() <= _UNCHECKED:
        # Defaults need none either.
        return
    if not PRIORITY_MIN <= new.priority <= PRIORITY_MAX:
        raise InvalidInput(f"priority must be {PRIORITY_MIN}..{PRIORITY_MAX}", field="priority")
    if new.max_attempts is not None and not 1 <= new.max_attempts <= MAX_ATTEMPTS:
        raise InvalidInput(f"max_attempts must be 1..{MAX_ATTEMPTS}", field="max_attempts")
    for name, seconds in (("deadline_seconds", new.deadline_seconds), ("start_within_seconds", new.start_within_seconds)):
        if seconds is not None and not 0 < seconds <= MAX_SECONDS:
            raise InvalidInput(f"{name} must be above 0 and at most {MAX_SECONDS}", field=name)
    if new.retain_seconds is not None and not 0 < new.retain_seconds <= MAX_RETAIN:
        raise InvalidInput(f"retain_seconds must be above 0 and at most {MAX_RETAIN}", field="retain_seconds")
    _check_run_at(new.run_at)
    if new.tags and (len(new.tags) > MAX_TAGS or not all(0 < len(tag) <= MAX_TAG for tag in new.tags)):
        raise InvalidInput(f"at most {MAX_TAGS} tags of 1..{MAX_TAG} characters", field="tags")
    if new.depends_on and (len(new.depends_on) > MAX_DEPENDENCIES or not all(map(ANY_ID.fullmatch, new.depends_on))):
        raise InvalidInput(f"at most {MAX_DEPENDENCIES} ids of jobs", field="depends_on")
    if new.on_dependency_failure not in ON_DEPENDENCY_FAILURE:
        raise InvalidInput(f"on_dependency_failure must be one of: {', '.join(ON_DEPENDENCY_FAILURE)}", field="on_dependency_failure")
    for name, value in (("metadata", new.metadata), ("params", new.params)):
        if value and len(dumps(dict(value))) > MAX_JSON:
            raise InvalidInput(f"{name} is larger than {MAX_JSON} characters of JSON", field=name)


def _check_run_at(run_at: int | None) -> None:
    if run_at is not None and not 0 <= run_at <= MAX_MOMENT:
        raise InvalidInput(f"run_at must be 0..{MAX_MOMENT}, in Unix milliseconds (the years 1970 to 9999)", field="run_at")
