"""Run one attempt of one job: claim, stages, finish. It knows no Celery: the worker face calls `run` with what its message said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from pipeline_jobs import disk, failpoints
from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import (
    DiskFull,
    InvalidInput,
    JobCancelled,
    LeaseLost,
    MachineFault,
    PipelineJobsError,
    PublishError,
    StageError,
    StoreUnavailable,
    UnknownPipeline,
    WorkTooLarge,
)
from pipeline_jobs.files.artifacts import ArtifactStore, RunArtifacts
from pipeline_jobs.files.copies import RunCopies
from pipeline_jobs.files.drive import Drive
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import ErrorDetail, Job, StepResult
from pipeline_jobs.jobs.faults import Judge
from pipeline_jobs.jobs.log_keeper import kept_log
from pipeline_jobs.jobs.model_tokens import spender
from pipeline_jobs.jobs.outcome import Ending as Ending
from pipeline_jobs.jobs.outcome import Outcome as Outcome
from pipeline_jobs.jobs.outputs import Keeper
from pipeline_jobs.jobs.parents import Parents
from pipeline_jobs.jobs.part_runs import FanOut, PartKeeper, pipeline_of, refuse_to_publish
from pipeline_jobs.jobs.parts_here import FanOutHere
from pipeline_jobs.jobs.patience import gone_back, hand_back, patiently
from pipeline_jobs.jobs.results import Result, picked
from pipeline_jobs.jobs.reuse import Reuse
from pipeline_jobs.jobs.run import Progress, Run
from pipeline_jobs.jobs.seat import Seat
from pipeline_jobs.jobs.signals import SignalLinks
from pipeline_jobs.jobs.stage_runs import MAX_ERROR, named, run_stages
from pipeline_jobs.jobs.stage_times import StageTook, untold
from pipeline_jobs.jobs.traced_run import log_fields, traced_run
from pipeline_jobs.jobs.workdir import NoReporter, Workdir, context_of, workdir_of
from pipeline_jobs.pipelines import Pipeline, Registry
from pipeline_jobs.pools.pool_names import DEFAULT
from pipeline_jobs.runlog import capture
from pipeline_jobs.settings import Settings
from pipeline_jobs.stage import Hop, Parked, PartsLost, RetryPolicy, Split, Stage, TooManyParked
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runs import FULL, Parts
from pipeline_jobs.store.store import ClaimRefused, Store, Taker, Told
from pipeline_jobs.tenants import tenant_of, with_tenant

logger = structlog.get_logger(__name__)

#: The fence of a run that has no record.
IN_PROCESS_FENCE = 0


class Executor:
    """Runs attempts in this process."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        artifacts: ArtifactStore,
        drive: Drive | None = None,
        links: SignalLinks | None = None,
    ) -> None:
        self.parts = store, registry, settings, artifacts
        self._store, self._registry, self._settings, self._artifacts = self.parts
        #: The pool that this process serves, and where it has the folders of its runs.
        self.pool, self.work_dir = DEFAULT, settings.work_dir
        self.uploads, self.drive, self.links = Uploads(store, settings, artifacts), drive, links
        #: Is told how long each stage took: pipeline, stage, `ok` or `error`, seconds.
        self.stage_took: StageTook = untold

    def run(self, job_id: str, fence: int, worker: str, progress: Progress | None = None, seat: Seat | None = None) -> Outcome:
        """Run the attempt that a hint with this fence asked for.

        :param worker: whose lease it will be; `worker.lease` renews it.
        :param progress: where the run writes its progress; None: to the store.
        :param seat: is told which job this process has.
        """
        try:
            return self._run(job_id, fence, worker, progress or self._store.progress, seat or Seat())
        except StoreUnavailable as error:
            return Outcome(Ending.GAVE_UP, error=error.message)
        except Exception as error:
            # What the pipeline raises is said by then. This is the claim's or the harness's own, and no end of a job.
            logger.exception("a run failed outside its stages", job_id=job_id)
            return hand_back(self._store, job_id, fence, f"outside its stages: {type(error).__name__}: {error}"[:MAX_ERROR])

    def _run(self, job_id: str, fence: int, worker: str, progress: Progress, seat: Seat) -> Outcome:
        claimed = seat.handed(job_id) or self._claim(job_id, fence, worker, seat)
        if isinstance(claimed, ClaimRefused):
            return Outcome(Ending.REFUSED, error=claimed.why)
        tenant = tenant_of(claimed.tenant_id, claimed.workspace_id)
        # They stay until the next job: Celery's line about this one's end comes after it.
        clear_contextvars()
        bind_contextvars(**log_fields(claimed))
        failpoints.reach("run.after_claim")
        with with_tenant(tenant), traced_run(claimed) as span:
            outcome = self._attempt(claimed, worker, progress, seat)
            span.set(job__outcome=outcome.ending.value)
            if outcome.ending is Ending.FAILED:
                span.fail("job_failed")
            return outcome

    def _claim(self, job_id: str, fence: int, worker: str, seat: Seat) -> Job | ClaimRefused:
        run, pipelines = seat.asks(), self._registry.longest_runs()
        failpoints.reach("claim.asked")
        # The first sending may have been a claim whose answer was lost: the same run is given the same answer.
        claimed = patiently(lambda: self._store.claim(job_id, fence, worker=worker, run=run, pipelines=pipelines, pool=self.pool))
        failpoints.reach("claim.answered")
        if isinstance(claimed, ClaimRefused):
            seat.has_none()
        else:
            seat.has(claimed)
        return claimed

    def _attempt(self, job: Job, worker: str, progress: Progress, seat: Seat) -> Outcome:
        try:
            self._artifacts.make_ready()
        except Exception as error:  # each fsspec back end has errors of its own
            return hand_back(self._store, job.job_id, job.fence, f"the artifact store cannot be opened ({type(error).__name__}: {error})")
        return _Attempt(job, self, worker, progress, seat).run()

    def run_in_process(self, job: Job) -> StepResult:
        """Run the stages here and now, with no record and no cancel (`POST /pipeline/run` with the queue switched off).

        :raises InvalidInput: the pipeline waits for a signal, which needs a job.
        :raises StageError: as a job would have failed; `DiskFull`: nothing ran, or an artifact found no room.
        :raises StoreUnavailable: a job would have gone back to the queue.
        """
        folder = self._settings.work_dir
        if disk.free(folder) < self._settings.disk_reserve(folder):
            raise DiskFull
        pipeline = self._registry.get(job.pipeline)
        if pipeline.waits:
            raise InvalidInput(f"pipeline {pipeline.name!r} waits for a signal: it can only be run as a job", field="pipeline")
        store = self._artifacts
        # No record will ever end these: the next run in process removes them when a job's would have gone.
        store.delete_older(f"*/*/*/{IN_PROCESS_FENCE}", max(self._settings.job_ttl_seconds, self._settings.artifact_ttl_seconds))
        files = RunArtifacts(store, _folder(job))
        with with_tenant(tenant_of(job.tenant_id, job.workspace_id)), Workdir(workdir_of(folder, job)) as workdir:
            context = context_of(job, workdir, self._settings, NoReporter(), files.publish)
            context.fan_out = FanOutHere(pipeline)
            try:
                with context.closing:
                    data = run_stages(pipeline, context)
            except MachineFault as fault:
                raise StoreUnavailable(str(fault)) from fault
        return StepResult(True, picked(pipeline, data))


class _Attempt:
    """One claimed run."""

    def __init__(self, job: Job, executor: Executor, worker: str, progress: Progress, seat: Seat) -> None:
        self._job, self._worker, self._progress, self._seat = job, worker, progress, seat
        self._store, self._registry, self._settings, self._artifacts = executor.parts
        self._took, self._work = executor.stage_took, executor.work_dir
        self._open_upload = partial(executor.uploads.open, job.tenant_id, job.workspace_id)
        self._files = RunArtifacts(self._artifacts, _folder(job))
        self._parents = Parents(self._store, self._artifacts, job)
        self._links = executor.links
        self._copies = RunCopies(self._store, executor.drive, self._settings, job)
        self._keeper: Keeper | None = None
        #: Of its pipeline, or of its part.
        self._retry = RetryPolicy()

    def run(self) -> Outcome:
        job = self._job
        if job.part_of and job.part is None:
            return self._end(JobStatus.CANCELLED)
        context: JobContext | None = None
        try:
            pipeline = pipeline_of(self._registry.get(job.pipeline), job)
            self._retry = pipeline.retry
            workdir = workdir_of(self._work, job)
            judge = Judge(workdir, self._settings.work_bytes, self._artifacts, self._settings.disk_reserve)
            with (
                Workdir(workdir), kept_log(self._store, self._artifacts, job, pipeline.secrets(job.params)) as kept,
                Run(self._progress, job.job_id, job.fence, kept.looking(judge.look), kept.log.shown) as run,
            ):  # fmt: skip
                publish = refuse_to_publish if job.part else self._files.publish
                context = context_of(job, workdir, self._settings, run, publish, kept.log)
                run.limit = context.limit
                context.fan_out = FanOut(self._store, self._artifacts, job, pipeline, judge)
                context.open_upload, context.copy_out, context.parents = self._open_upload, self._copies.copy, self._parents
                if self._links and not job.part:
                    context.signal_url = self._links.of(job)
                context.spend = spender(self._store, self._settings, job)
                if len(pipeline.stages) > 1 or pipeline.stages[0].version:
                    self._keeper = self._keeper_of(pipeline, workdir, judge)
                with context.closing:
                    result = self._result(pipeline, context, judge)
                stored = self._kept(result)
                last = run.hand_over()
            failpoints.reach("run.after_artifact")
        except JobCancelled:
            return self._end(JobStatus.CANCELLED)
        except LeaseLost:
            self._discard()
            return Outcome(Ending.FENCED, error="another run has this job")
        except MachineFault as fault:
            self._discard()
            return hand_back(self._store, job.job_id, job.fence, str(fault) or "the disk of the working folder is nearly full")
        except WorkTooLarge as stop:
            error = f"the working folder of the run grew beyond {self._settings.work_bytes} bytes (PIPELINE_WORK_BYTES)"
            return self._end(JobStatus.FAILED, error=ErrorDetail(stop.code, error, context.stage if context else None))
        except Parked as parked:
            return self._park(pipeline, parked.context, parked.asks)
        except Hop as hop:
            return self._hop(hop)
        except Split as split:
            return self._split(pipeline, split)
        except (UnknownPipeline, PartsLost) as error:
            return self._fail(error, context)
        except _Raised as raised:
            return self._fail(raised.error, context)
        ended = self._end(JobStatus.COMPLETED, result=stored, last=last)
        return Outcome(Ending.COMPLETED, result.handed_on(stored)) if ended.ending is Ending.COMPLETED else ended

    def _keeper_of(self, pipeline: Pipeline, workdir: Path, judge: Judge) -> Keeper:
        if self._job.part:
            return PartKeeper(self._store, self._artifacts, self._job, workdir, pipeline, self._settings.hop_bytes, judge)
        reuse, most, hop = (
            Reuse(self._job, pipeline, self._settings, self._parents),
            self._settings.keep_stage_bytes,
            self._settings.hop_bytes,
        )
        return Keeper(self._store, self._artifacts, self._job, workdir, most, pipeline, reuse, hop, judge)

    def _kept(self, result: Result) -> Mapping[str, Any]:
        """Put the result where it belongs. The run is over and good: that it cannot be written is no fault of the job's.

        :raises MachineFault: the artifact store was away for `FINISH_PATIENCE`.
        """
        try:
            return patiently(lambda: result.kept(self._files), PublishError)
        except PublishError as error:
            raise MachineFault(f"the result cannot be stored: {error}") from error

    def _result(self, pipeline: Pipeline, context: JobContext, judge: Judge) -> Result:
        """Run the stages. Whose fault an error is must be asked while the run's files are there: they may be what fills the disk.

        :raises _Raised: an error of the pipeline's own; any other is the harness's.
        """
        try:
            pool = None if self._job.part else self._job.pool or DEFAULT
            data = run_stages(pipeline, context, self._keeper, self._took, judge, self._runs_again, pool)
            if self._job.part and self._keeper and (lack := self._keeper.lacks_any()):
                raise lack
            return Result.of(pipeline, data, cached=bool(self._keeper and self._keeper.cached))
        except Exception as error:
            judge.judge(error)
            if not isinstance(error, (PipelineJobsError, MemoryError)):
                logger.exception("stage failed", stage=context.stage)
                capture.add_traceback(context.run_log)
            raise _Raised(named(error)) from error

    def _fail(self, error: PipelineJobsError, context: JobContext | None) -> Outcome:
        job = self._job
        detail = ErrorDetail.of(error, context.stage if context else None)
        if context and job.secret_params:
            detail = replace(detail, message=context.run_log.masked(detail.message))
        if self._runs_again(error):
            delay = self._retry.delay(job.attempt, error)
            if self._keeper:
                self._keeper.note()
            status = patiently(lambda: self._store.requeue(job.job_id, job.fence, "retry", delay_seconds=delay))
            self._discard()
            return gone_back(status, detail.message)
        return self._end(JobStatus.FAILED, error=detail)

    def _park(self, pipeline: Pipeline, context: JobContext, asks: str) -> Outcome:
        """The job waits for a signal, without this process."""
        job, wait = self._job, pipeline.waits[context.stage]
        following = pipeline.pool_from(wait, job.pool or DEFAULT)
        if self._keeper:
            self._keeper.note()
        became = patiently(lambda: self._store.park(job.job_id, job.fence, wait.name, wait.timeout, wait.on_timeout, asks, following))
        if became == FULL:
            return self._fail(TooManyParked(), context)
        self._discard()
        return gone_back(became, asks)

    def _hop(self, hop: Hop) -> Outcome:
        """The job goes on in another pool, with what its stages gave."""
        job = self._job
        if refused := self._cannot_go_on(hop.stage, hop.context):
            return refused
        became = patiently(lambda: self._store.advance(job.job_id, job.fence, hop.stage.pool, hop.text, stage=hop.stage.name))
        self._discard()
        return gone_back(became, hop.text)

    def _split(self, pipeline: Pipeline, split: Split) -> Outcome:
        """The job goes on when its parts have ended, with what its stages gave before."""
        job, stage = self._job, split.stage
        if refused := self._cannot_go_on(stage, split.context):
            return refused
        start, end = split.context.span
        # The last twentieth is the join's.
        span = (max(start, job.progress), end - (end - start) / 20)
        collect = stage.on_part_error == "collect"
        parts = Parts(stage.name, split.count, stage.window, stage.part_retry.max_attempts, stage.part_pool, collect, span)
        following = pipeline.pool_from(stage, job.pool or DEFAULT)
        became = patiently(lambda: self._store.split(job.job_id, job.fence, parts, split.text, following))
        failpoints.reach("split.answered")
        self._discard()
        return gone_back(became, split.text)

    def _cannot_go_on(self, stage: Stage, context: JobContext) -> Outcome | None:
        """What the stages before this one gave cannot be had by another run."""
        lack = self._keeper.lacks(stage.name) if self._keeper else None
        if isinstance(lack, StageError):
            return self._fail(lack, context)
        if lack is None:
            return None
        self._discard()
        return hand_back(self._store, self._job.job_id, self._job.fence, str(lack))

    def _runs_again(self, error: PipelineJobsError) -> bool:
        """The job will be tried again later."""
        detail = ErrorDetail.of(error, None)
        if not detail.retryable or self._job.attempt >= self._job.max_attempts:
            return False
        return detail.code not in self._retry.permanent

    def _end(
        self, outcome: JobStatus, *, result: Mapping[str, Any] | None = None, error: ErrorDetail | None = None, last: Told | None = None
    ) -> Outcome:
        job = self._job
        if outcome is not JobStatus.COMPLETED:
            self._discard()
        run = self._seat.asks_for_next()
        taker = Taker(self._worker, run, self._registry.longest_runs()) if run else None
        failpoints.reach("finish.asked")
        ended = patiently(
            lambda: self._store.finish(
                job.job_id,
                job.fence,
                outcome,
                result=result,
                error=error.message if error else "",
                error_detail=error.to_dict() if error else None,
                artifacts=_folder(job) if self._files.any else "",
                artifact_bytes=self._files.bytes,
                outputs=self._keeper.written if self._keeper else ("", ""),
                copied=self._copies.done,
                last=last,
                taker=taker,
            )
        )
        failpoints.reach("finish.answered")
        if taker and taker.job:
            self._seat.has(taker.job)
        else:
            self._seat.has_none()
        failpoints.reach("run.after_finish")
        if ended is None:
            self._discard()
            return Outcome(Ending.FENCED, error="another run has this job")
        return Outcome(Ending(ended.value), error=error.message if error and ended is JobStatus.FAILED else None)

    def _discard(self) -> None:
        """Remove what this run published; nobody has seen it."""
        if self._files.any:
            try:
                self._artifacts.delete_prefix(_folder(self._job))
            except PublishError as error:
                logger.warning("artifacts of a lost run stay until their folder is swept", error=str(error))


class _Raised(Exception):
    """A pipeline raised this. Nothing else that goes wrong in a run may end its job as failed."""

    def __init__(self, error: PipelineJobsError) -> None:
        super().__init__(str(error))
        self.error = error


def _folder(job: Job) -> str:
    return f"{job.tenant_id}/{job.workspace_id}/{job.job_id}/{job.fence}"


__all__ = ["Ending", "Executor", "Outcome", "run_stages"]
