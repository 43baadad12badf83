"""Writes down who asked for the end of jobs, after it was asked for."""

from __future__ import annotations

import structlog

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import StoreError, TryLater
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)


def note_cancel(store: Store, actor: str, action: str, target: str, tenant_id: str, **detail: int) -> None:
    """A row of the audit log. The jobs are cancelled already: a row that cannot be written must not be answered with an error.

    :param action: `job.cancelled` or `batch.cancelled`. :param target: the id.
    """
    try:
        audit.record(store, actor, action, target, {"tenant_id": tenant_id, **detail}, tenant_id=tenant_id)
    except (StoreError, TryLater) as error:
        logger.warning(
            "who asked for a cancel could not be written down", seldom=True, action=action, target=target, actor=actor, error=str(error)
        )
