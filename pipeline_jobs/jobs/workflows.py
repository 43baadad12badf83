"""Workflows: batches whose jobs have names and may depend on each other, made, seen, cancelled, retried and removed as one.

A workflow is a batch (`docs/decisions/0013-a-workflow-is-a-batch.md`): what is here is names and edges, and what is made of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline_jobs.exceptions import InvalidInput, InvalidItems, JobGone, JobNotEnded, UnknownBatch
from pipeline_jobs.job import Job, NewJob, dumps, stored_field
from pipeline_jobs.jobs import graph
from pipeline_jobs.jobs.batches import MAX_JOBS, Batch, Batches, BatchQuery, Made, NewBatch
from pipeline_jobs.jobs.bulk import Cancelled
from pipeline_jobs.jobs.bulk_ended import BulkAction, BulkDone, each_ended
from pipeline_jobs.jobs.client import MAX_DEPENDENCIES, Again, Client
from pipeline_jobs.jobs.graph import Drawn, Links
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.pages import Page, page
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.store.readable import readable
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE

_DID_NOT_COMPLETE = (JobStatus.FAILED, JobStatus.CANCELLED)
#: What is read of each job: no results, of which a thousand are too much for one answer.
_READ = (
    "job_id", "status", "pipeline", "tenant_id", "workspace_id", "created_at", "batch_id", "name", "depends_on", "on_dependency_failure",
    "reason", "progress", "error_detail",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewNode:
    """A job of a new workflow. `job.depends_on` counts for nothing: what it needs are names."""

    name: str
    job: NewJob
    #: Names of jobs of the workflow that must have ended before it may start.
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewWorkflow:
    """What a client asks for. All jobs are of the workflow's tenant and workspace, whatever they say themselves."""

    nodes: Sequence[NewNode]
    tenant_id: str = DEFAULT_TENANT
    workspace_id: str = DEFAULT_WORKSPACE
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """A job of a workflow."""

    name: str
    job: Job
    #: Names of the jobs that it depends on. Of one whose record is gone the job's id.
    needs: tuple[str, ...]
    #: It is of an earlier workflow, which this one is a retry of: it had completed there.
    kept: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The body that the HTTP API shows."""
        job = self.job
        return {
            "name": self.name,
            "job_id": job.job_id,
            "status": job.status.value,
            "reason": job.reason,
            "pipeline": job.pipeline,
            "progress": job.progress,
            "depends_on": list(self.needs),
            "on_dependency_failure": job.on_dependency_failure if self.needs else None,
            "error_code": (job.error_detail or {}).get("code"),
            "kept": self.kept,
        }


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow with its jobs: each after those that it depends on."""

    batch: Batch
    nodes: tuple[Node, ...]

    @classmethod
    def of_jobs(cls, jobs: Sequence[Job]) -> Workflow:
        """Of a workflow whose record is gone, as the history has its jobs. :raises UnknownBatch: none of them has a name."""
        mine = sorted((job for job in jobs if job.name is not None), key=lambda job: job.order)
        if not mine:
            raise UnknownBatch
        first, names = mine[0], {job.job_id: str(job.name) for job in mine}
        counts = Counter(job.status for job in mine)
        batch = Batch(
            str(first.batch_id), first.tenant_id, first.workspace_id, first.created_at, len(mine), {one: counts[one] for one in JobStatus},
            max((job.completed_at or job.created_at for job in mine), default=None), workflow=True, order=first.order,
        )  # fmt: skip
        return cls(batch, tuple(Node(str(job.name), job, tuple(names.get(need, need) for need in job.depends_on)) for job in mine))

    def drawn(self) -> list[Drawn]:
        """As it is drawn. What a job depends on and is not there is drawn as gone."""
        places = {node.name: number for number, node in enumerate(self.nodes)}
        gone = dict.fromkeys(name for node in self.nodes for name in node.needs if name not in places)
        places.update({name: len(self.nodes) + number for number, name in enumerate(gone)})
        known = [Drawn(one.name, one.job.job_id, one.job.status, tuple(places[name] for name in one.needs)) for one in self.nodes]
        return [*known, *(Drawn(name, name, None, ()) for name in gone)]

    def to_body(self, public_url: str) -> dict[str, Any]:
        """The batch's body, with its jobs and the links of a workflow.

        :param public_url: address of the API without a trailing slash; empty: links are paths.
        """
        return {**body_of(self.batch, public_url), "jobs": [node.to_dict() for node in self.nodes]}


def body_of(batch: Batch, public_url: str) -> dict[str, Any]:
    """A workflow without its jobs, as lists have it."""
    body, link = batch.to_body(public_url), f"{public_url}/pipeline/workflows/{batch.batch_id}"
    own = {"self": link, "cancel": link + "/cancel", "retry": link + "/retry", "events": link + "/events"}
    return {**body, "urls": {**body["urls"], **own, "mermaid": link + ".mmd", "svg": link + ".svg"}}


class Workflows:
    """Workflows, for everybody who is not a worker."""

    def __init__(self, client: Client, batches: Batches) -> None:
        self._client, self._batches, self._store = client, batches, client.store

    def create(self, new: NewWorkflow, *, idempotency_key: str | None = None, sender: Sender | None = None) -> Made:
        """Accept a workflow: all of its jobs, by one script, or none.

        :return: the ids of the jobs in the order of the request.
        :raises InvalidItems: names each wrong job, name and circle.
        :raises InvalidInput: it has no jobs, more than 1,000, or more than 3,000 dependencies.
        :raises TryLater, StoreUnavailable, KeyReused: as `Client.submit`.
        """
        nodes = new.nodes
        if not 0 < len(nodes) <= MAX_JOBS:
            raise InvalidInput(f"a workflow has 1..{MAX_JOBS} jobs", field="jobs")
        needs = [tuple(dict.fromkeys(node.needs)) for node in nodes]
        _check(nodes, needs)
        number_of = {node.name: number for number, node in enumerate(nodes)}
        order = graph.in_order([[number_of[name] for name in names] for names in needs])
        place_of = {nodes[number].name: place for place, number in enumerate(order)}
        links = Links(
            names=[nodes[number].name for number in order],
            needs=[[place_of[name] for name in needs[number]] for number in order],
            form=dumps([[node.name, *names] for node, names in zip(nodes, needs, strict=True)]),
        )
        batch = NewBatch(
            [replace(nodes[number].job, depends_on=()) for number in order],
            new.tenant_id,
            new.workspace_id,
            new.metadata,
        )
        try:
            made = self._batches.create(batch, idempotency_key=idempotency_key, sender=sender, links=links)
        except InvalidItems as error:
            raise InvalidItems([_named(one, nodes, order) for one in error.errors]) from None
        return replace(made, job_ids=tuple(made.job_ids[place_of[node.name]] for node in nodes))

    def get(self, workflow_id: str) -> Workflow:
        """:raises UnknownBatch:"""
        batch = self.record(workflow_id)
        mine = self._jobs(self._store.members_from(0, "batch_jobs", workflow_id))
        theirs = self._jobs(dict.fromkeys(need for job in mine.values() for need in job.depends_on if need not in mine))
        kept = {job_id: job for job_id, job in theirs.items() if job.tenant_id == batch.tenant_id}
        names = {job_id: job.name or job_id for job_id, job in (mine | kept).items()}
        # One that is kept was made before: what it depended on itself is a matter of its own workflow.
        nodes = [Node(names[job_id], job, (), kept=True) for job_id, job in kept.items()]
        nodes += [Node(names[job_id], job, tuple(names.get(need, need) for need in job.depends_on)) for job_id, job in mine.items()]
        return Workflow(batch, tuple(nodes))

    def record(self, workflow_id: str) -> Batch:
        """It without its jobs. :raises UnknownBatch: there is none, or a batch that is no workflow."""
        batch = self._batches.get(workflow_id)
        if not batch.workflow:
            raise UnknownBatch
        return batch

    def list(self, query: BatchQuery) -> Page[Batch]:
        """A page of workflows without their jobs, newest first.

        :raises InvalidInput: the cursor is not one of ours; a workspace without its tenant.
        """
        if query.workspace_id is not None and query.tenant_id is None:
            raise InvalidInput("workspace_id needs tenant_id", field="workspace_id")
        index = self._store.keys("workflows", query.tenant_id or "*", query.workspace_id or "*")
        return page(self._store, "batch", index, query.cursor, query.limit, Batch.from_mapping)

    def cancel(self, workflow_id: str) -> Cancelled:
        """Ask for the end of all its jobs that have not ended, what depends on a job before that job. Safe to repeat.

        :raises UnknownBatch: :raises RateLimited: as `Batches.cancel`.
        """
        self.record(workflow_id)
        return self._batches.cancel(workflow_id)

    def delete(self, workflow_id: str, *, actor: str | None = None) -> BulkDone:
        """Remove up to 100 of the jobs of a workflow that has ended, from the history too; it goes with the last of them. Safe to repeat.

        :raises UnknownBatch: :raises JobNotEnded: cancel it first.
        """
        batch = self.record(workflow_id)
        _check_ended(batch)
        query = JobQuery(tenant_id=batch.tenant_id, batch_id=workflow_id)
        return each_ended(self._client, BulkAction.DELETE, query, dry_run=False, actor=actor)

    def retry(
        self, workflow_id: str, *, idempotency_key: str | None = None, sender: Sender | None = None, within: str | None = None
    ) -> Made:
        """Run what did not complete again, and all behind it: a new workflow, whose jobs depend on the old one's that completed.

        :param within: the only workspace whose jobs it may depend on; None: any of the tenant.
        :raises UnknownBatch: :raises JobNotEnded: cancel it first.
        :raises InvalidInput: all of its jobs have completed.
        :raises JobGone: one that completed, and that is depended on, has been deleted.
        :raises KeyReused, TryLater, StoreUnavailable: as `create`.
        """
        old = self.get(workflow_id)
        _check_ended(old.batch)
        number_of = {node.name: number for number, node in enumerate(old.nodes)}
        needs = [[number_of[name] for name in node.needs if name in number_of] for node in old.nodes]
        again = graph.behind(needs, [n for n, node in enumerate(old.nodes) if node.job.status in _DID_NOT_COMPLETE])
        if not again:
            raise InvalidInput("there is nothing to retry: all jobs of this workflow have completed")
        chosen = [n for n in graph.in_order(needs) if n in again]
        for n in chosen:
            if gone := [name for name in old.nodes[n].needs if name not in number_of]:
                raise JobGone(f"A job on which {old.nodes[n].name} depends has been deleted: {gone[0]}")
        before = self._whole([old.nodes[n].job.job_id for n in chosen])
        place_of = {n: place for place, n in enumerate(chosen)}
        kept = [[old.nodes[need].job for need in needs[n] if need not in again] for n in chosen]
        links = Links(
            names=[old.nodes[n].name for n in chosen],
            needs=[[place_of[need] for need in needs[n] if need in again] for n in chosen],
            kept=[[job.job_id for job in jobs] for jobs in kept],
            fields=[self._of_retry(job, fresh=not again.isdisjoint(needs[n])) for n, job in zip(chosen, before, strict=True)],
            form=f"retry of {workflow_id}",
            retry_of=workflow_id,
            needed=sorted({job.batch_id for jobs in kept for job in jobs if job.batch_id}),
        )
        jobs = [replace(job.asked_again(), on_dependency_failure=job.on_dependency_failure) for job in before]
        batch = NewBatch(jobs, old.batch.tenant_id, old.batch.workspace_id, old.batch.metadata, within)
        return self._batches.create(batch, idempotency_key=idempotency_key, sender=sender, links=links)

    def _of_retry(self, old: Job, *, fresh: bool) -> Sequence[str]:
        """Fields of the new record. :param fresh: what it is given will be other than before: no output of before is used."""
        again = Again(old.job_id, None, "", "", None) if fresh else self._client.again(old)
        values = {"retry_of": again.job_id, "outputs": again.outputs, "blobs": again.blobs, "fresh_from": again.fresh_from}
        return [part for name, value in values.items() if value for part in stored_field(name, value)]

    def _jobs(self, ids: Mapping[str, Any]) -> dict[str, Job]:
        """Those of them that there are, in this order."""
        found = self._store.fields_of_each(_READ, "job", ids)
        flats = ({name: value for name, value in zip(_READ, values, strict=True) if value is not None} for values in found if values[0])
        return {job.job_id: job for job in readable(flats, Job.from_mapping, kind="job")}

    def _whole(self, ids: Sequence[str]) -> Sequence[Job]:
        """:raises JobGone: one has been deleted meanwhile."""
        flats = self._store.records("job", [(job_id,) for job_id in ids])
        if not all(flats):
            raise JobGone("A job of this workflow has been deleted meanwhile.")
        return [Job.from_mapping(flat) for flat in flats]


def _check_ended(batch: Batch) -> None:
    if batch.completed_at is None:
        raise JobNotEnded("The workflow has not ended yet: cancel it first.")


def _check(nodes: Sequence[NewNode], needs: Sequence[Sequence[str]]) -> None:
    """:raises InvalidItems, InvalidInput:"""
    if sum(map(len, needs)) > graph.MAX_EDGES:
        raise InvalidInput(f"the jobs of a workflow depend on each other at most {graph.MAX_EDGES} times", field="jobs")
    found = graph.faults([node.name for node in nodes], needs)
    found += [
        graph.Fault(number, "depends_on", f"at most {MAX_DEPENDENCIES} names")
        for number, names in enumerate(needs)
        if len(names) > MAX_DEPENDENCIES
    ]
    if found:
        raise InvalidItems([
            {"field": f"jobs.{one.number}.{one.field}", "message": f"{nodes[one.number].name}: {one.message}", "code": InvalidInput.code}
            for one in found
        ])  # fmt: skip


def _named(error: Mapping[str, str], nodes: Sequence[NewNode], order: Sequence[int]) -> dict[str, str]:
    """An error of the batch's job as one of the request's, with its name."""
    _, place, *rest = error["field"].split(".")
    number = order[int(place)]
    return {**error, "field": ".".join(("jobs", str(number), *rest)), "message": f"{nodes[number].name}: {error['message']}"}
