"""What a pipeline is made of: stages, which are functions, or run in parts, and waits for signals (`pipelines` has the list of them).

Parts: docs/decisions/0018-parts.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pipeline_jobs.exceptions import ConfigurationError, PipelineJobsError, StageError, StopRun
from pipeline_jobs.pools.pool_names import ANYWHERE, DEFAULT, check, shown

if TYPE_CHECKING:
    from pipeline_jobs.context import JobContext
    from pipeline_jobs.settings import Settings

#: A stage: takes the context, gives a mapping of JSON values that is merged into `context.data` (or None).
StageFunction = Callable[["JobContext"], Mapping[str, Any] | None]

#: What becomes of a job one of whose stages failed: it fails too (after its attempts), it goes on with a warning in its result, or it goes
#: on and only its events and the log tell.
OnError = Literal["fail", "warn", "skip"]
#: What becomes of a job whose signal did not come in time: it fails, or it goes on without.
OnTimeout = Literal["fail", "go_on"]
#: The name of a wait, and of its signal: it stands in addresses and in names of fields.
SIGNAL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
#: A year, in seconds.
MAX_WAIT = 31_536_000
#: What stages give under these names is not replaced by a later stage but put behind what the earlier ones gave: texts for whoever reads
#: the result ("code: A sentence."), each an event too; and the names of the stages that failed without failing the job.
WARNINGS, DEGRADED = "warnings", "degraded"


class TryAgain(StageError):
    """The stage asks for another attempt."""

    code = "try_again"
    retryable = True

    def __init__(self, message: str = "", delay_seconds: float | None = None) -> None:
        """:param delay_seconds: how long to wait before it, at most ten billion; None: as the pipeline's policy says.

        :raises ValueError: it is no such number.
        """
        if delay_seconds is not None and not 0 <= delay_seconds <= 1e10:
            raise ValueError(f"delay_seconds must be 0..1e10, not {delay_seconds}")
        super().__init__(*filter(None, (message,)))
        self.delay_seconds = delay_seconds


class Parked(StopRun):
    """The run ends here: its job waits for a signal that is not there."""

    code = "parked"

    def __init__(self, context: JobContext) -> None:
        """:param context: of the run, in the stage that waits."""
        super().__init__()
        self.context = context
        #: What is told to whoever looks at the job.
        self.asks = ""


class Hop(StopRun):
    """The run ends here: the next stage is one of another pool."""

    code = "hop"

    def __init__(self, context: JobContext, stage: Stage) -> None:
        """:param context: of the run. :param stage: that it does not run."""
        super().__init__()
        self.context, self.stage = context, stage

    @property
    def text(self) -> str:
        """What is told to whoever looks at the job."""
        return f"next: {shown(self.stage.pool)}"


class HopFailed(StageError):
    """What the stages gave cannot be kept for those of another pool."""

    code = "hop_failed"


class SignalTimeout(StageError):
    """The signal that the stage waits for did not come in time."""

    code = "signal_timeout"


class TooManyParked(StageError):
    """The tenant has as many jobs waiting for signals as it may."""

    code = "too_many_parked"
    retryable = True


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What happens after a stage's error: of a pipeline to its job, of a stage to it. Deaths of the worker are counted apart
    (`settings.max_crashes`)."""

    #: How often a job may be tried, unless it says so itself; or its stage. 1: never again.
    max_attempts: int = 1
    #: Wait before the second attempt, in seconds; it doubles with each further one, up to `max_backoff_seconds`.
    backoff_seconds: float = 1.0
    max_backoff_seconds: float = 60.0
    #: Codes of errors that are final here although they are retryable in general.
    permanent: frozenset[str] = frozenset()

    def delay(self, attempt: int, error: PipelineJobsError | None = None) -> float:
        """Seconds to wait after this attempt (1, 2, ...) failed, of this error."""
        if isinstance(error, TryAgain) and error.delay_seconds is not None:
            return error.delay_seconds
        # A larger power is beyond any maximum, and in the end beyond a float.
        return min(self.backoff_seconds * 2.0 ** min(attempt - 1, 64), self.max_backoff_seconds)


@dataclass(frozen=True, slots=True)
class Stage:
    """One function of a pipeline."""

    name: str
    run: StageFunction
    #: Its part of the whole's progress, relative to the other stages' weights. About its share of the run time.
    weight: float = 1.0
    #: A retry may use what it gave (its data, its files in the working folder) instead of running it again.
    reusable: bool = True
    #: What an error of it costs the job, or a function of the job's params that says so. An error of the machine, or a mistake in the
    #: request, is never passed over; one that may pass is tried again first, while the job has attempts left.
    on_error: OnError | Callable[[Mapping[str, Any]], OnError] = "fail"
    #: Given to the later stages in the place of its data when it failed and the job goes on. Small.
    instead: Mapping[str, Any] = field(default_factory=dict, hash=False)
    #: Of what it does: change it whenever the stage would give something else. What a stage with a version gave is used for other jobs of
    #: the workspace too, if they give it the same (docs/reuse.md). A function of the settings, if they matter. Empty: it always runs.
    version: str | Callable[[Settings], str] = ""
    #: The names of the parameters that matter to it, for its version; None: all do.
    params: tuple[str, ...] | None = None
    #: How often it is tried within one run of its job, after an error that may pass. The job keeps its slot meanwhile; None: once.
    retry: RetryPolicy | None = None
    #: Longest that one try may take, in seconds; then it fails, code `stage_timeout`. None: as long as the job may run.
    timeout: float | None = None
    #: The kind of machine that runs it (`-Q jobs.gpu`); empty: `default`; `pools.ANYWHERE`: the one where its job is.
    pool: str = DEFAULT

    @property
    def in_parts(self) -> bool:
        """It runs in parts (`Map`)."""
        return False

    def on_error_of(self, params: Mapping[str, Any]) -> OnError:
        """Of a job with these params."""
        return self.on_error(params) if callable(self.on_error) else self.on_error


def take_signal(context: JobContext) -> Mapping[str, Any]:
    """The body of a wait: the signal of its name. :raises Parked: it is not there."""
    if context.stage not in context.signals:
        raise Parked(context)
    return {context.stage: context.signals[context.stage]}


@dataclass(frozen=True, slots=True)
class Wait(Stage):
    """A stage that waits for a signal of its name (`POST /pipeline/jobs/{id}/signals/{name}`), meanwhile without a slot or a process.

    The payload of the signal is `context.data[name]` for the later stages. What the earlier ones gave is kept as for a retry.
    """

    run: StageFunction = field(default=take_signal, init=False)
    weight: float = 0.01
    #: How long it waits, in seconds, at most a year; None: as long as the job's deadline allows.
    timeout: float | None = None
    #: At the end of that time the job fails, code `signal_timeout`, or goes on with None for a payload.
    on_timeout: OnTimeout = "fail"
    #: It holds no slot.
    pool: str = field(default=ANYWHERE, init=False)
    #: What is told to whoever looks at the job: a question, say. Or a function that makes it of what the earlier stages gave.
    prompt: str | Callable[[Mapping[str, Any]], str] = ""

    def asks(self, data: Mapping[str, Any]) -> str:
        """The prompt, of a job whose stages have given this."""
        return (self.prompt(data) if callable(self.prompt) else self.prompt) or f"waits for the signal {self.name}"


def check_wait(pipeline: str, wait: Wait) -> None:
    """:raises ConfigurationError: it cannot wait so."""
    if not SIGNAL_NAME.fullmatch(wait.name):
        raise ConfigurationError(f"pipeline {pipeline!r}: the name of a wait must match {SIGNAL_NAME.pattern}, not {wait.name!r}")
    if wait.timeout is not None and wait.timeout > MAX_WAIT:
        raise ConfigurationError(f"pipeline {pipeline!r}: {wait.name!r} must wait at most {MAX_WAIT} s")
    if wait.on_timeout not in get_args(OnTimeout):
        raise ConfigurationError(f"pipeline {pipeline!r}: on_timeout of {wait.name!r} must be one of: {', '.join(get_args(OnTimeout))}")
    if wait.version or wait.retry or wait.on_error != "fail" or not wait.reusable:
        raise ConfigurationError(f"pipeline {pipeline!r}: {wait.name!r} is a wait: it has no version, retry or on_error, and is reusable")


def pool_after(stages: Sequence[Stage], done: int = 0) -> str | None:
    """The pool of the first stage behind so many that is not to run anywhere; None: they all are."""
    return next((stage.pool for stage in stages[done:] if stage.pool != ANYWHERE), None)


def border(stages: Sequence[Stage]) -> int:
    """How many stages are before the last border of pools, the last one that runs in parts, or the last wait behind such a one: what they
    give must be kept. 0: none."""
    last, before, parts = 0, None, False
    for n, stage in enumerate(stages):
        parts = parts or stage.in_parts
        if stage.in_parts or (parts and isinstance(stage, Wait)):
            last = n
        if stage.pool != ANYWHERE:
            last, before = (n if before not in (None, stage.pool) else last), stage.pool
    return last


def check_pools(pipeline: str, stages: Sequence[Stage]) -> None:
    """:raises ConfigurationError: a pool has no such name, or what is before a border cannot be kept."""
    for stage in stages:
        check(stage.pool, f"pipeline {pipeline!r}, stage {stage.name!r}")
    for stage in stages[: border(stages)]:
        if not stage.reusable:
            raise ConfigurationError(
                f"pipeline {pipeline!r}: {stage.name!r} is not reusable, but a stage in parts, of another pool or behind a wait needs it"
            )


#: What becomes of a job one of whose parts failed: it fails too, or its join is given the error in the place of the result.
OnPartError = Literal["fail", "collect"]
#: Of one job: the most parts; and how many of them may be open (wait for a slot, or run) at once.
MAX_PARTS, MAX_WINDOW = 10_000, 100
#: Longest data of a part, in characters of JSON: what is larger goes into a file.
MAX_INPUT = 2_048


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a stage's work. `split` gives them; the function that runs one is given it, with its files in its own working folder."""

    #: Small; JSON values.
    data: Mapping[str, Any] = field(default_factory=dict)
    #: In the working folder, absolute or relative to it. The part's own folder has these and nothing else.
    files: Sequence[Path | str] = ()
    #: Which one it is: 0, 1, ...
    number: int = 0


@dataclass(frozen=True, slots=True)
class PartError:
    """Stands for the result of a part that failed (`on_part_error="collect"`)."""

    code: str
    message: str


#: Gives the parts, in order.
SplitFunction = Callable[["JobContext"], Iterable[Part]]
#: Runs one. The files that it leaves in its working folder are the join's, too.
PartFunction = Callable[["JobContext", Part], Mapping[str, Any] | None]
#: Makes the stage's output of what the parts gave, in their order. The files of part 7 are in `parts/7` of the working folder.
JoinFunction = Callable[["JobContext", Sequence[Any]], Mapping[str, Any] | None]


class TooManyParts(StageError):
    """The stage has more parts than a job may have."""

    code = "too_many_parts"


class PartTooLarge(StageError):
    """The data of a part is too long, or its files are too many: put them into one file."""

    code = "part_too_large"


class PartOutside(StageError):
    """A part was to be given a file that is not in the working folder."""

    code = "part_outside"


class PartsLost(StageError):
    """What a part gave, or was to be given, is not there."""

    code = "parts_lost"
    retryable = True


class Split(StopRun):
    """The run ends here: its job goes on when its parts have ended."""

    code = "split"

    def __init__(self, context: JobContext, stage: Map, count: int) -> None:
        """:param context: of the run. :param stage: whose parts are written. :param count: how many they are."""
        super().__init__()
        self.context, self.stage, self.count = context, stage, count

    @property
    def text(self) -> str:
        """What is told to whoever looks at the job."""
        return f"{self.stage.name}: {self.count} parts"


def in_parts(context: JobContext) -> Mapping[str, Any] | None:
    """The body of a stage that runs in parts."""
    return context.fan_out(context)


@dataclass(frozen=True, slots=True, init=False, kw_only=True)
class Map(Stage):
    """A stage that runs in parts: each is leased, retried and counted like a job, in its own pool; meanwhile its job holds no slot."""

    split: SplitFunction
    part: PartFunction
    join: JoinFunction
    #: The pool of the parts. Split and join run where their job is.
    part_pool: str
    window: int
    part_retry: RetryPolicy
    on_part_error: OnPartError

    def __init__(
        self,
        name: str,
        split: SplitFunction,
        part: PartFunction,
        join: JoinFunction,
        *,
        pool: str = DEFAULT,
        window: int = 8,
        retry: RetryPolicy | None = None,
        on_part_error: OnPartError = "fail",
        weight: float = 1.0,
        timeout: float | None = None,
    ) -> None:
        """
        :param pool: of the parts. :param window: how many of them are open at once.
        :param retry: how often a part is tried, after an error that may pass; None: once.
        :param timeout: longest that the split, the join, and one try of a part may take, in seconds.
        """
        own = {
            "name": name, "run": in_parts, "weight": weight, "reusable": True, "on_error": "fail", "instead": {}, "version": "",
            "params": None, "retry": None, "timeout": timeout, "pool": ANYWHERE, "split": split, "part": part, "join": join,
            "part_pool": pool, "window": window, "part_retry": retry or RetryPolicy(), "on_part_error": on_part_error,
        }  # fmt: skip
        for field_name, value in own.items():
            object.__setattr__(self, field_name, value)

    @property
    def in_parts(self) -> bool:
        """It is."""
        return True


def faults_of(stage: Map) -> Iterator[tuple[str, str, object]]:
    """What is given to it and makes no sense: its name, what it must be, and what it is."""
    for name in ("split", "part", "join"):
        if not callable(given := getattr(stage, name)):
            yield name, "a function", given
    if stage.part_pool == ANYWHERE:
        yield "pool", "one pool", stage.part_pool
    if type(stage.window) is not int or not 1 <= stage.window <= MAX_WINDOW:
        yield "window", f"a whole number, 1..{MAX_WINDOW}", stage.window
    if not isinstance(stage.part_retry, RetryPolicy) or stage.part_retry.max_attempts < 1:
        yield "retry", "a RetryPolicy with max_attempts of 1 or more", stage.part_retry
    if stage.on_part_error not in get_args(OnPartError):
        yield "on_part_error", f"one of: {', '.join(get_args(OnPartError))}", stage.on_part_error


def check_map(pipeline: str, stage: Map) -> None:
    """:raises ConfigurationError: it cannot run so."""
    check(stage.part_pool, f"pipeline {pipeline!r}, parts of {stage.name!r}")
    for name, must_be, given in faults_of(stage):
        raise ConfigurationError(f"pipeline {pipeline!r}: {name} of {stage.name!r} must be {must_be}, not {given!r}")
