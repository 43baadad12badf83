"""Run the stages of one run, in order. What an error of one costs the job is decided here (`Stage.on_error`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, unbind_contextvars

from pipeline_jobs import failpoints
from pipeline_jobs.context import CHECK_INTERVAL, JobContext, StageLate, StageTimeout
from pipeline_jobs.exceptions import BadParameters, InternalError, OutOfMemory, PipelineJobsError, PublishError, RequestError, StageError
from pipeline_jobs.jobs.faults import Judge
from pipeline_jobs.jobs.outputs import Keeper
from pipeline_jobs.jobs.stage_times import StageTook, Timed, untold
from pipeline_jobs.pipelines import DEGRADED, WARNINGS, Pipeline, Stage, Wait
from pipeline_jobs.pools.pool_names import ANYWHERE
from pipeline_jobs.records import unicode
from pipeline_jobs.runlog import capture
from pipeline_jobs.stage import Hop, Parked
from pipeline_jobs.tracing import spans

logger = structlog.get_logger(__name__)

MAX_ERROR = 500
#: Of one stage: how many warnings are taken, and the longest, in characters. A stage's data may come from a process that a hostile file
#: has taken over.
MAX_WARNINGS, MAX_WARNING = 20, 500
#: How long a stage is repeated while the artifact store is away, in seconds, and the pause between. Then its job is handed back.
STORE_PATIENCE, STORE_PAUSE = 120.0, 1.0
#: Mistakes of whoever made the job: no stage goes on without what they were about.
_OF_THE_CLIENT = (RequestError, BadParameters)


def never(error: PipelineJobsError) -> bool:
    """No run will follow."""
    return False


def run_stages(
    pipeline: Pipeline,
    context: JobContext,
    keeper: Keeper | None = None,
    took: StageTook = untold,
    judge: Judge | None = None,
    runs_again: Callable[[PipelineJobsError], bool] = never,
    pool: str | None = None,
) -> Mapping[str, Any]:
    """Run all stages, in order, each with what the earlier ones gave. :return: all they gave, merged.

    :param keeper: knows what need not run again, and keeps what each gives; that of the last is the result.
    :param judge: says of an error that it is the machine's.
    :param runs_again: an error of the run has the job tried again later: no stage is given up before.
    :param pool: that of this worker; None: every stage runs here.
    :raises Hop: the next stage that must run is another pool's.
    """
    for stage in pipeline.stages:
        others = pool is not None and stage.pool not in (pool, ANYWHERE)
        kept = keeper.restore(stage) if others and keeper else None
        if others and kept is None:
            raise Hop(context, stage)
        context.begin(stage.name, pipeline.spans()[stage.name])
        context.reporter.report(stage.name, round(context.span[0], 1), None)
        # Not only within the block: the line of an error is written behind it. The next run begins without any.
        bind_contextvars(stage=stage.name)
        message = None
        with spans.span(f"stage {stage.name}", "internal", job__stage=stage.name) as span:
            if keeper and not others:
                kept = keeper.restore(stage)
            span.set(job__stage__kept=kept is not None)
            if keeper and kept is not None and stage.name in keeper.cached:
                context.reporter.cached(stage.name)
            if kept is None:
                failpoints.reach("run.in_stage")
                seal = _Seal(stage, context, first=stage is pipeline.stages[0])
                try:
                    with Timed(took, pipeline.name, stage.name), seal:
                        data = _tried(stage, context, judge)
                except Parked as parked:
                    parked.asks = _asked(stage, context)
                    raise
                except Exception as error:
                    data = _degraded(stage, context, error, judge, runs_again)
                    span.fail(named(error).code)
                message = _warn(stage, context, data)
                if keeper:
                    keeper.keep(stage, data, shared=not (data.get(WARNINGS) or data.get(DEGRADED)), published=seal.published)
            _merge(context.data, data if kept is None else kept)
            context.progress(1.0, message)
    unbind_contextvars("stage")
    return context.data


def _asked(stage: Stage, context: JobContext) -> str:
    """What a wait asks. While the stages run: a mistake of the author's in it is one of the job's."""
    return unicode(context.run_log.shown(stage.asks(context.data))[:MAX_ERROR]) if isinstance(stage, Wait) else ""


class _Seal:
    """Around a stage: sees what it publishes. What one with a version, whose output other jobs are given, is not to depend on, it hides."""

    def __init__(self, stage: Stage, context: JobContext, *, first: bool) -> None:
        self._context, self._url, self._publish = context, context.url, context.publish
        # Another job may have the same file from another address. Only the first stage is about what is there.
        self._hides = bool(stage.version) and not first
        #: It published a file, which goes with this run unless that completes the job: no other run may be given its output.
        self.published = False

    def _noted(self, path: Path, name: str) -> str:
        self.published = True
        return self._publish(path, name)

    def __enter__(self) -> None:
        if self._hides:
            self._context.url = None
        self._context.publish = self._noted

    def __exit__(self, *_: object) -> None:
        self._context.url, self._context.publish = self._url, self._publish


def named(error: Exception) -> PipelineJobsError:
    """The error as a job's record has it."""
    match error:
        case PipelineJobsError():
            return error
        case MemoryError():
            return OutOfMemory()
    return InternalError(f"{type(error).__name__}: {error}"[:MAX_ERROR])


def _tried(stage: Stage, context: JobContext, judge: Judge | None) -> dict[str, Any]:
    """What a stage gives, tried again after errors that may pass, as often as it says (`Stage.retry`)."""
    attempt = 1
    while True:
        try:
            return _patiently(stage, context, judge)
        except StageError as error:
            policy = stage.retry
            if policy is None or attempt >= policy.max_attempts or not error.retryable or error.code in policy.permanent:
                raise
            if judge is not None:
                judge.judge(error)
            what = context.run_log.masked(error.message)
            logger.warning("a stage will be tried again", stage=stage.name, attempt=attempt, code=error.code, error=what)
            attempt += 1
            context.progress(0.0, f"try {attempt} of {policy.max_attempts} after {error.code}: {what}"[:MAX_ERROR])
            _pause(policy.delay(attempt - 1, error), context)


def _pause(seconds: float, context: JobContext) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, CHECK_INTERVAL))
        # A cancel ends the wait here.
        context.check_cancelled()


def _in_time(stage: Stage, context: JobContext) -> dict[str, Any]:
    """:raises StageTimeout: it took longer than it may."""
    try:
        try:
            context.limit.begin(stage.timeout)
            return dict(stage.run(context) or {})
        finally:
            context.limit.begin(None)
    except StageLate:
        # The signal may have come in the line above.
        context.limit.begin(None)
        raise StageTimeout(f"the stage took longer than {stage.timeout:g} s") from None


def _patiently(stage: Stage, context: JobContext, judge: Judge | None) -> dict[str, Any]:
    """What a stage gives. It is repeated while the artifact store is away: what was done so far may lie in this run's folder alone."""
    deadline = time.monotonic() + STORE_PATIENCE
    while True:
        try:
            return _in_time(stage, context)
        except PublishError as error:
            if judge is None or time.monotonic() >= deadline or judge.artifacts_fault() is None:
                raise
            logger.warning("the artifact store is away, the stage will be tried again", seldom=True, stage=stage.name, error=str(error))
            time.sleep(STORE_PAUSE)
            # A cancel ends the wait here.
            context.progress(0.0, "waiting for the artifact store")


def _degraded(
    stage: Stage, context: JobContext, error: Exception, judge: Judge | None, runs_again: Callable[[PipelineJobsError], bool]
) -> dict[str, Any]:
    """What stands in the place of a failed stage's data.

    :raises Exception: the error: the job must not go on without the stage.
    :raises StopRun: it was not the stage's fault (`Judge.judge`).
    """
    how, what = stage.on_error_of(context.params), named(error)
    if how == "fail" or isinstance(what, _OF_THE_CLIENT) or runs_again(what):
        raise error
    if judge is not None:
        judge.judge(error)
    unexpected = None if isinstance(error, PipelineJobsError) else error
    said = context.run_log.masked(what.message)
    logger.warning("a stage failed, the job goes on without it", stage=stage.name, code=what.code, error=said, exc_info=unexpected)
    if unexpected:
        capture.add_traceback(context.run_log)
    warning = f"{what.code}: {said} (stage {stage.name})"
    return {**stage.instead, DEGRADED: [stage.name], WARNINGS: [warning]}


def _warn(stage: Stage, context: JobContext, data: dict[str, Any]) -> str | None:
    """Tell of a stage's warnings, each as an event; those of one that is skipped are no part of the result.

    :return: the last one, for the message of the progress that is told next: the store writes events only with what is new to it.
    """
    found = data.get(WARNINGS)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        return None
    data[WARNINGS] = texts = [text[:MAX_WARNING] for text in found[:MAX_WARNINGS]]
    for text in texts:
        context.reporter.warn(stage.name, text)
    if DEGRADED in data and stage.on_error_of(context.params) == "skip":
        del data[WARNINGS]
    return texts[-1] if texts else None


def _merge(whole: dict[str, Any], data: Mapping[str, Any]) -> None:
    """A later stage's value takes the place of an earlier one's, but for what all of them have to say."""
    earlier = {name: whole[name] for name in (WARNINGS, DEGRADED) if isinstance(whole.get(name), list)}
    whole.update(data)
    for name, said in earlier.items():
        if isinstance(data.get(name), list):
            whole[name] = [*said, *data[name]]


__all__ = ["MAX_ERROR", "named", "never", "run_stages"]
