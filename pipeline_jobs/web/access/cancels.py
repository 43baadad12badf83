"""Writes down who asked for the end of a batch's jobs, after it was asked for. With that of one job it is written (`Store.cancel`)."""

from __future__ import annotations

import structlog

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import StoreError, TryLater
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)


def note_cancel(store: Store, actor: str, batch_id: str, tenant_id: str, matched: int) -> None:
    """A row of the audit log. The jobs are cancelled already: a row that cannot be written must not be answered with an error."""
    try:
        detail = {"tenant_id": tenant_id, "matched": matched}
        audit.record(store, actor, "batch.cancelled", batch_id, detail, tenant_id=tenant_id)
    except (StoreError, TryLater) as error:
        logger.warning("who asked for a cancel could not be written down", seldom=True, batch_id=batch_id, actor=actor, error=str(error))
