"""Erase a tenant: schedules, records, artifacts, uploads, webhooks, figures, limits. In repeatable steps; others are not looked at."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import JobNotEnded, StoreUnavailable, UnknownJob
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.schedules.schedule_store import ScheduleStore
from pipeline_jobs.states import LIVE, JobStatus
from pipeline_jobs.store.store import Store
from pipeline_jobs.webhooks import ledger

PAGE = 500


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased, or would be."""

    jobs: int
    #: Live jobs that were asked to end; erase again when they have.
    still_live: int
    artifact_bytes: int
    done: bool

    def to_dict(self) -> dict[str, int | bool]:
        return {"jobs": self.jobs, "still_live": self.still_live, "artifact_bytes": self.artifact_bytes, "done": self.done}


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
    keys, client = store.keys, store.client
    try:
        indexes = {status: keys("tenant_status", tenant_id, status) for status in JobStatus}
        sizes = {status: int(client.zcard(index)) for status, index in indexes.items()}  # type: ignore[arg-type]
        size = store.tenant_bytes(tenant_id)
        if dry_run:
            return Erased(sum(sizes.values()), sum(sizes[status] for status in LIVE), size, done=False)
        # First: nothing must make new jobs meanwhile.
        ScheduleStore(store).erase(tenant_id)
        erased = still_live = 0
        for index in indexes.values():
            after = "-inf"
            while page := client.zrangebyscore(index, after, "+inf", 0, PAGE, withscores=True):
                for job_id, order in page:  # type: ignore[union-attr]
                    after = f"({order:.0f}"
                    try:
                        store.cancel(job_id)
                        if store.delete(job_id):
                            erased += 1
                        else:
                            still_live += 1
                    except (UnknownJob, JobNotEnded):
                        continue
        if not still_live:
            for upload_id in client.zrange(keys("tenant_uploads", tenant_id), 0, -1):  # type: ignore[union-attr]
                store.run("upload_remove", upload_id)
            artifacts.delete_prefix(tenant_id)
            ledger.erase(store, tenant_id)
            days = [key for name in ("usage_day", "idempotency") for key in client.scan_iter(keys(name, tenant_id, "*"), count=1000)]
            own = [keys(name, tenant_id) for name in ("usage", "share", "rate", "feed")]
            client.delete(*days, *own)
            client.hdel(keys("limits"), tenant_id)
            client.zrem(keys("tenants"), tenant_id)
        return Erased(erased, still_live, size, done=not still_live)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreUnavailable("the store cannot be reached") from error
