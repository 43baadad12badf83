"""How many jobs run at once, over all workers: of a pipeline what its code declares and an admin sets in its place, and in all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import structlog

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.pools.pool_names import DEFAULT, shown
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)

#: More slots than any cell has.
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """A pipeline's cap and how much of it is taken."""

    #: Set by an admin; None: what is declared holds.
    max_concurrent: int | None
    #: `Pipeline.max_concurrent` of the worker that started last; None: no cap.
    declared: int | None
    #: Slots it has now: dispatched and running jobs.
    current: int

    def to_dict(self) -> dict[str, int | None]:
        return asdict(self)


def of(store: Store, pipeline: str) -> PipelineLimits:
    """:raises StoreUnavailable:"""
    cap, own, n, others = store.fields([f"{field}:{pipeline}" for field in ("cap", "own", "n", "others")], "pipelines")
    return PipelineLimits(_number(cap), _number(own), (_number(n) or 0) + (_number(others) or 0))


def set_cap(store: Store, pipeline: str, max_concurrent: int | None, *, actor: str | None = None) -> PipelineLimits:
    """Set the cap (None: what is declared holds again). It acts on the backlog at once; what runs goes on.

    :param actor: for the audit log.
    :raises InvalidInput: it is no number of slots.
    """
    if max_concurrent is not None and not 0 <= max_concurrent <= MOST:
        raise InvalidInput(f"max_concurrent must be 0..{MOST}", field="max_concurrent")
    store.set_pipeline_cap(pipeline, max_concurrent)
    audit.record(store, actor, "pipeline_limits.changed", pipeline, {"max_concurrent": max_concurrent})
    return of(store, pipeline)


def declare(store: Store, pipelines: Iterable[Pipeline]) -> None:
    """Make the declared caps known; a worker does, before it announces its first slots."""
    known = store.record("pipelines")
    for pipeline in pipelines:
        if _number(known.get(f"own:{pipeline.name}")) != pipeline.max_concurrent:
            store.set_pipeline_cap(pipeline.name, pipeline.max_concurrent, declared=True)


def declare_max_concurrent_jobs(store: Store, settings: Settings) -> None:
    """Set the caps of the pools to this worker's `PIPELINE_MAX_CONCURRENT_JOBS` (`default`; if it was given one: the default is nobody's
    wish) and `PIPELINE_POOL_CAPS`.

    The worker that starts last decides, so that a new value comes with a restart of the workers. The API and programs that only submit
    set nothing: they go by what is set, and by their own setting only while nobody has.
    """
    if "max_concurrent_jobs" in settings.model_fields_set:
        _declare(store, DEFAULT, settings.max_concurrent_jobs, "PIPELINE_MAX_CONCURRENT_JOBS")
    for pool, cap in settings.pool_caps.items():
        _declare(store, pool, cap, "PIPELINE_POOL_CAPS")
    if "pool_caps_setting" in settings.model_fields_set:
        for pool in store.pools():
            if pool != DEFAULT and pool not in settings.pool_caps:
                _declare(store, pool, None, "PIPELINE_POOL_CAPS")


def _declare(store: Store, pool: str, cap: int | None, setting: str) -> None:
    before = store.set_max_concurrent_jobs(cap, pool)
    if before not in (None, cap):
        logger.warning("the maximum number of concurrent jobs was changed", setting=setting, pool=shown(pool), before=before, now=cap)


def _number(value: str | None) -> int | None:
    return None if value is None else int(value)
