"""Pipelines, their checks and the registry."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from pipeline_jobs import pipelines
from pipeline_jobs.exceptions import ConfigurationError, InvalidInput, OutOfMemory, UnknownPipeline, WorkerLost
from pipeline_jobs.pipelines import Map, NoParams, Pipeline, Registry, RetryPolicy, Stage
from pipeline_jobs.settings import Settings, load_settings


def nothing(_: object) -> None:
    return None


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = 1


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seconds: float
    inner: Inner = Inner()


ONE = Pipeline("one", (Stage("a", nothing, weight=1), Stage("b", nothing, weight=3)), params=Params)


def test_the_stages_share_the_progress_by_weight() -> None:
    assert ONE.spans() == {"a": (0.0, 25.0), "b": (25.0, 100.0)}


def test_params_come_back_with_their_defaults() -> None:
    assert ONE.check_params({"seconds": 1}) == {"seconds": 1.0, "inner": {"depth": 1}}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "params.seconds"),
        ({"seconds": "x"}, "params.seconds"),
        ({"seconds": 1, "extra": 1}, "params.extra"),
        ({"seconds": 1, "inner": {"depth": "x"}}, "params.inner.depth"),
    ],
)
def test_a_wrong_param_is_named(params: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ONE.check_params(params)
    assert refused.value.field == field


@pytest.mark.parametrize("stages", [(), (Stage("a", nothing), Stage("a", nothing)), (Stage("a", nothing, weight=0),)])
def test_a_pipeline_that_cannot_work_is_refused(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(ConfigurationError):
        Pipeline("x", stages)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"split": [1, 2]}, r"split of 'hear' must be a function, not \[1, 2\]"),
        ({"part": "hear"}, "part of 'hear' must be a function, not 'hear'"),
        ({"join": None}, "join of 'hear' must be a function, not None"),
        ({"pool": "GPU!"}, "parts of 'hear': the name of a pool must match"),
        ({"pool": None}, "parts of 'hear': the name of a pool must match"),
        ({"pool": "*"}, "pool of 'hear' must be one pool, not '\\*'"),
        ({"window": 0}, "window of 'hear' must be a whole number, 1..100, not 0"),
        ({"window": 101}, "window of 'hear' must be a whole number, 1..100, not 101"),
        ({"window": 2.5}, "window of 'hear' must be a whole number, 1..100, not 2.5"),
        ({"window": "8"}, "window of 'hear' must be a whole number, 1..100, not '8'"),
        ({"retry": 3}, "retry of 'hear' must be a RetryPolicy with max_attempts of 1 or more, not 3"),
        ({"retry": RetryPolicy(0)}, "retry of 'hear' must be a RetryPolicy with max_attempts of 1 or more"),
        ({"on_part_error": "skip"}, "on_part_error of 'hear' must be one of: fail, collect, not 'skip'"),
    ],
)
def test_a_stage_in_parts_that_cannot_work_is_refused_and_it_is_said_why(wrong: dict[str, Any], told: str) -> None:
    right: dict[str, Any] = {"split": nothing, "part": nothing, "join": nothing}
    Pipeline("film", (Map("hear", **right, pool="gpu", window=100, retry=RetryPolicy(2), on_part_error="collect"),))
    with pytest.raises(ConfigurationError, match=f"pipeline 'film'.*{told}"):
        Pipeline("film", (Map("hear", **{**right, **wrong}),))


def test_a_name_belongs_to_one_pipeline() -> None:
    registry = Registry()
    assert registry.register(ONE) is registry.register(ONE)
    with pytest.raises(ConfigurationError):
        registry.register(Pipeline("one", (Stage("z", nothing),), params=NoParams))
    with pytest.raises(UnknownPipeline, match="known: one"):
        registry.get("two")


def test_modules_from_outside_are_imported_and_a_missing_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys_pipelines.py").write_text("LOADED = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    pipelines.load(["somebodys_pipelines"])
    assert "somebodys_pipelines" in sys.modules
    with pytest.raises(ConfigurationError, match="no_such_module"):
        pipelines.load(["no_such_module"])


def test_a_pipeline_whose_modules_are_not_installed_is_not_registered_and_it_is_said_what_is_missing() -> None:
    registry = Registry()
    registry.register(ONE)
    registry.register(Pipeline("two", (Stage("a", nothing),), requires=("sys", "no_such_module"), extra="somebodys[two]"))
    assert [pipeline.name for pipeline in registry.all()] == ["one"]
    assert registry.missing["two"].modules == ("no_such_module",)
    with pytest.raises(UnknownPipeline, match=r"known: one; not registered: two needs no_such_module \(pip install 'somebodys\[two\]'\)"):
        registry.get("two")


def test_a_package_whose_pipelines_cannot_be_imported_for_want_of_a_module_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lacking_pipelines.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pipelines, "registry", Registry())
    monkeypatch.setattr(pipelines, "entry_points", lambda group: [EntryPoint("lacking", "lacking_pipelines", group)])
    pipelines.load([])
    assert pipelines.registry.missing["lacking"].modules == ("no_such_module",)


def test_a_pipeline_whose_own_test_fails_is_taken_out_and_the_others_stay() -> None:
    def broken(settings: Settings) -> str:
        raise ConfigurationError("no such library")

    registry = Registry()
    registry.register(replace(ONE, name="broken", self_test=broken))
    registry.register(replace(ONE, name="odd", self_test=lambda settings: "it is odd here"))
    registry.register(replace(ONE, name="good", self_test=lambda settings: ""))
    registry.register(ONE)
    said = registry.try_out(load_settings({}))
    assert said == "broken does not run on this machine: no such library; it is odd here"
    assert [pipeline.name for pipeline in registry.all()] == ["good", "odd", "one"]
    assert "broken;" not in registry.worker_class().text, "its jobs go to workers where it runs"
    with pytest.raises(UnknownPipeline, match="no such library"):
        registry.get("broken")


@pytest.mark.parametrize("fault", [OSError("No space left on device"), OutOfMemory(), WorkerLost()])
def test_a_fault_of_the_machine_as_a_pipeline_is_tried_takes_it_out_of_no_worker(fault: Exception) -> None:
    def fails(settings: Settings) -> str:
        raise fault

    registry = Registry()
    registry.register(replace(ONE, self_test=fails))
    assert registry.try_out(load_settings({})) == f"pipeline one was not tried: {fault}"
    assert registry.get("one").name == "one"
    assert not registry.missing
