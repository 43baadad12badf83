"""The names of pools, and which of them a worker serves by its queues."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.pools.pool_names import check, is_pool, served
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.stage import Stage, Wait, border, pool_after
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.start import name_worker
from tests.cases import each


@each(
    ("queues", "pools"),
    [
        (["jobs"], [""]),
        (["jobs", "jobs.0a1b2c3d"], [""]),
        (["jobs.gpu"], ["gpu"]),
        (["jobs.gpu", "jobs.gpu.0a1b2c3d"], ["gpu"]),
        (["jobs.gpu", "stages"], ["gpu"]),
        (["jobs", "stages", "maintenance"], [""]),
        (["maintenance"], []),
        (["stages"], []),
        (["jobs", "jobs.gpu"], ["", "gpu"]),
        (["jobs.cpu", "jobs.gpu"], ["cpu", "gpu"]),
    ],
)
def test_a_worker_serves_the_pools_of_its_queues(queues: list[str], pools: list[str]) -> None:
    assert served(queues, "jobs") == pools


def test_a_worker_that_is_to_serve_two_pools_does_not_start() -> None:
    """Its command: `tests/acceptance/test_pools.py`."""
    app = create_celery(Settings(redis_url="redis://127.0.0.1:1/0"))
    app.amqp.queues.select(["jobs", "jobs.gpu"])
    with pytest.raises(SystemExit, match=r"-Q jobs\.gpu\), and this one is to serve default, gpu"):
        name_worker(SimpleNamespace(app=app, hostname="jobs@b", loglevel="INFO", pool_cls="prefork", options={}))
    app.close()


def test_a_pools_name_stands_in_keys_and_beside_the_queues_of_classes() -> None:
    assert [name for name in ("gpu", "a-1", "x" * 20) if not is_pool(name)] == []
    assert [name for name in ("", "GPU", "1a", "a_b", "a.b", "x" * 21, "default", "deadbeef") if is_pool(name)] == []
    with pytest.raises(ConfigurationError, match="stage 'x'"):
        check("a b", "stage 'x'")


def stages(*pools: str | None) -> list[Stage]:
    """With None for a wait."""

    def nothing(_: Any) -> None:
        """A stage."""

    return [Wait(f"w{n}") if pool is None else Stage(f"s{n}", nothing, pool=pool) for n, pool in enumerate(pools)]


@pytest.mark.parametrize(
    ("pools", "before"),
    [
        (["", ""], 0),
        (["gpu", "gpu"], 0),
        (["", "gpu"], 1),
        (["", "gpu", ""], 2),
        (["", None, "gpu", None], 2),
        ([None, "gpu", "gpu", ""], 3),
    ],
)
def test_what_is_before_the_last_border_must_be_kept(pools: list[str | None], before: int) -> None:
    assert border(stages(*pools)) == before


def test_a_job_waits_where_its_next_stage_runs() -> None:
    trip = stages("", None, "gpu", "")
    assert [pool_after(trip, done) for done in range(5)] == ["", "gpu", "gpu", "", None]


def test_caps_of_pools_are_read_and_what_is_none_is_refused() -> None:
    assert load_settings({"PIPELINE_POOL_CAPS": "gpu=2,cpu-large=8"}).pool_caps == {"gpu": 2, "cpu-large": 8}
    assert load_settings({}).pool_caps == {}
    for wrong in ("gpu", "gpu=", "gpu=x", "GPU=1", "gpu=1,"):
        with pytest.raises(ConfigurationError, match="PIPELINE_POOL_CAPS"):
            load_settings({"PIPELINE_POOL_CAPS": wrong})
