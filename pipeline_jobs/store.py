"""The one door to state: each method is one atomic script (see `lua/`), safe to send twice.

redis-py re-sends a command when a reply was lost, so every script must give the second sending the first one's answer.
Each script ends with the admission, which may dispatch jobs: where the broker is the store's own server it pushes their hints
itself, elsewhere it returns them and `publish` sends them (the rescue covers a crash between the two).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.commands.core import Script

from pipeline_jobs import failpoints, scripts
from pipeline_jobs.exceptions import (
    AlreadySubmitted,
    IdTaken,
    InvalidInput,
    KeyReused,
    PipelineJobsError,
    QueueFull,
    RateLimited,
    StorageFull,
    StoreFull,
    StoreUnavailable,
    UnknownJob,
    WebhooksFull,
)
from pipeline_jobs.job import SCHEMA, Job, dumps
from pipeline_jobs.keys import Keys
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.wire import Wire

#: Longest wait for the server's disk at a submit, in ms.
DISK_MS = 5_000
#: Longest message of a stage that is kept, in characters.
MAX_MESSAGE = 500
WORKER_LOST = "the worker process died while it ran the job"
EXPIRED = "the job did not start before its ttl_seconds had passed"


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


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """Why a hint was not good for a claim: unknown, stale, schema, or the status the job is in."""

    why: str


@dataclass(frozen=True, slots=True)
class Rescued:
    """What became of a job: queued, failed, cancelled, hint (an unclaimed one was taken back), or stopping (its deadline passed)."""

    job_id: str
    became: str


def connect(url: str) -> redis.Redis:
    """A thread-safe client with bounded waits. Text in, text out."""
    return redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=10, socket_connect_timeout=5, health_check_interval=30, protocol=2
    )


@contextmanager
def store_errors() -> Iterator[None]:
    """Server and connection trouble as `StoreUnavailable`; no key or value in its text."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreUnavailable("the store cannot be reached") from error
    except (redis.exceptions.OutOfMemoryError, redis.exceptions.ReadOnlyError) as error:
        raise StoreUnavailable("the store cannot write now") from error
    except UnicodeEncodeError:
        raise InvalidInput("text is not valid Unicode") from None
    except redis.ResponseError as error:
        # OOM and MISCONF (disk full) come out of a script as a plain ResponseError.
        if any(word in str(error) for word in ("OOM", "MISCONF", "LOADING", "READONLY", "MASTERDOWN")):
            raise StoreUnavailable("the store cannot write now") from error
        raise


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
        self._ttl_ms = settings.job_ttl_seconds * 1000
        self._lease_ms = _ms(settings.lease_seconds)
        # Three beats may be missed before a worker's slots are taken for gone.
        self._announce_ms = max(3 * _ms(settings.announce_seconds), 3000)
        self._max_crashes = settings.max_crashes
        self._queue_caps = (settings.max_queued_per_tenant, settings.max_queued)
        self._admission = (
            settings.events_per_job,
            settings.events_per_tenant,
            settings.max_concurrent_jobs,
            _ms(settings.hint_seconds),
            template.queue if template else "",
            template.message if template else "",
        )
        self._scripts: dict[str, Script] = {name: client.register_script(scripts.source(name)) for name in scripts.NAMES}

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
    ) -> Job:
        """Accept a job: record, indexes, counter and, if a slot is free, its hint.

        :param deadline_seconds: from now; then the job fails wherever it is, code `deadline_exceeded`.
        :param ttl_seconds: from now; then the job fails if it has not started, code `expired`.
        :param nonce: makes a repeated call the same submit; drawn if not given.
        :param message: its own Celery message, if the common one will not do.
        :param idempotency: the tenant's key for this request, and a fingerprint of the request.
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
        reply = self._durably(
            "submit",
            durably,
            job.job_id,
            nonce or secrets.token_hex(8),
            "1" if adopt else "",
            *self._queue_caps,
            "" if deadline_seconds is None else _ms(deadline_seconds),
            "" if ttl_seconds is None else _ms(ttl_seconds),
            self._ttl_ms,
            *(idempotency or ("", "")),
            len(flat),
            *fields,
        )
        if reply[0] != "ok":
            raise refusal(reply)
        _, created_at, order, reason, fence, deadline_at, _rate, _left, hints = reply
        self._send(hints)
        if job.depends_on:
            # One of them may have ended badly before; a crash right here is made up for by the next beat of a worker.
            self._send(self._run("settle"))
            return self.get(job.job_id)
        return job.evolve(
            created_at=int(created_at),
            order=int(order),
            reason=reason or None,
            fence=int(fence),
            deadline_at=int(deadline_at) if deadline_at else None,
        )

    def submit_batch(
        self, durably: bool, batch_id: str, key: str, fingerprint: str, *, metadata: str, errors: str, common: str, jobs: str
    ) -> Sequence[Any]:
        """Accept many jobs as one (`batches` packs them, see `lua/submit_batch.lua`). :return: the script's reply."""
        nonce = secrets.token_hex(8)
        reply: Sequence[Any] = self._durably(
            "submit_batch", durably, batch_id, nonce, *self._queue_caps, self._ttl_ms, key, fingerprint, metadata, errors, common, jobs
        )
        if reply[0] == "ok":
            self._send(reply[3])
            if '"depends_on"' in jobs:
                self._send(self._run("settle"))
        return reply

    # -- a run

    def claim(self, job_id: str, fence: int, *, worker: str, run: str) -> Job | ClaimRefused:
        """Take the lease of a dispatched job. Stale, doubled and forged hints are refused."""
        reply = self._run("claim", job_id, fence, worker, run, self._lease_ms, SCHEMA)
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
        known = "" if percent is None else percent
        flat = [part for pair in passed for part in pair]
        return str(self._run("progress", job_id, fence, known, stage, (message or "")[:MAX_MESSAGE], len(passed), *flat))

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
    ) -> JobStatus | None:
        """End a job. :return: the status it ended in (a requested cancel wins), or None: this run has no say."""
        encoded = dumps(result)
        meta = f'{{"task_id":{dumps(job_id)},"status":"SUCCESS","traceback":null,"children":[],"result":{encoded}}}'
        status, hints = self._run(
            "finish", job_id, fence, outcome.value, encoded, error, dumps(error_detail or {}), artifacts, artifact_bytes, meta, self._ttl_ms
        )
        self._send(hints)
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
        """Give a running job back. :param why: `crash`, `retry` or `handback`. :return: its status now, or None: this run has no say."""
        detail = error_detail or _worker_lost_detail(error)
        status, hints = self._run("requeue", job_id, fence, why, _ms(delay_seconds), self._max_crashes, error, dumps(detail), self._ttl_ms)
        self._send(hints)
        return None if status == "fenced" else JobStatus(status)

    # -- from outside

    def cancel(self, job_id: str) -> JobStatus:
        """Ask for a job's end. :return: its status afterwards. :raises UnknownJob:"""
        status, hints = self._run("cancel", job_id, self._ttl_ms)
        self._send(hints)
        if status == "unknown":
            raise UnknownJob
        return JobStatus(status)

    def change(self, job_id: str, *, priority: int | None = None, run_at: int | None = None) -> bool:
        """Change a waiting job's priority or earliest start (Unix ms; 0: now).

        :return: False: it does not wait any more.
        :raises UnknownJob:
        """
        reply, hints = self._run("change", job_id, "" if priority is None else priority, "" if run_at is None else run_at)
        self._send(hints)
        if reply == "unknown":
            raise UnknownJob
        return bool(reply == "ok")

    def why(self, job_id: str) -> dict[str, Any] | None:
        """Why a queued job waits: `{position, reason, limit, current, eta_seconds}`; None: it does not wait."""
        reply = self._run("why", job_id)
        if not reply:
            return None
        reason, position, limit, current, eta = reply
        return {
            "position": int(position) or None,
            "reason": reason,
            "limit": float(limit) if "." in limit else int(limit) if limit else None,
            "current": int(current) if current else None,
            "eta_seconds": float(eta) if eta else None,
        }

    def set_limits(self, tenant_id: str, limits: Mapping[str, float | int | bool | None]) -> None:
        """Change limits of a tenant (`*`: the defaults of all); None takes one away. They act on the backlog at once."""
        flat = [part for name, value in limits.items() for part in (name, "" if value is None else str(float(value)))]
        self._send(self._run("set_limits", tenant_id, len(limits), *flat))

    def limits(self, tenant_id: str) -> dict[str, float]:
        """A tenant's own limits (`*`: the defaults), those that are set."""
        with store_errors():
            kept = self.client.hget(self.keys("limits"), tenant_id)
        return {name: float(value) for name, _, value in (one.partition("=") for one in str(kept or "").split(";") if one)}

    def set_pipeline_cap(self, pipeline: str, cap: int | None) -> None:
        """Most jobs of a pipeline that run at once (None: no cap). It acts on the backlog at once."""
        self._send(self._run("set_pipeline_cap", pipeline, "" if cap is None else cap))

    def delete(self, job_id: str) -> bool:
        """Remove an ended job. :return: False if it has not ended. :raises UnknownJob:"""
        reply = self._run("delete", job_id)
        if reply == "unknown":
            raise UnknownJob
        return bool(reply == "deleted")

    def cancel_page(
        self, indexes: Sequence[str], highest: str, lowest: str, most: int, filters: tuple[str, str, str], *, dry_run: bool
    ) -> tuple[str, int, int]:
        """Ask for the end of the live jobs of a page (`bulk`). :return: next order or '', how many waited, how many run."""
        following, waiting, running, hints = self.run_on(
            "cancel_page", indexes, highest, lowest, most, *filters, "1" if dry_run else "", self._ttl_ms
        )
        self._send(hints)
        return str(following), int(waiting), int(running)

    # -- duties

    def announce(self, worker: str, slots: int, jobs: Sequence[tuple[str, int]], *, leaving: bool = False) -> list[str]:
        """A worker's beat. :param jobs: (id, fence) of what it runs. :return: for each `ok`, `cancel` or `fenced`."""
        pairs = [part for pair in jobs for part in pair]
        replies, hints = self._run("announce", worker, slots, 0 if leaving else self._announce_ms, self._lease_ms, len(jobs), *pairs)
        self._send(hints)
        return list(replies)

    def rescue(self, limit: int = 100) -> list[Rescued]:
        """Requeue the jobs whose lease ended, take back unclaimed hints, end what passed its deadline or waited too long."""
        with store_errors():
            # A server that was restarted has another run id: the script then gives every lease its time once more.
            server = str(dict(self.client.info("server"))["run_id"])  # type: ignore[arg-type]
        *done, hints = self._run("rescue", limit, self._max_crashes, WORKER_LOST, EXPIRED, self._ttl_ms, server, self._lease_ms)
        self._send(hints)
        return [Rescued(job_id, became) for job_id, became in done]

    def reconcile(self, after: int = 0, limit: int = 1000) -> tuple[int, int, int | None]:
        """Recount what is counted and look at up to `limit` live jobs from `after` on.

        :return: counters put right, jobs put right, and from where to go on (None: all were looked at).
        """
        counters, jobs, following, hints = self._run("reconcile", after, limit, self._ttl_ms)
        self._send(hints)
        return int(counters), int(jobs), int(following) if following else None

    def purge(self, limit: int = 500) -> int:
        """Remove ended jobs past their TTL, at most `limit`. :return: how many."""
        return int(self._run("purge", limit))

    def tick(self, queue: str, message: str, most: int) -> bool:
        """Push a message of the maintenance queue, full server or not. :return: False: so many wait already."""
        with store_errors():
            return bool(self._scripts["tick"](keys=[self.keys.prefix, queue], args=[message, most, *self._admission]))

    def beat(self, duty: str) -> None:
        """Note that a duty of maintenance ran now."""
        self._run("beat", duty)

    # -- reading

    def get(self, job_id: str) -> Job:
        """:raises UnknownJob:"""
        with store_errors():
            flat = self.wire.call("HGETALL", self.keys("job", job_id))
        if not flat:
            raise UnknownJob
        return Job.from_mapping(_mapping(flat))

    def mapping(self, name: str, *parts: str) -> dict[str, str]:
        """A hash by its key's name; empty if there is none."""
        with store_errors():
            return dict(self.client.hgetall(self.keys(name, *parts)))  # type: ignore[arg-type]

    def members(self, name: str, *parts: str) -> list[tuple[str, int]]:
        """A small index by its key's name: ids and orders, oldest first."""
        with store_errors():
            found = self.client.zrange(self.keys(name, *parts), 0, -1, withscores=True)
        return [(member, int(order)) for member, order in found]  # type: ignore[union-attr]

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
        """Bytes that a tenant keeps: its jobs' artifacts and its uploads."""
        with store_errors():
            kept: list[Any] = self.client.hmget(self.keys("usage", tenant_id), ["artifact_bytes", "upload_bytes"])  # type: ignore[assignment]
        return sum(int(value or 0) for value in kept)

    # -- for the modules beside this one

    def run(self, name: str, *arguments: Any) -> Any:
        """A script by its name."""
        return self._run(name, *arguments)

    def run_on(self, name: str, indexes: Sequence[str], *arguments: Any) -> Any:
        """A script that reads indexes of jobs."""
        with store_errors():
            return self._scripts[name](keys=[self.keys.prefix, *indexes], args=[*arguments, *self._admission])

    def read_scripts(self, name: str, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a script that only reads, once with each of these arguments, in one round trip."""
        script = self._scripts[name]
        if not calls:
            return []
        with store_errors():
            if len(calls) == 1:
                return [script(keys=[self.keys.prefix], args=calls[0])]
            with self.client.pipeline(transaction=False) as pipe:
                for arguments in calls:
                    script(keys=[self.keys.prefix], args=arguments, client=pipe)
                return list(pipe.execute())

    # -- inside

    def run_script(self, name: str, *arguments: Any) -> Any:
        """One of `scripts.NAMES`, for the store's siblings that are files of their own."""
        return self._run(name, *arguments)

    def _run(self, name: str, *arguments: Any) -> Any:
        with store_errors():
            return self.wire.script(self._scripts[name], [self.keys.prefix], (*arguments, *self._admission))

    def _durably(self, name: str, durably: bool, *arguments: Any) -> Any:
        if not durably:
            return self._run(name, *arguments)
        with store_errors(), self.client.pipeline(transaction=False) as pipe:
            # WAITAOF speaks of the writes of its own connection: both must go the same way.
            self._scripts[name](keys=[self.keys.prefix], args=[*arguments, *self._admission], client=pipe)
            pipe.execute_command("WAITAOF", 1, 0, DISK_MS)  # type: ignore[no-untyped-call]
            reply, (on_disk, _) = pipe.execute()
        if on_disk < 1:
            raise StoreUnavailable("the server did not write the job to its disk in time")
        return reply

    def _send(self, hints: Sequence[Sequence[str]]) -> None:
        if hints and self._publish is not None:
            failpoints.reach("submit.before_publish")
            self._publish([Hint(h[0], int(h[1]), h[2], h[3], h[4], h[5] or None) for h in hints])


def bad_upload(why: str) -> InvalidInput:
    """Of a job whose url names an upload: `unknown` (another's, too) or `incomplete`."""
    return InvalidInput(f"url: {'there is no such upload' if why == 'unknown' else 'the upload is not complete'}", field="url")


def refusal(reply: Sequence[Any]) -> PipelineJobsError:
    """Why a submit was refused."""
    match reply[0]:
        case "dependency":
            field = f"depends_on.{reply[2]}"
            return InvalidInput(f"{field}: there is no such job", field=field)
        case "full":
            return {"tenant": QueueFull, "storage": StorageFull, "webhooks": WebhooksFull}.get(reply[1], StoreFull)(
                retry_after=int(reply[2])
            )
        case "rate":
            return RateLimited(retry_after=max(1, -(-int(reply[2]) // 1000)), limit=float(reply[1]))
        case "upload":
            return bad_upload(reply[2])
        case "same":
            return AlreadySubmitted(reply[1])
        case "differs":
            return KeyReused()
    return IdTaken()


def _worker_lost_detail(error: str) -> dict[str, Any]:
    return {"code": "worker_lost", "message": error, "stage": None, "retryable": True}


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _mapping(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
