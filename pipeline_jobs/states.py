"""The five states of a job, who moves it out of each, and what a crash does. `docs/state_machine.md` draws it."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """The status word that clients see (the user's brief)."""

    #: Accepted and waiting. Leaves by a worker's claim (-> running) or a cancel (-> cancelled).
    #: A crash of any process changes nothing: the record waits in the store.
    QUEUED = "queued"
    #: A worker holds the lease and runs the stages. Leaves by `finish` (-> completed, failed, cancelled)
    #: or by a requeue (-> queued: rescue, retry, hand-back). A crash: the lease runs out, rescue requeues it.
    RUNNING = "running"
    #: All stages succeeded. Terminal: only TTL purge or DELETE ends the record.
    COMPLETED = "completed"
    #: A stage failed, or its workers died too often. Terminal.
    FAILED = "failed"
    #: A client or operator asked for it. Terminal; a finish that comes after the request ends here.
    CANCELLED = "cancelled"


#: No way out of these.
TERMINAL: frozenset[JobStatus] = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})
#: A slot or a place in the queue is still held.
LIVE: frozenset[JobStatus] = frozenset(JobStatus) - TERMINAL


class Reason(StrEnum):
    """Why a queued job waits."""

    #: It may start, but all slots are busy or it is another tenant's turn.
    FAIR_SHARE = "fair_share"
    #: No live worker consumes the queue `jobs`.
    NO_WORKER = "no_worker"
    #: There are live workers, and none of them knows its pipeline.
    NO_WORKER_FOR_PIPELINE = "no_worker_for_pipeline"
    #: No live worker serves the pool of its next stage.
    NO_WORKER_FOR_POOL = "no_worker_for_pool"
    #: It was asked to start later (`run_at`).
    SCHEDULED = "scheduled"
    #: Its tenant runs as many jobs as it may.
    TENANT_CONCURRENCY = "tenant_concurrency"
    #: Its tenant has started as many jobs as its rate allows.
    TENANT_RATE = "tenant_rate"
    #: Its tenant is paused.
    TENANT_PAUSED = "tenant_paused"
    #: Its pipeline runs as often as it may.
    PIPELINE_CONCURRENCY = "pipeline_concurrency"
    #: A job that it depends on has not ended.
    DEPENDENCY = "dependency"
    #: It is parked until a signal comes (`pipelines.Wait`).
    SIGNAL = "signal"
    #: Its parts run, or wait for slots (`pipelines.Map`).
    PARTS = "parts"
    #: A hint is on the broker; a worker will claim it within moments.
    DISPATCHED = "dispatched"
    #: Waits for its backoff to pass before it is tried again.
    RETRY = "retry"
