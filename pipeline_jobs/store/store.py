"""The one door to state: each method is one atomic script (see `lua/`), safe to send twice.

redis-py re-sends a command when a reply was lost, so every script must give the second sending the first one's answer.
Each script ends with the admission, which may dispatch jobs: where the broker is the store's own server it pushes their hints
itself, elsewhere it returns them and `publish` sends them (the rescue covers a crash between the two).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from pipeline_jobs import failpoints
from pipeline_jobs.exceptions import StoreUnavailable, UnknownJob
from pipeline_jobs.job import SCHEMA, Job, dumps
from pipeline_jobs.rates import Sender
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import scripts
from pipeline_jobs.store.connection import connect as connect  # whoever has a store asks it for these two
from pipeline_jobs.store.connection import store_errors as store_errors
from pipeline_jobs.store.keys import Keys
from pipeline_jobs.store.refusals import refusal
from pipeline_jobs.store.wire import Stored, Wire

#: Longest wait for the server's disk at a submit, in ms.
DISK_MS = 5_000
#: Longest message of a stage that is kept, in characters.
MAX_MESSAGE = 500
WORKER_LOST = "the worker process died while it was running the job"
EXPIRED = "the job did not start within its ttl_seconds"


@dataclass(frozen=True, slots=True)
class Hint:
    """A message for the broker: this job may start now, with this fence."""

    job_id: str
    fence: int
    tenant_id: str
    workspace_id: str
    pipeline: str
    #: The job's own message (it came with callbacks or a chain), or None for the common template.
    message: str | None = None


@dataclass(frozen=True, slots=True)
class HintTemplate:
    """How the scripts push a hint themselves."""

    #: Redis list that the broker's queue is.
    queue: str
    #: The whole message as kombu writes it, with @ID@, @FENCE@, @TAG@, @TENANT@, @WORKSPACE@ and @PIPELINE@ to fill in.
    message: str


#: Percentage, stage, message, and the stages that began and ended before, each with its percentage: the arguments of `Store.progress`.
Told = tuple[float, str, str | None, Sequence[tuple[str, float]]]


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """Why a hint was not good for a claim: unknown, stale, schema, or the status the job is in."""

    why: str


@dataclass(frozen=True, slots=True)
class Rescued:
    """What became of a job: queued, failed, cancelled, hint (an unclaimed one was taken back), or stopping (its deadline passed)."""

    job_id: str
    became: str


class Store:
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
        self.client, self.wire = client, Wire(client)
        self.keys = Keys(settings.key_prefix)
        self._publish = publish
        self.ttl_ms = settings.job_ttl_seconds * 1000
        self._lease_ms = _ms(settings.lease_seconds)
        # Three beats may be missed before a worker's slots are taken for gone.
        self._announce_ms = max(3 * _ms(settings.announce_seconds), 3000)
        self._run_ms = _ms(settings.max_run_seconds)
        self._max_crashes = settings.max_crashes
        self._sender_rate = settings.submit_rate_per_key
        self.queue_caps = (settings.max_queued_per_tenant, settings.max_queued)
        self._admission = (
            settings.metrics_tenants,
            settings.metrics_workspaces,
            settings.max_storage_bytes_per_tenant,
            settings.events_per_job,
            settings.events_per_tenant,
            settings.max_concurrent_jobs,
            _ms(settings.hint_seconds),
            template.queue if template else "",
            template.message if template else "",
        )
        self._stored: dict[str, Stored] = {}

    # -- in

    def submit(
        self,
        job: Job,
        *,
        deadline_seconds: float | None = None,
        ttl_seconds: float | None = None,
        nonce: str | None = None,
        message: str | None = None,
        adopt: bool = False,
        durably: bool = False,
        idempotency: tuple[str, str] | None = None,
        depends_within: str | None = None,
        sender: Sender | None = None,
    ) -> Job:
        """Accept a job: record, indexes, counter and, if a slot is free, its hint.

        :param deadline_seconds: from now; then the job fails wherever it is, code `deadline_exceeded`.
        :param ttl_seconds: from now; then the job fails if it has not started, code `expired`.
        :param nonce: makes a repeated call the same submit; drawn if not given.
        :param message: its own Celery message, if the common one will not do.
        :param idempotency: the tenant's key for this request, and a fingerprint of the request.
        :param depends_within: the only workspace whose jobs it may depend on; None: any of the tenant.
        :param sender: whose rate counts besides the tenant's; its `rates` are filled in.
        :param durably: wait until the server has it on its disk (needless where `appendfsync` is `always`).
        :param adopt: its message is at a worker already: dispatched with fence 1.
        :return: the job with the server's `created_at` and `order`.
        :raises IdTaken: another job has the id: draw again.
        :raises QueueFull: the tenant has as many jobs waiting as it may; `StorageFull`: it keeps as many bytes.
        :raises RateLimited: it was too quick.
        :raises StoreFull: the cell has.
        :raises InvalidInput: it depends on a job that is none of the tenant's, or its url names an upload that is not its
            workspace's or not complete.
        :raises AlreadySubmitted: the key made this job before; `KeyReused`: it made another.
        """
        flat = job.to_mapping()
        for name in ("job_id", "status", "created_at", "order", "reason", "fence", "progress", "deadline_at"):
            flat.pop(name, None)
        if message is not None:
            flat["celery"] = message
        fields = [part for pair in flat.items() for part in pair]
        reply = self.run(
            "submit",
            job.job_id,
            nonce or secrets.token_hex(8),
            "1" if adopt else "",
            *self.queue_caps,
            "" if deadline_seconds is None else _ms(deadline_seconds),
            "" if ttl_seconds is None else _ms(ttl_seconds),
            self.ttl_ms,
            *(idempotency or ("", "")),
            depends_within or "",
            *self.sent_by(sender),
            len(flat),
            *fields,
            durably=durably,
        )
        if reply[0] != "ok":
            raise refusal(reply)
        _, created_at, order, reason, fence, deadline_at, rates, hints = reply
        self.sent(sender, rates, hints)
        if job.depends_on:
            # One of them may have ended badly before; a crash right here is made up for by the next beat of a worker.
            self.send(self.run("settle"))
            return self.get(job.job_id)
        return job.evolve(
            created_at=int(created_at),
            order=int(order),
            reason=reason or None,
            fence=int(fence),
            deadline_at=int(deadline_at) if deadline_at else None,
        )

    # -- a run

    def claim(self, job_id: str, fence: int, *, worker: str, run: str, longest: Mapping[str, float] | None = None) -> Job | ClaimRefused:
        """Take the lease of a dispatched job. Stale, doubled and forged hints are refused.

        :param longest: pipelines whose runs may take another time than `max_run_seconds`, and that time in seconds.
        """
        others = [part for name, seconds in (longest or {}).items() for part in (name, _ms(seconds))]
        reply = self.run("claim", job_id, fence, worker, run, self._lease_ms, SCHEMA, self._run_ms, len(others) // 2, *others)
        if reply[0] != "ok":
            return ClaimRefused(reply[1])
        return Job.from_mapping(_mapping(reply[1:]))

    def progress(
        self,
        job_id: str,
        fence: int,
        percent: float | None,
        stage: str = "",
        message: str | None = None,
        passed: Sequence[tuple[str, float]] = (),
    ) -> str:
        """Write a run's progress (0-100), or with None only ask.

        :param passed: stages that began and ended since the last call, and the percentage at which each began.
        :return: `ok`, `cancel` or `fenced`.
        """
        return str(self.run("progress", job_id, fence, *_told(percent, stage, message, passed)))

    def finish(
        self,
        job_id: str,
        fence: int,
        outcome: JobStatus,
        *,
        result: Any = None,
        error: str = "",
        error_detail: Mapping[str, Any] | None = None,
        artifacts: str = "",
        artifact_bytes: int = 0,
        outputs: tuple[str, str] = ("", ""),
        last: Told | None = None,
    ) -> JobStatus | None:
        """End a job.

        :param outputs: of its stages (`outputs.written`).
        :param last: what the run has not told yet, written first.
        :return: the status it ended in (a requested cancel wins), or None: this run has no say.
        """
        encoded = dumps(result)
        meta = f'{{"task_id":{dumps(job_id)},"status":"SUCCESS","traceback":null,"children":[],"result":{encoded}}}'
        detail = dumps(error_detail) if error_detail else "{}"
        told = _told(*last) if last else _told(None)
        status, hints = self.run(
            "finish", job_id, fence, outcome.value, encoded, error, detail, artifacts, artifact_bytes, meta, self.ttl_ms, *outputs, *told
        )
        self.send(hints)
        return None if status == "fenced" else JobStatus(status)

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
        detail = error_detail or _worker_lost_detail(error)
        status, hints = self.run("requeue", job_id, fence, why, _ms(delay_seconds), self._max_crashes, error, dumps(detail), self.ttl_ms)
        self.send(hints)
        return None if status == "fenced" else JobStatus(status)

    def keep_outputs(self, job_id: str, fence: int, outputs: str, blobs: str) -> bool:
        """Note what a run's stages have given so far. :return: False: this run has no say."""
        return bool(self.run("keep_outputs", job_id, fence, outputs, blobs))

    # -- from outside

    def cancel(self, job_id: str) -> JobStatus:
        """Ask for a job's end. :return: its status afterwards. :raises UnknownJob:"""
        status, hints = self.run("cancel", job_id, self.ttl_ms)
        self.send(hints)
        if status == "unknown":
            raise UnknownJob
        return JobStatus(status)

    def change(self, job_id: str, *, priority: int | None = None, run_at: int | None = None) -> bool:
        """Change a waiting job's priority or earliest start (Unix ms; 0: now).

        :return: False: it does not wait any more.
        :raises UnknownJob:
        """
        reply, hints = self.run("change", job_id, "" if priority is None else priority, "" if run_at is None else run_at)
        self.send(hints)
        if reply == "unknown":
            raise UnknownJob
        return bool(reply == "ok")

    def set_limits(self, tenant_id: str, limits: Mapping[str, float | int | bool | None]) -> None:
        """Change limits of a tenant (`*`: the defaults of all); None takes one away. They act on the backlog at once."""
        flat = [part for name, value in limits.items() for part in (name, "" if value is None else str(float(value)))]
        self.send(self.run("set_limits", tenant_id, len(limits), *flat))

    def limits(self, tenant_id: str) -> dict[str, float]:
        """A tenant's own limits (`*`: the defaults), those that are set."""
        with store_errors():
            kept = self.client.hget(self.keys("limits"), tenant_id)
        return {name: float(value) for name, _, value in (one.partition("=") for one in str(kept or "").split(";") if one)}

    def set_pipeline_cap(self, pipeline: str, cap: int | None, *, declared: bool = False) -> None:
        """Most jobs of a pipeline that run at once (None: no cap). It acts on the backlog at once.

        :param declared: it is what the pipeline's code says; one that was set outranks it.
        """
        self.send(self.run("set_pipeline_cap", pipeline, "" if cap is None else cap, "own" if declared else "cap"))

    def delete(self, job_id: str) -> bool:
        """Remove an ended job. :return: False if it has not ended. :raises UnknownJob:"""
        reply = self.run("delete", job_id)
        if reply == "unknown":
            raise UnknownJob
        return bool(reply == "deleted")

    # -- duties

    def announce(self, worker: str, slots: int, jobs: Sequence[tuple[str, int]], *, leaving: bool = False) -> list[str]:
        """A worker's beat. :param jobs: (id, fence) of what it runs. :return: for each `ok`, `cancel` or `fenced`."""
        pairs = [part for pair in jobs for part in pair]
        replies, hints = self.run("announce", worker, slots, 0 if leaving else self._announce_ms, self._lease_ms, len(jobs), *pairs)
        self.send(hints)
        return list(replies)

    def rescue(self, limit: int = 100) -> list[Rescued]:
        """Requeue the jobs whose lease ended, take back unclaimed hints, end what passed its deadline or waited too long."""
        with store_errors():
            # A server that was restarted has another run id: the script then gives every lease its time once more.
            server = str(dict(self.client.info("server"))["run_id"])  # type: ignore[arg-type]
        *done, hints = self.run("rescue", limit, self._max_crashes, WORKER_LOST, EXPIRED, self.ttl_ms, server, self._lease_ms)
        self.send(hints)
        return [Rescued(job_id, became) for job_id, became in done]

    def reconcile(self, after: int = 0, limit: int = 1000) -> tuple[int, int, int | None]:
        """Recount what is counted and look at up to `limit` live jobs from `after` on.

        :return: counters put right, jobs put right, and from where to go on (None: all were looked at).
        """
        counters, jobs, following, hints = self.run("reconcile", after, limit, self.ttl_ms)
        self.send(hints)
        return int(counters), int(jobs), int(following) if following else None

    def purge(self, limit: int = 500) -> int:
        """Remove ended jobs past their TTL, at most `limit`. :return: how many."""
        return int(self.run("purge", limit))

    def tick(self, queue: str, message: str, most: int) -> bool:
        """Push a message of the maintenance queue, full server or not. :return: False: so many wait already."""
        with store_errors():
            return bool(self.wire.run(self._script("tick"), [self.keys.prefix, queue], (message, most, *self._admission)))

    def clear_functions(self) -> int:
        """Remove the functions that other versions left on the server. One of them that still runs loads its own again.

        :return: how many.
        """
        own = {scripts.function(name).name for name in scripts.NAMES}
        try:
            with store_errors():
                listed: Any = self.wire.call("FUNCTION", "LIST", "LIBRARYNAME", f"{scripts.FUNCTION_PREFIX}*")
                others = {row[row.index("library_name") + 1] for row in listed} - own
                for name in others:
                    self.wire.call("FUNCTION", "DELETE", name)
        except redis.ResponseError:
            # The server takes no functions, or another maintenance worker has removed it.
            return 0
        return len(others)

    def beat(self, duty: str) -> None:
        """Note that a duty of maintenance ran now."""
        self.run("beat", duty)

    # -- reading

    def get(self, job_id: str) -> Job:
        """:raises UnknownJob:"""
        with store_errors():
            flat = self.wire.call("HGETALL", self.keys("job", job_id))
        if not flat:
            raise UnknownJob
        return Job.from_mapping(_mapping(flat))

    def secret(self) -> str:
        """The key that signs links: drawn once for the cell."""
        with store_errors():
            self.client.set(self.keys("secret"), secrets.token_urlsafe(32), nx=True)
            return str(self.client.get(self.keys("secret")))

    def take_trash(self, limit: int = 100) -> list[str]:
        """Folders of artifacts to delete; call `drop_trash` when they are gone."""
        with store_errors():
            return list(self.client.lrange(self.keys("trash"), 0, limit - 1))  # type: ignore[arg-type]

    def drop_trash(self, folders: Iterable[str]) -> None:
        with store_errors():
            for folder in folders:
                self.client.lrem(self.keys("trash"), 1, folder)

    def tenant_bytes(self, tenant_id: str) -> int:
        """Bytes that a tenant keeps: artifacts, outputs of stages, and its uploads."""
        with store_errors():
            kept: list[Any] = self.client.hmget(self.keys("usage", tenant_id), ["artifact_bytes", "output_bytes", "upload_bytes"])  # type: ignore[assignment]
        return sum(int(value or 0) for value in kept)

    # -- for the modules beside this one

    def run(self, name: str, *arguments: Any, durably: bool = False) -> Any:
        """A script by its name. :param durably: wait until the server has its writes on its disk, as in `submit`."""
        if not durably:
            with store_errors():
                return self.wire.run(self._script(name), [self.keys.prefix], (*arguments, *self._admission))
        with store_errors(), self.client.pipeline(transaction=False) as pipe:
            # WAITAOF speaks of the writes of its own connection: both must go the same way.
            self._script(name).script(keys=[self.keys.prefix], args=[*arguments, *self._admission], client=pipe)
            pipe.execute_command("WAITAOF", 1, 0, DISK_MS)  # type: ignore[no-untyped-call]
            reply, (on_disk, _) = pipe.execute()
        if on_disk < 1:
            raise StoreUnavailable("the server did not write the job to its disk in time")
        return reply

    def run_on(self, name: str, indexes: Sequence[str], *arguments: Any) -> Any:
        """A script that reads indexes of jobs."""
        with store_errors():
            return self.wire.run(self._script(name), [self.keys.prefix, *indexes], (*arguments, *self._admission))

    def read_scripts(self, name: str, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a script that only reads, once with each of these arguments, in one round trip."""
        if not calls:
            return []
        stored = self._script(name)
        with store_errors():
            if len(calls) == 1:
                return [self.wire.run(stored, [self.keys.prefix], tuple(calls[0]))]
            with self.client.pipeline(transaction=False) as pipe:
                for arguments in calls:
                    stored.script(keys=[self.keys.prefix], args=arguments, client=pipe)
                return list(pipe.execute())

    def _script(self, name: str) -> Stored:
        """Made when it is first asked for: a process uses few of them."""
        found = self._stored.get(name)
        if found is None:
            found = self._stored[name] = Stored(self.client.register_script(scripts.source(name)), scripts.function(name))
        return found

    def sent_by(self, sender: Sender | None) -> tuple[str, float]:
        """What the submitting scripts ask of a sender."""
        return sender.principal if sender else "", self._sender_rate

    def sent(self, sender: Sender | None, rates: Sequence[str], hints: Sequence[Sequence[str]]) -> None:
        """What they answer: the rates are noted, the hints sent."""
        if sender is not None:
            sender.note(rates)
        self.send(hints)

    def send(self, hints: Sequence[Sequence[str]]) -> None:
        """Publish what a script returned, where the broker is another server."""
        if hints and self._publish is not None:
            failpoints.reach("submit.before_publish")
            self._publish([Hint(h[0], int(h[1]), h[2], h[3], h[4], h[5] or None) for h in hints])


def _told(percent: float | None, stage: str = "", message: str | None = None, passed: Sequence[tuple[str, float]] = ()) -> list[Any]:
    """What a run tells, as progress and finish take it."""
    flat = [part for pair in passed for part in pair]
    return ["" if percent is None else percent, stage, (message or "")[:MAX_MESSAGE], len(passed), *flat]


def _worker_lost_detail(error: str) -> dict[str, Any]:
    return {"code": "worker_lost", "message": error, "stage": None, "retryable": True}


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _mapping(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
