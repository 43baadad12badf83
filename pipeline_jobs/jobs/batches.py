"""Batches: up to 1,000 jobs of one workspace in one call, all of them or none, followed and cancelled as one."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import InvalidInput, InvalidItems, UnknownBatch
from pipeline_jobs.job import BATCH_ID, NewJob, dumps, new_batch_id
from pipeline_jobs.jobs.batch_packing import Packed, Packer
from pipeline_jobs.jobs.bulk import Cancelled, at_work, cancel_matching
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.graph import Links
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.jobs.moved import Say, quiet
from pipeline_jobs.records import APART, HIDDEN, Layout, Moment
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import refusals
from pipeline_jobs.store.idempotency import forms_of_batch, idempotency
from pipeline_jobs.store.pages import Page, page
from pipeline_jobs.store.rates import Rate, Sender
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE, check_owner
from pipeline_jobs.tracing import correlation, spans

MAX_JOBS = 1_000
#: Dependencies of all jobs of a batch.
MAX_DEPENDENCIES = 2_000
#: Pages of tags that one call writes after its batch: those of some batches.
MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class WrongJob:
    """Stands for a job of a request that could not be read as one."""

    #: `{"field": "url", "message": ..., "code": ...}`, at least one.
    errors: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a client asks for. All jobs are of the batch's tenant and workspace, whatever they say themselves."""

    jobs: Sequence[NewJob | WrongJob]
    tenant_id: str = DEFAULT_TENANT
    workspace_id: str = DEFAULT_WORKSPACE
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: The only workspace whose jobs they may depend on; None: any of the tenant.
    depends_within: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch, as the store has it. Times are Unix milliseconds by the server's clock."""

    batch_id: str
    tenant_id: str
    workspace_id: str
    created_at: Moment
    #: How many jobs came in it; those that were removed are counted as they ended.
    total: int
    #: Jobs by status, zeros too; their sum is `total`. Stored as a field a status.
    counts: Mapping[JobStatus, int] = field(metadata=APART)
    #: When the last job ended.
    completed_at: Moment | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Its jobs have names and may depend on each other (`workflows.py`).
    workflow: bool = False
    #: The workflow that it is a retry of.
    retry_of: str | None = None
    order: int = field(default=0, metadata=HIDDEN)

    @property
    def status(self) -> JobStatus:
        """`queued`: none has started. `running`: some have. When all have ended: `failed` if one has, else `cancelled` if one was."""
        counts = self.counts
        if counts[JobStatus.QUEUED] == self.total:
            return JobStatus.QUEUED
        if self.completed_at is None:
            return JobStatus.RUNNING
        for status in (JobStatus.FAILED, JobStatus.CANCELLED):
            if counts[status]:
                return status
        return JobStatus.COMPLETED

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str]) -> Batch:
        return cls(**_LAYOUT.read(flat), counts={status: int(flat.get(status, 0)) for status in JobStatus})

    def to_body(self, public_url: str) -> dict[str, Any]:
        """`to_dict` with links, as GET answers it and webhooks carry it.

        :param public_url: address of the API without a trailing slash; empty: links are paths.
        """
        link = f"{public_url}/pipeline/batches/{self.batch_id}"
        urls = {"self": link, "jobs": f"{public_url}/pipeline/jobs?batch_id={self.batch_id}", "cancel": link + "/cancel"}
        return {**self.to_dict(), "urls": urls}

    def to_dict(self) -> dict[str, Any]:
        """The body that the HTTP API shows."""
        counts = {status.value: n for status, n in self.counts.items()}
        return {**_LAYOUT.show(self), "status": self.status.value, "counts": counts}


_LAYOUT = Layout(Batch)


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """Which batches; None: all."""

    tenant_id: str | None = None
    workspace_id: str | None = None
    limit: int = 25
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a new batch."""

    batch: Batch
    #: In the order of the request; None: that one was refused, or was removed since.
    job_ids: tuple[str | None, ...]
    #: `{"field": "jobs.3.url", "message": ..., "code": ...}` for each that was refused.
    errors: tuple[Mapping[str, str], ...] = ()
    #: Submit rates that it was held against.
    rates: tuple[Rate, ...] = ()
    #: The Idempotency-Key had made it before.
    replayed: bool = False


#: What is wrong with jobs, by their numbers.
_Wrong = dict[int, "list[dict[str, str]]"]


class Batches:
    """Batches, for everybody who is not a worker."""

    def __init__(self, client: Client, say: Say = quiet) -> None:
        """:param say: as for `bulk.cancel_matching`."""
        self._client, self._store, self._say = client, client.store, say

    def create(
        self,
        new: NewBatch,
        *,
        partial: bool = False,
        idempotency_key: str | None = None,
        sender: Sender | None = None,
        links: Links | None = None,
    ) -> Made:
        """Accept a batch. When this returns, its jobs are in the store: all of them, by one script.

        :param partial: leave out the jobs that are not as they must be, instead of refusing the batch. It is refused all the same if none
            is left, and when the tenant may not have so many more jobs now: limits count each job, and hold for the batch as a whole.
        :param idempotency_key: as for a single job.
        :param sender: likewise.
        :param links: makes it a workflow.
        :raises InvalidItems: names each wrong job.
        :raises InvalidInput: it has no jobs, or more than 1,000, or more than 2,000 dependencies.
        :raises TryLater, StoreUnavailable, KeyReused: as `Client.submit`.
        """
        if not 0 < len(new.jobs) <= MAX_JOBS:
            raise InvalidInput(f"a batch has 1..{MAX_JOBS} jobs", field="jobs")
        depends = sum([len(job.depends_on) for job in new.jobs if isinstance(job, NewJob)])
        if depends > MAX_DEPENDENCIES:
            raise InvalidInput(f"the jobs of a batch depend on at most {MAX_DEPENDENCIES} others in all", field="jobs")
        check_owner(new.tenant_id, new.workspace_id)
        durably = self._client.guard.check()
        packed, wrong = self._pack(new.jobs)
        if packed.schema:
            self._client.gate.check(packed.schema)
        once = None
        if idempotency_key is not None:
            forms = forms_of_batch(new.tenant_id, new.workspace_id, new.metadata, list(new.jobs))
            if links:
                forms = None, f"{links.form}\n{forms[1]}"
            once = idempotency(idempotency_key, sender, *forms, what="workflow" if links else "batch")
        with spans.root("submit"):
            of_request = chain.from_iterable(correlation.given().items())
        common = [*packed.common, *of_request, "tenant_id", new.tenant_id, "workspace_id", new.workspace_id]
        while True:
            errors = [error for number in sorted(wrong) for error in wrong[number]]
            if not packed.numbers or (errors and not partial):
                raise InvalidItems(errors)
            batch_id, ids = new_batch_id(), list(_draw_ids(self._client.settings.cell, len(packed.items)))
            items = [[*item, *links.own(n, ids)] for n, item in enumerate(packed.items)] if links else packed.items
            reply = self._store.run(
                "submit_batch",
                id=batch_id,
                nonce=secrets.token_hex(8),
                **self._store.acceptance(once, sender),
                depends_within=new.depends_within,
                metadata=dumps(dict(new.metadata)) if new.metadata else None,
                errors=dumps(errors) if errors else None,
                common=dumps([*common, "batch_id", batch_id]),
                size=len(ids),
                **packed.sent(ids, items),
                workflow=links is not None,
                retry_of=links.retry_of if links else None,
                needed=links.needed if links else (),
                durably=durably,
            )
            match reply.became:
                case "ok" if depends:
                    # What they need may have ended badly before they came.
                    self._settle()
                    return replace(self._made(batch_id), rates=Rate.read(reply.rates))
                case "ok":
                    counts = {**dict.fromkeys(JobStatus, 0), JobStatus.QUEUED: len(ids)}
                    created_at, order = int(reply.created_at), int(reply.order)
                    if reply.untagged:
                        self._settle()
                    batch = Batch(
                        batch_id, new.tenant_id, new.workspace_id, created_at, len(ids), counts, metadata=new.metadata,
                        workflow=links is not None, retry_of=links.retry_of if links else None, order=order,
                    )  # fmt: skip
                    placed: dict[int, str | None] = dict.fromkeys(range(len(new.jobs)))
                    placed.update(zip(packed.numbers, ids, strict=True))
                    return Made(batch, tuple(placed.values()), tuple(errors), Rate.read(reply.rates))
                case "same":
                    return replace(self._made(reply.id), replayed=True)
                case "dependency" | "upload":
                    bad = dict(zip(reply.places[::2], reply.places[1::2], strict=True))
                    for place, what in bad.items():
                        wrong[packed.numbers[place]] = _errors(packed.numbers[place], refusals.wrong(reply.became, what))
                    packed = packed.without(set(bad))
                case "taken":
                    # 28 random bits a second: the store decides, we draw again.
                    continue
                case _:
                    raise refusals.refusal(reply)

    def _settle(self) -> None:
        """Until all jobs are found by their tags. A crash right here, or too many others', is made up for by the next beat of a worker."""
        for _ in range(MOST_PAGES):
            if not self._store.settle()[1]:
                break

    def get(self, batch_id: str) -> Batch:
        """:raises UnknownBatch:"""
        flat = self._store.record("batch", batch_id) if BATCH_ID.fullmatch(batch_id) else {}
        if not flat:
            raise UnknownBatch
        return Batch.from_mapping(flat)

    def list(self, query: BatchQuery) -> Page[Batch]:
        """A page of batches, newest first.

        :raises InvalidInput: the cursor is not one of ours; a workspace without its tenant.
        """
        if query.workspace_id is not None and query.tenant_id is None:
            raise InvalidInput("workspace_id needs tenant_id", field="workspace_id")
        index = self._store.keys("batches", query.tenant_id or "*", query.workspace_id or "*")
        return page(self._store, "batch", index, query.cursor, query.limit, Batch.from_mapping)

    def cancel(self, batch_id: str) -> Cancelled:
        """Ask for the end of all its jobs that have not ended. Safe to repeat.

        :raises UnknownBatch:
        :raises RateLimited: another cancellation of the tenant is at work; what this one has done by then is done.
        """
        self.get(batch_id)
        done = cancel_matching(self._store, JobQuery(batch_id=batch_id), dry_run=False, say=self._say)
        if done.next_cursor is not None:
            raise at_work()
        return done

    def cancel_matching(self, query: JobQuery, *, dry_run: bool, operator: bool = False, actor: str | None = None) -> Cancelled:
        """Ask for the end of the live jobs of a list (`bulk.cancel_matching`). :param actor: for the audit log."""
        done = cancel_matching(self._store, query, dry_run=dry_run, operator=operator, say=self._say)
        if done.matched and not dry_run:
            whose = query.tenant_id or audit.INSTALLATION
            audit.record(self._store, actor, "jobs.cancelled", whose, {"matched": done.matched, **query.filters()}, tenant_id=whose)
        return done

    def _pack(self, jobs: Sequence[NewJob | WrongJob]) -> tuple[Packed, _Wrong]:
        """The good ones for the script, and by their numbers what is wrong with the others."""
        numbers, items, kinds = [], [], []
        wrong: _Wrong = {}
        packer = Packer(self._client)
        pack = packer.pack
        for number, new in enumerate(jobs):
            if isinstance(new, WrongJob):
                wrong[number] = [_error(number, **error) for error in new.errors]
                continue
            try:
                item, kind = pack(new)
            except InvalidInput as error:
                wrong[number] = _errors(number, error)
                continue
            items.append(item)
            kinds.append(kind)
            numbers.append(number)
        return Packed.of(numbers, items, kinds, only_urls=packer.only_urls), wrong

    def _made(self, batch_id: str) -> Made:
        """:raises UnknownBatch: it was made before, and has gone since."""
        flat = self._store.record("batch", batch_id)
        if not flat:
            raise UnknownBatch
        batch, errors = Batch.from_mapping(flat), json.loads(flat.get("errors", "[]"))
        left_out = {int(error["field"].split(".")[1]) for error in errors}
        ids: dict[int, str | None] = dict.fromkeys(range(batch.total + len(left_out)))
        numbers = [number for number in ids if number not in left_out]
        # The orders of its jobs are consecutive.
        for job_id, order in self._store.members_from(0, "batch_jobs", batch_id).items():
            ids[numbers[order - batch.order]] = job_id
        return Made(batch, tuple(ids.values()), tuple(errors))


def _draw_ids(cell: int, n: int) -> Collection[str]:
    """So many ids that differ from each other, as `new_job_id` makes one."""
    stem, ids = f"job_{int(time.time())}_{cell:x}", set[str]()
    while len(ids) < n:
        drawn = os.urandom(4 * (n - len(ids))).hex()
        ids.update(stem + drawn[i + 1 : i + 8] for i in range(0, len(drawn), 8))
    return ids


def _errors(number: int, error: InvalidInput) -> list[dict[str, str]]:
    return [_error(number, error.field or "", error.message, error.code)]


def _error(number: int, field: str, message: str, code: str) -> dict[str, str]:
    """With the path from the batch on."""
    return {"field": f"jobs.{number}.{field}" if field else f"jobs.{number}", "message": message, "code": code}
