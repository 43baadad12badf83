"""Jobs whose records are gone, and what there still is of them: their rows in the history, and the folders of files that are kept longer.

The files go first: should a deletion end in between, the request that comes again finds the rows, and what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.files.kept import KeptFolders
from pipeline_jobs.job import Job
from pipeline_jobs.jobs import listing
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.store.pages import Page
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import Whose

if TYPE_CHECKING:
    from pipeline_jobs.history.history import History


class GoneJobs:
    """A cell's jobs whose records are gone. Every method raises `StoreUnavailable` when the store, or the database, cannot be asked."""

    def __init__(self, store: Store, kept: KeptFolders, history: History | None) -> None:
        """:param history: None: the cell has none, and of a job without a record there are files at most."""
        self._store, self._kept, self._history = store, kept, history

    def page(self, query: JobQuery) -> Page[Job]:
        """A page of all jobs, those with a record among them (`History.page`)."""
        return listing.page(self._store, query) if self._history is None else self._history.page(query)

    def tenant_of(self, job_id: str) -> str:
        """The tenant of the job that had this id. :raises UnknownJob: there is nothing of it."""
        with suppress(UnknownJob):
            return self._kept.get(job_id).tenant_id
        if self._history is None:
            raise UnknownJob
        return self._history.get(job_id).tenant_id

    def delete(self, job_id: str, whose: Whose) -> None:
        """Delete what there is of this id. :raises UnknownJob: nothing, or it is not theirs."""
        found = self._drop_folder(job_id, whose)
        if self._history is not None:
            with suppress(UnknownJob):
                self._history.delete(job_id, whose)
                found = True
        if not found:
            raise UnknownJob

    def delete_all(self, jobs: Sequence[Job]) -> None:
        """Delete what there is of these. Safe to repeat."""
        for job in jobs:
            self._drop_folder(job.job_id, Whose(job.tenant_id), job.order)
        if self._history is not None:
            self._history.bury([(job.job_id, job.order) for job in jobs])

    def delete_workflow(self, workflow_id: str, whose: Whose, most: int, *, actor: str) -> tuple[int, bool]:
        """Delete so many jobs of a workflow, by what the history has of it.

        :param actor: for the audit log.
        :return: how many, and whether some are left.
        """
        if self._history is None:
            return 0, False
        jobs, more = self._history.of_workflow(workflow_id, whose, most)
        self.delete_all(jobs)
        if jobs:
            tenant_id = jobs[0].tenant_id
            row = {"done": len(jobs), "batch_id": workflow_id}
            audit.record(self._store, actor, "jobs.deleted", tenant_id, row, tenant_id=tenant_id)
        return len(jobs), more

    def _drop_folder(self, job_id: str, whose: Whose, order: int | None = None) -> bool:
        """:param order: of the job that is meant; None: of any. :return: whether there was one."""
        with suppress(UnknownJob):
            folder = self._kept.get(job_id, whose.tenant_id)
            if whose.has(folder.tenant_id, folder.workspace_id) and order in (None, folder.order):
                self._kept.delete(folder)
                return True
        return False
