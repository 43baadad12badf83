"""What can be run: a `Pipeline` is a named list of `Stage`s; the registry knows the built-in ones and a user's own.

A module named in `PIPELINE_MODULES`, or an entry point of the group `pipeline_jobs.pipelines`, registers its pipelines
when it is imported::

    from pipeline_jobs.pipelines import Pipeline, Stage, register

    def count(context):
        context.progress(1.0, "counted")
        return {"words": len(context.params["text"].split())}

    register(Pipeline("count-words", stages=(Stage("count", count),), params=CountParams, needs_url=False))
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, get_args

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline_jobs.exceptions import ConfigurationError, InvalidInput, OutOfMemory, UnknownPipeline, WorkerLost
from pipeline_jobs.job import FOR_PARTS, FOR_POOLS, SCHEMA
from pipeline_jobs.pools.pool_names import ANYWHERE, DEFAULT, shown
from pipeline_jobs.runlog.secret_params import MAX_HIDDEN, dumped, revealed, secrets_in, size_of, without_secrets
from pipeline_jobs.stage import DEGRADED as DEGRADED  # whoever writes a pipeline asks here for what it is made of
from pipeline_jobs.stage import WARNINGS as WARNINGS
from pipeline_jobs.stage import Map as Map
from pipeline_jobs.stage import OnError as OnError
from pipeline_jobs.stage import Part as Part
from pipeline_jobs.stage import PartError as PartError
from pipeline_jobs.stage import RetryPolicy as RetryPolicy
from pipeline_jobs.stage import SignalTimeout as SignalTimeout
from pipeline_jobs.stage import Stage as Stage
from pipeline_jobs.stage import StageFunction as StageFunction
from pipeline_jobs.stage import TryAgain as TryAgain
from pipeline_jobs.stage import Wait as Wait
from pipeline_jobs.stage import border, check_map, check_pools, check_wait, pool_after

if TYPE_CHECKING:
    from pipeline_jobs.settings import Settings


class NoParams(BaseModel):
    """A pipeline that takes no parameters."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A named list of stages."""

    name: str
    stages: tuple[Stage, ...]
    #: Model of the job's `params`; make it `extra="forbid"`, so that a misspelt one is refused at submit.
    params: type[BaseModel] = NoParams
    #: The job must have a `url` (http or https).
    needs_url: bool = True
    #: The values allowed for `quality`; empty: the pipeline takes none. The first is the default.
    qualities: tuple[str, ...] = ()
    description: str = ""
    #: Picks the `data` of the result from what all stages gave. Default: all of it.
    result: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    #: Most of its jobs that run at once, over all workers (one GPU, say); None: any number. Workers make it known as they start; an
    #: admin may set another (`PUT /pipeline/pipelines/{name}/limits`).
    max_concurrent: int | None = None
    #: Longest that its jobs may run, all runs of a job together, in seconds; then a job fails, code `run_too_long`. None: as the setting
    #: `PIPELINE_MAX_RUN_SECONDS` says. A tenant's `max_run_seconds` may be lower.
    max_run_seconds: float | None = None
    #: Top names of modules that its stages import and that may not be installed: without one of them it is not registered.
    requires: tuple[str, ...] = ()
    #: What brings them, as pip is told: `pipeline-jobs[media]`.
    extra: str = ""
    #: Tried as a worker starts. Returns what an operator should know (empty: nothing); if it raises, this worker does not run the pipeline.
    self_test: Callable[[Settings], str] | None = None

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) != len(names):
            raise ConfigurationError(f"pipeline {self.name!r}: stages must be named, each once")
        if any(not callable(stage.on_error) and stage.on_error not in get_args(OnError) for stage in self.stages):
            raise ConfigurationError(f"pipeline {self.name!r}: a stage's on_error must be one of: {', '.join(get_args(OnError))}")
        if any(stage.weight <= 0 for stage in self.stages):
            raise ConfigurationError(f"pipeline {self.name!r}: a stage's weight must be above 0")
        for stage in self.stages:
            if stage.timeout is not None and not stage.timeout > 0:
                raise ConfigurationError(f"pipeline {self.name!r}: the timeout of stage {stage.name!r} must be above 0")
            if isinstance(stage, Wait):
                check_wait(self.name, stage)
            if isinstance(stage, Map):
                check_map(self.name, stage)
            if stage.version and not stage.reusable:
                raise ConfigurationError(f"pipeline {self.name!r}: stage {stage.name!r} has a version and is not reusable")
            if unknown := set(stage.params or ()) - self.params.model_fields.keys():
                raise ConfigurationError(f"pipeline {self.name!r}: stage {stage.name!r} names unknown params: {', '.join(sorted(unknown))}")
        check_pools(self.name, self.stages)
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise ConfigurationError(f"pipeline {self.name!r}: max_concurrent must be at least 1")
        if self.max_run_seconds is not None and not self.max_run_seconds > 0:
            raise ConfigurationError(f"pipeline {self.name!r}: max_run_seconds must be above 0")

    def check_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The params as the model has them, defaults filled in, as JSON values: as stages are given them.

        :raises InvalidInput: names the first wrong field as `params.<path>`.
        """
        fields = self.stored_params(params)
        return {**revealed(fields["params"], fields["secret_params"])}

    def stored_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The same as a record has them: `params`, and apart from them `secret_params`, what pydantic hides (`SecretStr`).

        :raises InvalidInput: likewise.
        """
        if not params and self.params is NoParams:
            return {"params": {}, "secret_params": ()}
        try:
            shown, hidden = dumped(self.params.model_validate(dict(params)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(["params", *map(str, first["loc"])])
            raise InvalidInput(f"{path}: {first['msg'].removeprefix('Value error, ')}", field=path) from None
        except ValueError:
            # Its own words may have a part of a secret.
            raise InvalidInput("params: what the pipeline makes of them cannot be written as JSON", field="params") from None
        if hidden and size_of(hidden) > MAX_HIDDEN:
            raise InvalidInput(f"params: what is hidden, and where, takes more than {MAX_HIDDEN} characters", field="params")
        return {"params": shown, "secret_params": tuple(hidden)}

    def secrets(self, params: Mapping[str, Any]) -> list[str]:
        """The values of the parameters of a stage that are secret, also of models in the model. They are masked in the job's log."""
        return [] if self.params is NoParams else secrets_in(self.params, params)

    def without_secrets(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A job's parameters without those that are secret, also of models in the model: for whatever keeps them."""
        return without_secrets(self.params, params)

    def start(self, done: int = 0) -> dict[str, Any]:
        """The fields that say where a job waits so many of whose stages need not run. Workers that know no pools, or parts, refuse it."""
        parts = any(stage.in_parts for stage in self.stages)
        if not parts and all(stage.pool in (DEFAULT, ANYWHERE) for stage in self.stages):
            return {}
        return {"pool": pool_after(self.stages, done) or None, "schema": FOR_PARTS if parts else FOR_POOLS}

    def pool_from(self, stage: Stage, here: str) -> str:
        """Where a job goes on with this stage: the pool of the first one from it on that is not to run anywhere; else that of the worker
        that asks."""
        following = pool_after(self.stages, self.stages.index(stage))
        return here if following is None else following

    @property
    def border(self) -> int:
        """How many of its stages are before the last border between two pools; 0: there is none."""
        return border(self.stages)

    @property
    def waits(self) -> dict[str, Wait]:
        """The stages that wait for a signal, by its name."""
        return {stage.name: stage for stage in self.stages if isinstance(stage, Wait)}

    def spans(self) -> dict[str, tuple[float, float]]:
        """For each stage the percentages of the whole at which it begins and ends: `{"fetch": (0.0, 15.0), ...}`."""
        total = sum(stage.weight for stage in self.stages)
        spans, start = {}, 0.0
        for stage in self.stages:
            end = start + stage.weight / total * 100
            spans[stage.name] = (start, end)
            start = end
        return spans


def _is_installed(module: str) -> bool:
    """It could be imported; it is not, since that may take seconds."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class Missing:
    """A pipeline that is not registered: modules that it needs are not installed, or its test failed."""

    name: str
    modules: tuple[str, ...]
    extra: str = ""
    #: How its test failed.
    failed: str = ""

    def __str__(self) -> str:
        if self.failed:
            return f"{self.name} does not run on this machine: {self.failed}"
        hint = f" (pip install '{self.extra}')" if self.extra else ""
        return f"{self.name} needs {', '.join(self.modules)}{hint}"


#: Of a worker that knows all pipelines: how long their runs may take (None: as the settings say).
ANY: Mapping[str, float | None] = {"*": None}


@dataclass(frozen=True, slots=True)
class WorkerClass:
    """What a worker can run. Workers of a class stand in for each other; where there are several, each has a queue of its own."""

    #: A hash of its pool and of what it knows: 8 hex.
    name: str
    #: The highest schema of records and the pipelines, as `lua/lib/classes.lua` reads them: `1;media;sleep;`.
    text: str

    @classmethod
    def of(cls, names: Iterable[str], schema: int = SCHEMA, pool: str = DEFAULT) -> WorkerClass:
        text = "".join(f"{part};" for part in (schema, *sorted(names)))
        return cls(hashlib.sha256(f"{shown(pool)};{text}".encode()).hexdigest()[:8], text)


#: Of a worker that does not say what it can run.
NO_CLASS = WorkerClass("", "")


class Registry:
    """The pipelines of this process, by name."""

    def __init__(self) -> None:
        self._pipelines: dict[str, Pipeline] = {}
        self._starts: dict[str, dict[str, Any]] = {}
        #: Those that are not registered, by name.
        self.missing: dict[str, Missing] = {}

    def register(self, pipeline: Pipeline) -> Pipeline:
        """Make it known, or note in `missing` what it lacks.

        :raises ConfigurationError: another pipeline has the name already.
        """
        if lacks := tuple(module for module in pipeline.requires if not _is_installed(module)):
            self.missing[pipeline.name] = Missing(pipeline.name, lacks, pipeline.extra)
            return pipeline
        known = self._pipelines.get(pipeline.name)
        if known is not None and known != pipeline:
            raise ConfigurationError(f"two pipelines are named {pipeline.name!r}")
        self._pipelines[pipeline.name] = pipeline
        self._starts[pipeline.name] = pipeline.start()
        return pipeline

    def start_of(self, name: str) -> dict[str, Any]:
        """`Pipeline.start` of a new job: known, since every submit asks for it."""
        return self._starts.get(name, {})

    def get(self, name: str) -> Pipeline:
        """:raises UnknownPipeline: lists the names there are."""
        try:
            return self._pipelines[name]
        except KeyError:
            known = ", ".join(sorted(self._pipelines)) or "none"
            lacks = f"; not registered: {self.missing[name]}" if name in self.missing else ""
            raise UnknownPipeline(f"no pipeline is named {name!r}; known: {known}{lacks}", field="pipeline") from None

    def limit_runs(self, name: str, seconds: float) -> None:
        """From now on jobs of this pipeline may run for so long at most: known only after it was registered."""
        self._pipelines[name] = replace(self._pipelines[name], max_run_seconds=seconds)

    def longest_runs(self) -> dict[str, float | None]:
        """How long jobs of each pipeline may run, in seconds; None: as the settings say."""
        return {pipeline.name: pipeline.max_run_seconds for pipeline in self._pipelines.values()}

    def worker_class(self, pool: str = DEFAULT) -> WorkerClass:
        """Of a worker of this pool with these pipelines."""
        return WorkerClass.of(self._pipelines, SCHEMA, pool)

    def all(self) -> Iterable[Pipeline]:
        return sorted(self._pipelines.values(), key=lambda pipeline: pipeline.name)

    def try_out(self, settings: Settings) -> str:
        """Run the pipelines' own tests, and take out those that failed. :return: what an operator should know, in words; empty: nothing."""
        found = []
        for pipeline in [one for one in self.all() if one.self_test]:
            try:
                found.append(pipeline.self_test(settings) if pipeline.self_test else "")
            except (OSError, OutOfMemory, WorkerLost) as error:
                # This machine is full, or a process was killed: that passes, and `worker.fitness` looks after it.
                found.append(f"pipeline {pipeline.name} was not tried: {error}")
            except Exception as error:
                missing = self.missing[pipeline.name] = Missing(pipeline.name, (), failed=str(error) or type(error).__name__)
                del self._pipelines[pipeline.name]
                found.append(str(missing))
        return "; ".join(filter(None, found))

    def say(self) -> None:
        """Write to the log which pipelines this process knows, and which it does not because something is not installed."""
        logger.info("pipelines", registered=", ".join(sorted(self._pipelines)))
        for missing in self.missing.values():
            logger.warning("pipeline_not_registered", pipeline=missing.name, reason=str(missing))


logger = structlog.get_logger(__name__)
registry = Registry()
register = registry.register


def load(modules: Iterable[str]) -> None:
    """Import the modules that register pipelines: those named, and those of installed packages' entry points.

    An entry point whose module imports something that is not installed is noted in `registry.missing`: its package may be there for other
    reasons.

    :raises ConfigurationError: a named module cannot be imported.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigurationError(f"PIPELINE_MODULES: cannot import {module!r}: {error}") from error
    for entry_point in entry_points(group="pipeline_jobs.pipelines"):
        try:
            entry_point.load()
        except ModuleNotFoundError as error:
            registry.missing[entry_point.name] = Missing(entry_point.name, (str(error.name),))


__all__ = [
    "ANY", "DEGRADED", "NO_CLASS", "WARNINGS", "InvalidInput", "Map", "NoParams", "OnError", "Part", "PartError", "Pipeline", "Registry",
    "RetryPolicy", "SignalTimeout", "Stage", "StageFunction", "TryAgain", "Wait", "WorkerClass", "load", "register", "registry",
]  # fmt: skip
