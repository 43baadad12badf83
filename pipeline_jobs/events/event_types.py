"""The types of events, once: what each says of its job. `docs/events.md` describes the envelope."""

from __future__ import annotations

from enum import StrEnum


class EventType(StrEnum):
    """What happened to a job. The Lua scripts write the word without its `job.`."""

    #: It was accepted and waits.
    CREATED = "job.created"
    #: A worker took it: `attempt` says for which time.
    STARTED = "job.started"
    #: A stage began; what the stage before said last is in this event at the latest.
    STAGE = "job.stage"
    #: Its stage said how far it is; at most twice a second, the last one is never left out.
    PROGRESS = "job.progress"
    #: A stage did less than was asked, and the job goes on: `message` says what. In the log it is a progress, with the word `warning`.
    WARNING = "job.warning"
    #: It is parked until a signal comes: `message` is what is asked. In the log it is a requeue, with the word `signal`.
    WAITING = "job.waiting"
    #: A signal came for it, or the wait for one is over. In the log it is a progress, with the word `signal:` and its status.
    SIGNALLED = "job.signalled"
    #: It went back to the queue: `reason` is retry (a stage failed), crash (its worker died), handback (its worker stops),
    #: fault (its worker's machine cannot run jobs now), hop (its next stage is one of another pool) or parts (it waits for those).
    REQUEUED = "job.requeued"
    #: It waits, and its priority or earliest start was changed (`changes`).
    UPDATED = "job.updated"
    #: It runs and was asked to end.
    CANCEL_REQUESTED = "job.cancel_requested"
    #: It ended well: its record has the result.
    COMPLETED = "job.completed"
    #: It failed: `error`, and `error_code` for programs.
    FAILED = "job.failed"
    #: It was cancelled.
    CANCELLED = "job.cancelled"
    #: The last job of a batch has ended. In the tenant's feed only; `job_id` is null, `batch_id` says which.
    BATCH_COMPLETED = "batch.completed"


def event_id(job_id: str, seq: int) -> str:
    """The id of an event, wherever it is told."""
    return f"{job_id}.{seq}"


#: The status of the job at each event.
STATUS_OF: dict[EventType, str] = {
    EventType.CREATED: "queued",
    EventType.STARTED: "running",
    EventType.STAGE: "running",
    EventType.PROGRESS: "running",
    EventType.WARNING: "running",
    EventType.WAITING: "queued",
    EventType.SIGNALLED: "queued",
    EventType.REQUEUED: "queued",
    EventType.UPDATED: "queued",
    EventType.CANCEL_REQUESTED: "running",
    EventType.COMPLETED: "completed",
    EventType.FAILED: "failed",
    EventType.CANCELLED: "cancelled",
}
