"""What the jobs that a job depended on have given: `JobContext.parents` of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

from pipeline_jobs.context import Parent
from pipeline_jobs.exceptions import MachineFault, ResultGone, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, dumps
from pipeline_jobs.jobs.results import fetch
from pipeline_jobs.store.store import Store

#: The fields of a parent's record that are read.
_READ = ("tenant_id", "name", "status", "error", "result")


class Parents(Mapping[str, Parent]):
    """By their names in the workflow; one that has none by its id. Nothing is read before a stage asks.

    :raises MachineFault: (of what is asked) the store cannot be asked now.
    """

    def __init__(self, store: Store, artifacts: ArtifactStore, job: Job) -> None:
        self._store, self._artifacts = store, artifacts
        self._tenant_id, self._ids = job.tenant_id, job.parents or job.depends_on

    def __getitem__(self, name: str) -> Parent:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def digest(self) -> str | None:
        """Stands for all that they gave; None: there are none. What is in a file is another one in each job."""
        if not self._ids:
            return None
        given = [[name, one.status, one.error, one.kept] for name, one in sorted(self._found.items())]
        return hashlib.sha256(dumps(given).encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def _found(self) -> dict[str, Parent]:
        try:
            rows = self._store.fields_of_each(_READ, "job", self._ids)
        except StoreUnavailable as error:
            raise MachineFault(f"the results of other jobs cannot be read: {error}") from error
        found: dict[str, Parent] = {}
        for job_id, row in zip(self._ids, rows, strict=True):
            name, parent = self._parent(job_id, *row)
            # Of two workflows, two may have the same name.
            found[job_id if name in found else name] = parent
        return found

    def _parent(
        self, job_id: str, tenant_id: str | None, name: str | None, status: str | None, error: str | None, result: str | None
    ) -> tuple[str, Parent]:
        # An id whose record is gone may be another's by now.
        if tenant_id != self._tenant_id or status is None:
            return job_id, Parent(job_id, "gone", None, None, _raise_gone)
        kept = json.loads(result) if result else None
        return name or job_id, Parent(job_id, status, error, kept, partial(self._data, job_id, kept))

    def _data(self, job_id: str, kept: Any) -> Any:
        try:
            whole = fetch(self._artifacts, job_id, kept)
        except StoreUnavailable as error:
            raise MachineFault(f"the result of another job cannot be read: {error}") from error
        return whole["data"] if isinstance(whole, Mapping) and "data" in whole else whole


def _raise_gone() -> Any:
    raise ResultGone("The record of this job, and its result with it, has been deleted.")
