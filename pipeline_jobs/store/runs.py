"""How a run ends its job, and what becomes of the jobs of a process that died: `store.Store` has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pipeline_jobs.job import SCHEMA, Job, dumps, unicode
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.contract import ms
from pipeline_jobs.store.duties import Duties
from pipeline_jobs.store.reader import mapping

#: Longest message of a stage that is kept, in characters.
MAX_MESSAGE = 500
WORKER_LOST = "the worker process died while it was running the job"

#: Percentage, stage, message, and what came before: stages that began and ended, each with its percentage, and texts, each with a word: of
#: warnings, and of stages that did not run. The arguments of `Store.progress`.
Told = tuple[float | None, str, str | None, Sequence[tuple[str, float | str]]]
WARNING, CACHED = "warning", "cached"
#: What `park` says where a tenant has as many parked jobs as it may.
FULL: Final = "full"


@dataclass(frozen=True, slots=True)
class Rescued:
    """What became of a job: queued, failed, cancelled, hint (an unclaimed one was taken back), or stopping (its deadline passed)."""

    job_id: str
    became: str


@dataclass(slots=True)
class Taker:
    """A process that runs the next job itself: to it `finish` hands over what it would send a hint for."""

    worker: str
    #: The nonce of that run, noted where whoever sees the process die finds it.
    run: str
    #: Those that it knows, and how long a run of each may take, in seconds (None: `max_run_seconds`).
    pipelines: Mapping[str, float | None]
    #: What it was handed; None: nothing.
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """Those of a job, to be opened."""

    stage: str
    count: int
    #: How many are open at once, and how often each may be tried.
    window: int
    tries: int
    #: In which they run.
    pool: str
    #: One that fails does not fail the job.
    collect: bool
    #: The percentages of the job between which they are.
    span: tuple[float, float]


class Runs(Duties):
    """Ends of runs. Its settings are the store's."""

    _run_ms: int
    #: The pipelines of the last worker that asked for a job, and the same as text: a process is one worker's.
    _known: tuple[Mapping[str, float | None], str] = ({}, ";")

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
        copied: tuple[bool, str] = (False, ""),
        last: Told | None = None,
        taker: Taker | None = None,
    ) -> JobStatus | None:
        """End a job.

        :param outputs: of its stages (`outputs.written`).
        :param copied: whether some files are still to be copied elsewhere; where the copy of its film is.
        :param last: what the run has not told yet, written first.
        :param taker: is handed the next job, if one is due that it may run. Sent again with the same nonce: the same one.
        :return: the status it ended in (a requested cancel wins), or None: this run has no say.
        """
        encoded = dumps(result)
        meta = f'{{"task_id":{dumps(job_id)},"status":"SUCCESS","traceback":null,"children":[],"result":{encoded}}}'
        detail = dumps(error_detail) if error_detail else "{}"
        reply = self.run(
            "finish", id=job_id, fence=fence, outcome=outcome.value, result=encoded, error=error, detail=detail, folder=artifacts,
            bytes=artifact_bytes, meta=meta, outputs=outputs[0], blobs=outputs[1], copy=copied[0],
            drive_url=copied[1], schema=SCHEMA, **self._taking(taker),
            **told_of(*last or (None,)),
        )  # fmt: skip
        if taker is not None and reply.record:
            taker.job = Job.from_mapping(mapping(reply.record))
        return ended(reply.status)

    def park(
        self, job_id: str, fence: int, name: str, timeout: float | None, otherwise: str, message: str, pool: str = ""
    ) -> JobStatus | Literal["full"] | None:
        """Let a running job wait for a signal, without a slot.

        :param timeout: how long, in seconds; None: for any time. :param otherwise: what the end of that time does: `fail`, `go_on`.
        :param message: what is told to whoever looks at the job. :param pool: in which it goes on.
        :return: its status now; None: this run has no say; `FULL`: its tenant has as many such jobs as it may, and nothing has changed.
        """
        reply = self.run("park", id=job_id, fence=fence, name=name, timeout=timeout, otherwise=otherwise, message=message, pool=pool)
        return FULL if reply.status == FULL else ended(reply.status)

    def advance(self, job_id: str, fence: int, pool: str, message: str, *, stage: str) -> JobStatus | None:
        """Let a running job wait for a slot of another pool, on the same attempt.

        :param message: what is told to whoever looks at the job. :param stage: that comes next.
        :return: its status now; None: this run has no say.
        """
        return ended(self.run("advance", id=job_id, fence=fence, pool=pool, message=message, stage=stage).status)

    def stage_parts(self, job_id: str, fence: int, first: int, inputs: Sequence[str], blobs: str) -> bool:
        """Write inputs of a job's parts, in order, from number `first` on. :return: False: this run has no say."""
        return bool(self.run("stage_parts", id=job_id, fence=fence, first=first, blobs=blobs, inputs=inputs))

    def split(self, job_id: str, fence: int, parts: Parts, message: str, pool: str) -> JobStatus | None:
        """Let a running job wait for its parts, whose inputs are written, without a slot.

        :param message: what is told to whoever looks at the job. :param pool: in which it goes on.
        :return: its status now; None: this run has no say.
        """
        reply = self.run(
            "split", id=job_id, fence=fence, stage=parts.stage, n=parts.count, window=parts.window, tries=parts.tries, part_pool=parts.pool,
            collect=parts.collect, begins=parts.span[0], ends=parts.span[1], message=message, pool=pool,
        )  # fmt: skip
        return ended(reply.status)

    def _taking(self, taker: Taker | None) -> dict[str, Any]:
        if taker is None:
            return {}
        known = self._known
        if taker.pipelines != known[0]:
            runs = {name: self._run_ms if longest is None else ms(longest) for name, longest in taker.pipelines.items()}
            known = self._known = taker.pipelines, "".join(f";{name}:{longest}" for name, longest in runs.items()) + ";"
        return {"worker": taker.worker, "next_run": taker.run, "pipelines": known[1]}

    def process_lost(
        self,
        worker: str,
        job_id: str,
        fence: int,
        runs: Sequence[str],
        why: str,
        *,
        error: str = WORKER_LOST,
        error_detail: Mapping[str, Any] | None = None,
    ) -> list[Rescued]:
        """A process of this worker died: give back what it held, whatever it has sent that is not here yet.

        :param job_id: of the hint that it was given, if nobody claimed it; `fence` likewise.
        :param runs: the nonces of its runs.
        :param why: as for `requeue`.
        """
        detail = error_detail or worker_lost_detail(error)
        reply = self.run("process_lost", id=job_id, fence=fence, worker=worker, why=why, error=error, detail=dumps(detail), runs=runs)
        return [Rescued(moved, became) for moved, became in reply.moved]


def told_of(
    percent: float | None, stage: str = "", message: str | None = None, passed: Sequence[tuple[str, float | str]] = ()
) -> dict[str, Any]:
    """What a run tells, as progress and finish take it."""
    came = [(unicode(text[:MAX_MESSAGE]), at) if at in (WARNING, CACHED) else (text, at) for text, at in passed]
    return {"percent": percent, "stage": stage, "message": unicode((message or "")[:MAX_MESSAGE]), "passed": came}


def ended(status: str) -> JobStatus | None:
    return None if status == "fenced" else JobStatus(status)


def worker_lost_detail(error: str) -> dict[str, Any]:
    return {"code": "worker_lost", "message": error, "stage": None, "retryable": True}
