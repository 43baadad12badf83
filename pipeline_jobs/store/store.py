"""All access to the stored state: each method is one atomic script (see `lua/`), safe to send twice.

redis-py re-sends a command when a reply was lost, so every script must give the second sending the first one's answer.
Each script that frees a slot or brings a job ends with the admission, which may dispatch jobs: where the broker is the store's own server
it pushes their hints itself, elsewhere it returns them and `run` sends them by `publish` (the rescue covers a crash between the two).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from pipeline_jobs.exceptions import JobGone, UnknownJob
from pipeline_jobs.job import SCHEMA, Job, dumps
from pipeline_jobs.pipelines import ANY, NO_CLASS, WorkerClass
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus, Reason
from pipeline_jobs.store.connection import connect as connect  # whoever has a store asks it for these three
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.contract import ms
from pipeline_jobs.store.idempotency import Accepted, Idempotency
from pipeline_jobs.store.job_changes import JobChanges
from pipeline_jobs.store.keys import Keys
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.store.readable import known
from pipeline_jobs.store.reader import mapping
from pipeline_jobs.store.refusals import refusal
from pipeline_jobs.store.runner import Hint as Hint
from pipeline_jobs.store.runs import WORKER_LOST, Rescued, ended, told_of, worker_lost_detail
from pipeline_jobs.store.runs import Taker as Taker
from pipeline_jobs.store.runs import Told as Told
from pipeline_jobs.store.scripts import HintTemplate as HintTemplate
from pipeline_jobs.tenants import ANYBODYS, Whose

EXPIRED = "the job did not start within its start_within_seconds"


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """Why a hint was not good for a claim: unknown, stale, schema, pool, pipeline (not known here), or the status the job is in."""

    why: str


class Store(JobChanges):
    """The records of all jobs of a cell."""

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        *,
        template: HintTemplate | None = None,
        publish: Callable[[Sequence[Hint]], None] | None = None,
    ) -> None:
        """:param template: push hints in the scripts (the broker is this server); else `publish` gets them."""
        super().__init__(client, settings, template, publish)
        self._run_ms = ms(settings.max_run_seconds)
        #: Bytes of the server's memory that a tenant may hold if it is to get more jobs; -1: any number. The guard keeps it up to date.
        self.share = -1

    # -- in

    def submit(
        self,
        job: Job,
        *,
        nonce: str | None = None,
        message: str | None = None,
        adopt: int | None = None,
        durably: bool = False,
        idempotency: Idempotency | None = None,
        depends_within: str | None = None,
        sender: Sender | None = None,
    ) -> Accepted:
        """Accept a job: record, indexes, counter and, if a slot is free, its hint.

        :param nonce: makes a repeated call the same submit; drawn if not given.
        :param message: its own Celery message, if the common one will not do.
        :param idempotency: the tenant's key for this request.
        :param depends_within: the only workspace whose jobs it may depend on; None: any of the tenant.
        :param sender: whose rate counts besides the tenant's.
        :param durably: wait until the server has it on its disk (needless where `appendfsync` is `always`).
        :param adopt: its message is at a worker already, which drew this fence for it: dispatched with that.
        :return: the job with the server's `created_at` and `order`; or the one that the key made before.
        :raises IdTaken: another job has the id: draw again.
        :raises QueueFull: the tenant has as many jobs waiting as it may; `StorageFull`: it keeps as many bytes; `MemoryFull`: it
            holds more than its share of the memory.
        :raises RateLimited: it was too quick.
        :raises StoreFull: the cell has.
        :raises InvalidInput: it depends on a job that is none of the tenant's, or its url names an upload that is not its
            workspace's or not complete.
        :raises KeyReused: the key made the job of another request; `JobGone`: its job was removed since.
        """
        fields = job.accepted_mapping()
        if message is not None:
            fields["celery"] = message
        reply = self.run(
            "submit",
            id=job.job_id,
            nonce=nonce or os.urandom(8).hex(),
            adopt=adopt,
            deadline=job.deadline_seconds,
            wait=job.start_within_seconds,
            **self.acceptance(idempotency, sender),
            depends_within=depends_within,
            fields=fields,
            durably=durably,
        )
        if reply.became == "same":
            return self.made_before(reply.id)
        if reply.became == "waits":
            return Accepted(job.evolve(created_at=int(reply.created_at), order=int(reply.order), reason=Reason.FAIR_SHARE), reply.rates)
        if reply.became != "ok":
            raise refusal(reply)
        if job.depends_on:
            # One of them may have ended badly before; a crash right here is made up for by the next beat of a worker.
            self.settle()
            return Accepted(self.get(job.job_id), reply.rates)
        made = job.evolve(
            created_at=int(reply.created_at),
            order=int(reply.order),
            reason=reply.reason or None,
            fence=int(reply.fence),
            deadline_at=int(reply.deadline_at) if reply.deadline_at else None,
        )
        return Accepted(made, reply.rates)

    def made_before(self, job_id: str) -> Accepted:
        """The job that an Idempotency-Key made before, as it is by now. :raises JobGone:"""
        try:
            return Accepted(self.get(job_id), replayed=True)
        except UnknownJob:
            raise JobGone from None

    def acceptance(self, idempotency: Idempotency | None, sender: Sender | None) -> dict[str, Any]:
        """What every script that accepts jobs is given: the request's key, whose rate counts, a tenant's share of the memory."""
        key, fingerprint = idempotency or (None, None)
        return {"idempotency": key, "fingerprint": fingerprint, "sender": sender.principal if sender else None, "share": self.share}

    # -- a run

    def claim(
        self, job_id: str, fence: int, *, worker: str, run: str, pipelines: Mapping[str, float | None] = ANY, pool: str = ""
    ) -> Job | ClaimRefused:
        """Take the lease of a dispatched job. Stale, doubled and forged hints are refused.

        :param pipelines: those that the worker knows, and how long a run of each may take, in seconds (None: `max_run_seconds`).
        :param pool: that it serves.
        """
        reply = self.run(
            "claim", id=job_id, fence=fence, worker=worker, run=run, schema=SCHEMA, run_ms=self._run_ms, pool=pool,
            pipelines=[(name, "" if longest is None else ms(longest)) for name, longest in pipelines.items()],
        )  # fmt: skip
        if reply.became != "ok":
            return ClaimRefused(reply.why)
        return Job.from_mapping(mapping(reply.record))

    def progress(
        self,
        job_id: str,
        fence: int,
        percent: float | None,
        stage: str = "",
        message: str | None = None,
        passed: Sequence[tuple[str, float | str]] = (),
    ) -> str:
        """Write a run's progress (0-100), or with None only ask; while the answer is `ok`, its lease is renewed.

        :param passed: what came since the last call (`Told`): stages that began and ended, and warnings.
        :return: `ok`, `cancel` or `fenced`.
        """
        return str(self.run("progress", id=job_id, fence=fence, **told_of(percent, stage, message, passed)))

    def requeue(
        self,
        job_id: str,
        fence: int,
        why: str,
        *,
        delay_seconds: float = 0,
        error: str = WORKER_LOST,
        error_detail: Mapping[str, Any] | None = None,
    ) -> JobStatus | None:
        """Give a running job back.

        :param why: `crash`, `retry`, `handback`, or `fault`: this machine cannot run it; it waits 1 s, then twice as long each time.
        :return: its status now, or None: this run has no say.
        """
        detail = error_detail or worker_lost_detail(error)
        reply = self.run(
            "requeue", id=job_id, fence=fence, why=why, delay=delay_seconds, error=error, detail=dumps(detail),
        )  # fmt: skip
        return ended(reply.status)

    def keep_outputs(self, job_id: str, fence: int, outputs: str, blobs: str) -> bool:
        """Note what a run's stages have given so far. :return: False: this run has no say."""
        return bool(self.run("keep_outputs", id=job_id, fence=fence, outputs=outputs, blobs=blobs))

    def output_stored(self, job_id: str, fence: int, tenant_id: str, blobs: Iterable[str], key: str, output: str, most: int) -> bool:
        """The files of an output are there. :param key: for which other jobs may use it; empty: they may not. :param most: bytes of a
        tenant's outputs that others may. :return: False: this run has no say, and what of them nobody names will be removed."""
        return bool(
            self.run("output_stored", id=job_id, fence=fence, tenant=tenant_id, blobs=",".join(blobs), key=key, output=output, most=most)
        )

    def take_output(self, job_id: str, fence: int, stage: str, key: str, outputs: str, blobs: str) -> str:
        """Put an output of another job behind those of a run. :return: it, as the record has it; empty: there is none for this key."""
        return str(self.run("take_output", id=job_id, fence=fence, stage=stage, key=key, outputs=outputs, blobs=blobs))

    def append_log(self, job_id: str, fence: int, last: int, pieces: Sequence[str], file: str = "") -> bool:
        """Add lines to a job's log.

        :param last: number of the last line that they speak for.
        :param file: that has the run's whole log, `{first}:{last}:{sha256}-{bytes}`.
        :return: False: this run has no say.
        """
        return bool(self.run("append_log", id=job_id, fence=fence, last=last, file=file, pieces=pieces))

    # -- from outside

    def set_limits(self, tenant_id: str, limits: Mapping[str, float | int | bool | None]) -> None:
        """Change limits of a tenant (`*`: the defaults of all); None takes one away. They act on the backlog at once."""
        self.run("set_limits", tenant=tenant_id, changes={name: "" if value is None else float(value) for name, value in limits.items()})

    def limits(self, tenant_id: str) -> dict[str, float]:
        """A tenant's own limits (`*`: the defaults), those that are set."""
        (kept,) = self.fields([tenant_id], "limits")
        return {name: float(value) for name, _, value in (one.partition("=") for one in (kept or "").split(";") if one)}

    def set_pipeline_cap(self, pipeline: str, cap: int | None, *, declared: bool = False) -> None:
        """Most jobs of a pipeline that run at once (None: no cap). It acts on the backlog at once.

        :param declared: it is what the pipeline's code says; one that was set outranks it.
        """
        self.run("set_pipeline_cap", pipeline=pipeline, most=cap, which="own" if declared else "cap")

    def set_max_concurrent_jobs(self, cap: int | None, pool: str = "") -> int | None:
        """Set a pool's cap (None: it has none). It acts on the backlog at once; what runs goes on.

        :return: what it was; None: nobody had set it.
        """
        before = self.run("set_max_concurrent_jobs", most=cap, pool=pool).before
        return int(before) if before else None

    # -- duties

    def announce(
        self,
        worker: str,
        slots: int,
        jobs: Sequence[tuple[str, int]],
        *,
        leaving: bool = False,
        paused: str = "",
        kind: WorkerClass = NO_CLASS,
        warning: str = "",
        pool: str = "",
    ) -> list[str]:
        """A worker's beat.

        :param jobs: (id, fence) of what it runs. :param paused: why it takes none. :param kind: its class.
        :param warning: what an operator should know of it. :param pool: that it serves.
        :return: for each `ok`, `cancel` or `fenced`.
        """
        beat = self.run(
            "announce", worker=worker, slots=slots, leaving=leaving, paused=paused, kind=kind.name, text=kind.text,
            warning=warning, pool=pool, jobs=jobs,
        )  # fmt: skip
        return list(beat.replies)

    def rescue(self, limit: int = 100) -> list[Rescued]:
        """Requeue the jobs whose lease ended, take back unclaimed hints, end what passed its deadline or waited too long.

        :return: what one script did: ask again until there is nothing.
        """
        reply = self.run(
            "rescue", limit=limit, lost=WORKER_LOST, waited=EXPIRED,
            # A server that was restarted has another run id: the script then gives every lease its time once more.
            server=str(self.info("server")["run_id"]),
        )  # fmt: skip
        return [Rescued(job_id, became) for job_id, became in reply.done]

    def purge(self, limit: int = 500, keep: int = -1) -> int:
        """Remove ended jobs past their TTL: a page of at most `limit`.

        :param keep: of each tenant so many stay that are not in the history yet; -1: all.
        :return: how many were removed.
        """
        return int(self.run("purge", limit=limit, keep=keep).removed)

    def tick(self, queue: str, message: str, most: int) -> bool:
        """Push a message of the maintenance queue, full server or not. :return: False: so many wait already."""
        return bool(self.run("tick", keys=[queue], message=message, most=most))

    def beat(self, duty: str) -> None:
        """Note that a duty of maintenance ran now."""
        self.run("beat", duty=duty)

    def announce_api(self, process: str, life_ms: int) -> int:
        """An API process is there for so long. :return: how many are."""
        return int(self.run("announce_api", process=process, life=life_ms).processes)

    # -- reading

    def get(self, job_id: str, whose: Whose = ANYBODYS) -> Job:
        """:raises UnknownJob: there is none, or it is not theirs."""
        return known(self.record("job", job_id), whose)

    def get_and_ask(self, job_id: str, whose: Whose, script: str) -> tuple[Job, Any]:
        """A job, and what a script that only reads replies of it, in one round trip: it may have changed in between. :raises UnknownJob:"""
        flat, reply = self.record_and_run(("job", job_id), script, id=job_id)
        return known(flat, whose), reply

    def secret(self) -> str:
        """The key that signs links: drawn once for the cell."""
        self.set_text(secrets.token_urlsafe(32), "secret", once=True)
        return str(self.text("secret"))

    def take_trash(self) -> list[str]:
        """Some folders of artifacts to delete; call `drop_trash` when they are gone."""
        return self.lines("trash", most=100)

    def names_again(self, path: str) -> bool:
        """Whether what lies under a path of the trash is a kept file that a record names."""
        tenant, _, blob = path.partition("/_outputs/")
        return bool(blob) and self.fields([blob], "outputs", tenant)[0] is not None

    def drop_trash(self, folders: Iterable[str]) -> None:
        for folder in folders:
            self.drop_line(folder, "trash")

    def forget_tenant(self, tenant_id: str) -> bool:
        """Remove a tenant's figures, rates, keys of requests and limits: what has no record of its own.

        :return: False: it has jobs or files, which have come meanwhile.
        """
        with store_errors():
            days, remembered = [
                list(self.client.scan_iter(self.keys(name, tenant_id, "*"), count=1000)) for name in ("usage_day", "idempotency")
            ]
        # Of one that has jobs again nothing goes: by their keys its requests are known, and in its places its workspaces wait.
        if not self.run("forget_tenant", tenant=tenant_id, days=[key.rpartition(":")[2] for key in days]):
            return False
        with store_errors():
            for start in range(0, len(remembered), 1000):
                self.client.delete(*remembered[start : start + 1000])
        for keys in self.keys_of_pools():
            self._forget_blocked(keys, tenant_id)
        return True

    def _forget_blocked(self, keys: Keys, tenant_id: str) -> None:
        """Its workspaces wait for no full pipeline any more."""
        with store_errors():
            for pipeline in self.client.smembers(keys("blocking")):
                found = self.client.zscan_iter(keys("blocked", pipeline), f"{tenant_id}:*", count=1000)
                if theirs := [member for member, _ in found]:
                    self.client.zrem(keys("blocked", pipeline), *theirs)

    def tenant_bytes(self, tenant_id: str) -> int:
        """Bytes that a tenant keeps: artifacts, outputs of stages, and its uploads."""
        return sum(int(value or 0) for value in self.fields(["artifact_bytes", "output_bytes", "upload_bytes"], "usage", tenant_id))
