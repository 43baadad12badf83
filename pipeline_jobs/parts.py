"""A stage that runs in parts, side by side (docs/decisions/0018-parts.md): `Map`, and what its functions give and are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pipeline_jobs.exceptions import ConfigurationError, StageError, StopRun
from pipeline_jobs.pools.pool_names import ANYWHERE, DEFAULT, check
from pipeline_jobs.stage import RetryPolicy, Stage

if TYPE_CHECKING:
    from pipeline_jobs.context import JobContext

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
    """The data of a part is too long: put it into a file."""

    code = "part_too_large"


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


@dataclass(frozen=True, slots=True, init=False)
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


def check_map(pipeline: str, stage: Map) -> None:
    """:raises ConfigurationError: it cannot run so."""
    check(stage.part_pool, f"pipeline {pipeline!r}, parts of {stage.name!r}")
    if stage.part_pool == ANYWHERE:
        raise ConfigurationError(f"pipeline {pipeline!r}: the parts of {stage.name!r} must be of one pool")
    if not 1 <= stage.window <= MAX_WINDOW:
        raise ConfigurationError(f"pipeline {pipeline!r}: the window of {stage.name!r} must be 1..{MAX_WINDOW}, not {stage.window}")
    if stage.on_part_error not in get_args(OnPartError):
        allowed = ", ".join(get_args(OnPartError))
        raise ConfigurationError(f"pipeline {pipeline!r}: on_part_error of {stage.name!r} must be one of: {allowed}")
