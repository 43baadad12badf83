"""Join the two faces: the Flask app over the parts of the Celery app. `wsgi.py` calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO, cast

from celery import Celery
from flask import Flask
from kombu.exceptions import OperationalError

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import KeyStore
from pipeline_jobs.access.secret_files import SIGNING_KEY, kept_secret
from pipeline_jobs.events.hub import Hub
from pipeline_jobs.events.tokens import StreamTokens
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import NewJob, StepResult
from pipeline_jobs.jobs import pipeline_limits
from pipeline_jobs.jobs.batches import Batches
from pipeline_jobs.jobs.pipeline_limits import PipelineLimits
from pipeline_jobs.operation import health, metrics, overview
from pipeline_jobs.operation.erase import Erased, erase_tenant
from pipeline_jobs.operation.usage import Day, of_tenant
from pipeline_jobs.schedules.scheduler import Scheduler
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import TenantLimits
from pipeline_jobs.web.app import create_app
from pipeline_jobs.web.ports import Parts, Webhooks
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.parts import Jobs


def create_api(settings: Settings) -> Flask:
    """The API of a cell. Nothing is connected before the first request.

    :raises ConfigurationError: a module of `PIPELINE_MODULES` cannot be imported; with the queue off, the signing key cannot be kept.
    """
    if settings.enable_run_api and not settings.enable_job_queue and not settings.secret_key:
        # `POST /pipeline/run` then needs no store, and so its links must not wait for a key of the store's.
        settings = settings.model_copy(update={"secret_key": kept_secret(settings.data_dir / SIGNING_KEY)})
    celery = create_celery(settings)
    jobs, store = celery.jobs, celery.jobs.client.store

    def run_in_process(new: NewJob) -> StepResult:
        return jobs.executor.run_in_process(jobs.client.prepare(new))

    keys = KeyStore(store)

    def ready() -> dict[str, dict[str, object]]:
        return {**health.check(store, settings, lambda: _broker(celery)), "access": _access(keys, settings)}

    parts = Parts(
        client=jobs.client,
        batches=Batches(jobs.client, jobs.say_cancelled),
        results=celery.AsyncResult,
        run_in_process=run_in_process,
        artifacts=_Artifacts(jobs),
        metrics=lambda: metrics.render(store, settings.metrics_workspaces),
        readiness=ready,
        keys=keys,
        audit=_Audit(store),
        tenants=_Tenants(jobs),
        uploads=jobs.uploads,
        schedules=Scheduler(jobs.client),
        overview=_Overview(store, settings),
        secret=lambda: settings.secret_key or store.secret(),
        webhooks=Webhooks(jobs.webhooks.endpoints, jobs.webhooks.ledger, jobs.webhooks.signer.reveal),
        pipeline_limits=_PipelineCaps(store),
        events=Hub(store),
        stream_tokens=StreamTokens(lambda: settings.secret_key or store.secret()),
    )
    return create_app(parts, settings)


class _Artifacts:
    """The artifact store, made at its first use: its signing key may be in the store, which need not be up yet."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def verify(self, path: str, signature: str) -> bool:
        return self._jobs.artifacts().verify(path, signature)

    def open(self, path: str) -> BinaryIO:
        return cast(BinaryIO, self._jobs.artifacts().open(path))

    def size(self, path: str) -> int:
        return self._jobs.artifacts().stat(path).size


class _Tenants:
    """Limits, usage and the end of a tenant."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def limits(self, tenant_id: str) -> TenantLimits:
        return self._jobs.client.limits(tenant_id)

    def set_limits(self, tenant_id: str, limits: TenantLimits) -> TenantLimits:
        return self._jobs.client.set_limits(tenant_id, limits)

    def usage(self, tenant_id: str, days: int) -> list[Day]:
        return of_tenant(self._jobs.client.store, tenant_id, days)

    def erase(self, tenant_id: str, *, dry_run: bool) -> Erased:
        return erase_tenant(self._jobs.client.store, self._jobs.artifacts(), tenant_id, dry_run=dry_run)


class _Overview:
    """What waits and runs now."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def now(self, tenant_id: str | None) -> overview.Now:
        return overview.now(self._store, self._settings, tenant_id)

    def tenants(self, most: int) -> list[str]:
        return overview.tenants(self._store, most)


class _PipelineCaps:
    """Caps of pipelines."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, pipeline: str) -> PipelineLimits:
        return pipeline_limits.of(self._store, pipeline)

    def set(self, pipeline: str, max_concurrent: int | None) -> PipelineLimits:
        return pipeline_limits.set_cap(self._store, pipeline, max_concurrent)


class _Audit:
    """The audit log of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, actor: str, action: str, target: str, detail: Mapping[str, Any] | None = None) -> None:
        audit.record(self._store, actor, action, target, detail)

    def page(self, cursor: str | None, limit: int) -> tuple[list[audit.Row], str | None]:
        return audit.page(self._store, cursor, limit)


def _access(keys: KeyStore, settings: Settings) -> dict[str, object]:
    """Who is served; never a reason to be not ready."""
    try:
        asked = settings.require_keys or keys.required()
    except StoreUnavailable:
        return {"ok": True, "reason": None}
    return {"ok": True, "reason": None if asked else "no API key has been created: only this machine is served", "keys_required": asked}


def _broker(celery: Celery) -> str | None:
    try:
        with celery.connection_for_write(connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (OperationalError, OSError):
        return "the broker cannot be reached"
    return None
