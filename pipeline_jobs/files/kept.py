"""Folders of artifacts that are kept after the record of their job, as long as `PIPELINE_ARTIFACT_TTL_SECONDS` or the job's own
`retain_seconds` say. While the record is there, it says where the artifacts are; the purge that removes it leaves a row here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.records import HIDDEN, Layout, Moment
from pipeline_jobs.store.pages import Page, page
from pipeline_jobs.store.store import Store

#: Rows that one script removes.
PAGE = 100


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """The files of a job whose record was removed. Times are Unix milliseconds."""

    job_id: str
    tenant_id: str
    workspace_id: str
    #: Relative to the artifact store.
    path: str = field(metadata=HIDDEN)
    bytes: int
    #: When it may be removed.
    expires_at: Moment
    order: int = field(metadata=HIDDEN)

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str]) -> KeptFolder:
        return cls(**_LAYOUT.read(flat))

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return _LAYOUT.show(self)


_LAYOUT = Layout(KeptFolder)


class KeptFolders:
    """The kept folders of a cell. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, job_id: str, tenant_id: str | None = None) -> KeptFolder:
        """:param tenant_id: whose job it was; None: any tenant's, the earliest of those that used the id.

        :raises UnknownJob: none is kept of such a job.
        """
        # Both are read in any case: how long it takes tells nobody whether another tenant has one (`lua/lib/folders.lua`).
        for flat in [self._store.record("kept", name) for name in (job_id, f"{job_id}@{tenant_id or ''}")]:
            if flat and tenant_id in (None, flat["tenant_id"]):
                return KeptFolder.from_mapping(flat)
        raise UnknownJob

    def page(self, tenant_id: str, workspace_id: str | None = None, *, cursor: str | None = None, limit: int = 25) -> Page[KeptFolder]:
        """Folders of a tenant, that of the newest job first.

        :param workspace_id: only of this one: others' are passed over, so that a page may be short and still have a next one.
        :raises InvalidInput: the cursor is not one of ours.
        """
        index = self._store.keys("tenant_kept", tenant_id)
        return page(self._store, "kept", index, cursor, limit, KeptFolder.from_mapping, workspace_id=workspace_id)

    def delete(self, folder: KeptFolder) -> None:
        """Remove the record of a folder; the purge deletes its files. :raises UnknownJob: it is gone."""
        if not self._store.run("drop_kept", id=folder.job_id, tenant=folder.tenant_id):
            raise UnknownJob

    def purge(self) -> int:
        """Remove the folders whose time is over. :return: how many."""
        removed = 0
        while True:
            count = int(self._store.run("purge_kept", limit=PAGE))
            removed += count
            if count < PAGE:
                return removed


def erase(store: Store, tenant_id: str) -> None:
    """Remove all of a tenant's rows."""
    for job_id in store.members("tenant_kept", tenant_id):
        store.run("drop_kept", id=job_id, tenant=tenant_id)
