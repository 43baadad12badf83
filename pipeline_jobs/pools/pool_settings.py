"""The settings of pools: fields of `settings.Settings`."""

from __future__ import annotations

from functools import cached_property

from pipeline_jobs.pools.pool_names import check
from pipeline_jobs.starting import HistorySettings
from pipeline_jobs.starting import setting as _setting


class PoolSettings(HistorySettings):
    """A part of `Settings`: the pools."""

    pool_caps_setting: str = _setting(
        "",
        "Maximum number of running jobs of each pool besides `default`, as `gpu=2,cpu-large=8`. A pool that is not named has as many as "
        "its workers have slots. As for PIPELINE_MAX_CONCURRENT_JOBS, which is that of `default`, the worker that started last decides.",
        env="PIPELINE_POOL_CAPS",
        pattern=r"^$|^[a-z][a-z0-9-]{0,19}=[0-9]{1,6}(,[a-z][a-z0-9-]{0,19}=[0-9]{1,6})*$",
    )
    hop_bytes: int = _setting(
        8 * 1024**3,
        "Maximum size of what one stage gives to the stages of another pool, its files included, in bytes. Above it, the job fails with "
        "the code hop_failed.",
        ge=0,
    )

    @cached_property
    def pool_caps(self) -> dict[str, int]:
        """Of each pool that has one. :raises ConfigurationError: a name that no pool may have."""
        caps = {name: int(cap) for name, _, cap in (one.partition("=") for one in self.pool_caps_setting.split(",") if one)}
        for name in caps:
            check(name, "PIPELINE_POOL_CAPS")
        return caps
