"""Erase a tenant: schedules, records, artifacts, uploads, webhooks, figures, limits. In repeatable steps; others are not looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import JobNotEnded, UnknownJob
from pipeline_jobs.files import kept
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.schedules.schedule_store import ScheduleStore
from pipeline_jobs.states import LIVE, JobStatus
from pipeline_jobs.store.store import Store
from pipeline_jobs.webhooks import ledger


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased, or would be."""

    jobs: int
    #: Live jobs that were asked to end; erase again when they have.
    still_live: int
    artifact_bytes: int
    done: bool

    def to_dict(self) -> dict[str, int | bool]:
        return asdict(self)


def erase_tenant(store: Store, artifacts: ArtifactStore, tenant_id: str, *, dry_run: bool, actor: str | None = None) -> Erased:
    """Cancel what lives, delete what has ended, and when nothing is left, the tenant's folders, figures and limits.

    API keys are revoked by the caller first, so that nothing new comes meanwhile.

    :param dry_run: only count.
    :param actor: for the audit log.
    """
    erased = _erase(store, artifacts, tenant_id, dry_run)
    if not dry_run:
        audit.record(store, actor, "tenant.erased", tenant_id, erased.to_dict())
    return erased


def _erase(store: Store, artifacts: ArtifactStore, tenant_id: str, dry_run: bool) -> Erased:
    sizes = dict(zip(JobStatus, store.sizes([("tenant_status", tenant_id, status) for status in JobStatus]), strict=True))
    size = store.tenant_bytes(tenant_id)
    if dry_run:
        return Erased(sum(sizes.values()), sum(sizes[status] for status in LIVE), size, done=False)
    # First: nothing must make new jobs meanwhile.
    ScheduleStore(store).erase(tenant_id)
    erased, still_live = _erase_jobs(store, tenant_id)
    if not still_live:
        for upload_id in store.members("tenant_uploads", tenant_id):
            store.run("upload_remove", id=upload_id)
        kept.erase(store, tenant_id)
        artifacts.delete_prefix(tenant_id)
        ledger.erase(store, tenant_id)
        store.forget_tenant(tenant_id)
    return Erased(erased, still_live, size, done=not still_live)


def _erase_jobs(store: Store, tenant_id: str) -> tuple[int, int]:
    """:return: how many were removed, and how many live still."""
    erased = still_live = 0
    for status in JobStatus:
        for job_id in store.walk("tenant_status", tenant_id, status):
            try:
                store.cancel(job_id)
                if store.delete(job_id):
                    erased += 1
                else:
                    still_live += 1
            except (UnknownJob, JobNotEnded):
                continue
    return erased, still_live
