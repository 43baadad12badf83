"""Erase a tenant: schedules, records, artifacts, uploads, webhooks, figures, limits. In repeatable steps; others are not looked at."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import JobNotEnded, UnknownJob
from pipeline_jobs.files import copies, kept
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.drive import Drive
from pipeline_jobs.schedules.schedule_store import ScheduleStore
from pipeline_jobs.states import LIVE, TERMINAL, JobStatus
from pipeline_jobs.store import parts_ran
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import Whose
from pipeline_jobs.webhooks import ledger

if TYPE_CHECKING:
    from pipeline_jobs.history.history import History

#: Jobs that are taken out of the history in one transaction.
TOGETHER = 200
#: Of a tenant with so many ended jobs a dry run looks each up; of one with more it goes by the store's own counts, in a moment.
MOST_LOOKED_UP = 2_000


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased, or would be."""

    #: Each once, whether the store has it, the history, or both.
    jobs: int
    #: Live jobs that were asked to end; erase again when they have.
    still_live: int
    artifact_bytes: int
    #: False: some live still, or have come meanwhile: erase again.
    done: bool

    def to_dict(self) -> dict[str, int | bool]:
        return asdict(self)


def erase_tenant(
    store: Store,
    artifacts: ArtifactStore,
    tenant_id: str,
    *,
    dry_run: bool,
    actor: str | None = None,
    drive: Drive | None = None,
    history: History | None = None,
) -> Erased:
    """Cancel what lives, delete what has ended, and when nothing is left, the tenant's folders, figures and limits.

    API keys are revoked by the caller first, so that nothing new comes meanwhile.

    :param dry_run: only count.
    :param actor: for the audit log.
    :param drive: where copies of its results are.
    :param history: of the cell, if it has one.
    :raises StoreUnavailable: the store, Drive or the database of the history cannot be asked now: erase again.
    """
    erased = _erase(store, artifacts, tenant_id, dry_run, drive, history)
    if not dry_run:
        audit.record(store, actor, "tenant.erased", tenant_id, erased.to_dict())
    return erased


def _erase(store: Store, artifacts: ArtifactStore, tenant_id: str, dry_run: bool, drive: Drive | None, history: History | None) -> Erased:
    sizes = dict(zip(JobStatus, store.sizes([("tenant_status", tenant_id, status) for status in JobStatus]), strict=True))
    size = store.tenant_bytes(tenant_id)
    if dry_run:
        ended = sum(sizes[status] for status in TERMINAL)
        jobs = sum(sizes.values()) + (_in_history_alone(store, tenant_id, history, ended) if history is not None else 0)
        return Erased(jobs, sum(sizes[status] for status in LIVE), size, done=False)
    # First: nothing must make new jobs meanwhile.
    ScheduleStore(store).erase(tenant_id)
    erased, still_live = _erase_jobs(store, tenant_id, history)
    forgotten = False
    if not still_live:
        if history is not None:
            # The others have been taken out with their records.
            erased += history.erase(tenant_id)
        for upload_id in store.members("tenant_uploads", tenant_id):
            store.run("upload_remove", id=upload_id)
        kept.erase(store, tenant_id)
        while store.run("drop_reused", tenant=tenant_id):
            pass
        artifacts.delete_prefix(tenant_id)
        ledger.erase(store, tenant_id)
        # After the deliveries: none of them copies anything any more.
        copies.erase(drive, tenant_id)
        forgotten = store.forget_tenant(tenant_id)
        parts_ran.forget(store, tenant_id)
    return Erased(erased, still_live, size, done=forgotten)


def _in_history_alone(store: Store, tenant_id: str, history: History, ended: int) -> int:
    """How many jobs of a tenant the history has whose records are gone: at least so many, where very many have ended.

    :param ended: how many of its jobs with records have.
    """
    # One that had ended before there was a history is neither there nor in this.
    (unmoved,) = store.sizes([("unmoved", tenant_id)])
    in_both = _in_both(store, tenant_id, history) if ended <= MOST_LOOKED_UP else ended - unmoved
    # A job may have been moved between the two counts.
    return max(0, history.count(tenant_id) - in_both)


def _in_both(store: Store, tenant_id: str, history: History) -> int:
    """How many of its ended jobs with records the history has: each is looked up."""
    in_both = 0
    for status in TERMINAL:
        walked = store.walk("tenant_status", tenant_id, status)
        while some := list(islice(walked, TOGETHER)):
            orders = store.fields_of_each(("order",), "job", some)
            in_both += history.known([(job_id, int(order)) for job_id, (order,) in zip(some, orders, strict=True) if order])
    return in_both


def _erase_jobs(store: Store, tenant_id: str, history: History | None) -> tuple[int, int]:
    """:return: how many were removed, and how many live still."""
    erased = still_live = 0
    for status in JobStatus:
        walked = store.walk("tenant_status", tenant_id, status)
        while some := list(islice(walked, TOGETHER)):
            for job_id in some:
                with suppress(UnknownJob):
                    store.cancel(job_id, Whose(tenant_id), whole=False)
            # An id may be another tenant's by now.
            found = zip(some, store.fields_of_each(("order", "tenant_id"), "job", some), strict=True)
            theirs = [(job_id, int(order) if order else None) for job_id, (order, whose) in found if whose == tenant_id]
            if history is not None:
                history.bury([(job_id, order) for job_id, order in theirs if order is not None])
            for job_id, order in theirs:
                with suppress(UnknownJob, JobNotEnded):
                    gone = store.delete(job_id, order)
                    erased, still_live = erased + gone, still_live + (not gone)
    # Parts of jobs that were cancelled: they run until their workers have stopped them, and what they named goes with that.
    while store.exists("ended_splits") and not _running_parts(store, tenant_id):
        store.settle()
    # Counted last: one may have begun while the others were ended, and now none can.
    return erased, still_live + _running_parts(store, tenant_id)


def _running_parts(store: Store, tenant_id: str) -> int:
    (running,) = store.sizes([("tenant_status", tenant_id, "part_running")])
    return running
