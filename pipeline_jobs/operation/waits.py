"""Why a job waits and what lets it start, in the words of the page and of the command line."""

from __future__ import annotations

from pipeline_jobs.states import Reason

#: Why a job waits, in a sentence.
REASONS: dict[str, str] = {
    Reason.FAIR_SHARE: "All slots are busy, or it is another tenant's turn.",
    Reason.NO_WORKER: "No worker is running at the moment.",
    Reason.NO_WORKER_FOR_PIPELINE: "No running worker knows its pipeline.",
    Reason.NO_WORKER_FOR_POOL: "No worker of its pool is running at the moment.",
    Reason.SCHEDULED: "It is scheduled to start later.",
    Reason.TENANT_CONCURRENCY: "Its tenant has reached its maximum number of running jobs.",
    Reason.TENANT_RATE: "Its tenant has reached its rate limit for starting jobs.",
    Reason.TENANT_PAUSED: "Its tenant is paused.",
    Reason.PIPELINE_CONCURRENCY: "Its pipeline has reached its maximum number of running jobs.",
    Reason.DEPENDENCY: "It waits for other jobs to end.",
    Reason.SIGNAL: "It waits for a signal.",
    Reason.PARTS: "Its parts run, or wait for slots.",
    Reason.DISPATCHED: "A worker is about to start it.",
    Reason.RETRY: "It will be tried again after a short delay.",
}

#: The same of many jobs, in a few words.
BRIEFLY: dict[str, str] = {
    Reason.FAIR_SHARE: "wait for their turn",
    Reason.NO_WORKER: "wait for a worker",
    Reason.NO_WORKER_FOR_PIPELINE: "wait for a worker that knows their pipeline",
    Reason.NO_WORKER_FOR_POOL: "wait for a worker of their pool",
    Reason.SCHEDULED: "are meant for later",
    Reason.TENANT_CONCURRENCY: "are held by their tenant's limit of running jobs",
    Reason.TENANT_RATE: "are held by their tenant's rate",
    Reason.TENANT_PAUSED: "are of a paused tenant",
    Reason.PIPELINE_CONCURRENCY: "are held by their pipeline's limit",
    Reason.DEPENDENCY: "wait for other jobs",
    Reason.SIGNAL: "wait for a signal",
    Reason.PARTS: "wait for their parts",
    Reason.DISPATCHED: "are about to start",
    Reason.RETRY: "are about to be tried again",
}

#: What lets a job start that waits for this.
FREES: dict[str, str] = {
    Reason.FAIR_SHARE: "the next slot that is free in its turn",
    Reason.NO_WORKER: "a worker that is started",
    Reason.NO_WORKER_FOR_PIPELINE: "a worker that knows its pipeline",
    Reason.NO_WORKER_FOR_POOL: "a worker of its pool that is started",
    Reason.SCHEDULED: "its time",
    Reason.TENANT_CONCURRENCY: "one of the tenant's running jobs that ends, or a higher limit",
    Reason.TENANT_RATE: "a moment, or a higher rate",
    Reason.TENANT_PAUSED: "an operator who resumes the tenant",
    Reason.PIPELINE_CONCURRENCY: "a running job of its pipeline that ends, or a higher limit",
    Reason.DEPENDENCY: "the end of the jobs that it waits for",
    Reason.SIGNAL: "the signal",
    Reason.PARTS: "the end of its parts",
    Reason.DISPATCHED: "the worker that takes it",
    Reason.RETRY: "the end of the delay",
}


def briefly(word: str) -> str:
    """A `Reason` of many jobs; one that is newer than this table as it is."""
    return BRIEFLY.get(word, word.replace("_", " "))


def frees(word: str | None) -> str:
    """What a wait for this `Reason` ends with; nothing for one that is newer than this table."""
    return FREES.get(word or "", "")


def reason(word: str | None) -> str:
    """A `Reason` in a sentence; one that is newer than this table as it is."""
    if not word:
        return ""
    return REASONS.get(word, word.replace("_", " ").capitalize() + ".")
