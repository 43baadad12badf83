"""Flower's configuration: what is shown of a job, and who may look."""

from __future__ import annotations

import asyncio
import os
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin

import flower.app
import flower.events
import flower.views.tasks
import pytest
import tornado.ioloop
from flower.utils.broker import RabbitMQ
from tornado.options import options

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.operation import flower_columns
from pipeline_jobs.settings import env_names

CONFIG = Path(__file__).resolve().parents[2] / "flowerconfig.py"
JOB = "{'tenant': 'acme', 'workspace': 'main', 'pipeline': 'media'}"


@pytest.fixture(autouse=True)
def no_other_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in env_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(tmp_path))
    for name in ("find_handler", "start"):
        monkeypatch.setattr(flower.app.Flower, name, getattr(flower.app.Flower, name))
    monkeypatch.setattr(os, "umask", lambda _: 0o022)


def load(monkeypatch: pytest.MonkeyPatch, **given: Any) -> dict[str, Any]:
    """The configuration, with these options of Flower from its environment or command line."""
    for name, value in {"address": "", "basic_auth": [], "auth": "", "db": "flower", **given}.items():
        monkeypatch.setattr(options.mockable(), name, value)
    return runpy.run_path(str(CONFIG))


def task(uuid: str, kwargs: str | None) -> Any:
    """A task as Flower holds it."""
    one = flower.events.EventsState.Task(uuid=uuid, name="pipeline_jobs.run_job", state="STARTED")
    one.kwargs = kwargs
    return one


def test_a_job_has_columns_of_its_own_and_fields_in_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = load(monkeypatch)["tasks_columns"].split(",")
    shown = flower.views.tasks.visible_task_columns(",".join(columns))
    assert shown[3:7] == [("tenant", "Tenant"), ("workspace", "Workspace"), ("pipeline", "Pipeline"), ("stage", "Stage")]
    said = task("job_1_a", JOB).as_dict()
    assert [said[name] for name in columns[3:7]] == ["acme", "main", "media", None]


@pytest.mark.parametrize(
    "kwargs", [None, "", "{}", "{'tenant': 'acme'}", "[1]", "{'tenant': 'ac...", "<object at 0x7f>", "{'tenant': __import__('os')}"]
)
def test_other_tasks_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch, kwargs: str | None) -> None:
    load(monkeypatch)
    said = task("x", kwargs).as_dict()
    assert (said["kwargs"], said["tenant"], said["stage"]) == (kwargs, None, None)


def look_at(stages: Callable[[Sequence[str]], Sequence[str | None]], *tasks: Any) -> Any:
    """One look at these tasks. :return: Flower's state."""
    state = flower.events.EventsState()
    for one in tasks:
        state.tasks[one.uuid] = one
        state.search_engine.upsert(one)

    async def look() -> None:
        app = SimpleNamespace(events=SimpleNamespace(state=state), io_loop=tornado.ioloop.IOLoop.current())
        await flower_columns.Look(app, stages).once()

    asyncio.run(look())
    return state


def test_the_stage_of_a_live_job_is_asked_for_and_can_be_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch)
    asked: list[str] = []
    ended = task("job_1_b", JOB)
    ended.state = "SUCCESS"
    state = look_at(lambda ids: asked.extend(ids) or ["fetch"] * len(ids), task("job_1_a", JOB), ended, task("other", "{}"))
    assert asked == ["job_1_a"]
    assert state.tasks["job_1_a"].as_dict()["stage"] == "fetch"
    assert state.search_engine.matching_ids("kwargs:stage=fetch") == {"job_1_a"}
    assert state.search_engine.matching_ids("kwargs:tenant=acme") == {"job_1_a", "job_1_b"}


@pytest.mark.parametrize("kwargs", [JOB, "{}"])
def test_what_the_store_does_not_say_changes_nothing(monkeypatch: pytest.MonkeyPatch, kwargs: str) -> None:
    def away(ids: Sequence[str]) -> Sequence[str | None]:
        raise StoreUnavailable

    load(monkeypatch)
    for stages in (away, lambda ids: [None] * len(ids)):
        assert look_at(stages, task("job_1_a", kwargs)).tasks["job_1_a"].kwargs == kwargs


@pytest.mark.parametrize("vhost", ["", "jobs"])
def test_queues_of_rabbitmq_are_asked_for_at_an_address_that_version_4_knows(monkeypatch: pytest.MonkeyPatch, vhost: str) -> None:
    load(monkeypatch)
    monkeypatch.setattr(RabbitMQ, "queues", RabbitMQ.queues)
    asked: list[str] = []

    async def answer(self: RabbitMQ, names: set[str]) -> list[dict[str, Any]]:
        asked.append(urljoin(self.http_api, "queues/" + self.vhost))
        return []

    monkeypatch.setattr(flower_columns, "_queues", answer)
    broker = RabbitMQ(f"amqp://127.0.0.1:5672/{vhost}", "http://127.0.0.1:15672/api/")
    for _ in range(2):
        asyncio.run(broker.queues({"jobs"}))
    assert asked == [f"http://127.0.0.1:15672/api/queues/{vhost or '%2F'}"] * 2


def test_what_it_has_seen_is_kept_in_the_data_folder_unless_it_is_told_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = load(monkeypatch)
    assert (made["persistent"], made["db"], made["state_save_interval"]) == (True, str(tmp_path / "flower-state"), 60_000)
    other = load(monkeypatch, db="/elsewhere", state_save_interval=5, max_tasks=7)
    assert (other["db"], other["state_save_interval"], other["max_tasks"]) == ("/elsewhere", 5, 7)


def test_it_listens_on_loopback_unless_it_is_told_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch)["address"] == "127.0.0.1"
    assert load(monkeypatch, address="0.0.0.0")["address"] == "0.0.0.0"


@pytest.mark.parametrize("address", ["", "localhost", "0.0.0.0", "flower.example.org"])
@pytest.mark.parametrize("none", [[], [""]])
def test_without_a_login_of_its_own_it_draws_one_and_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, none: list[str]
) -> None:
    first = load(monkeypatch, address=address, basic_auth=none)["basic_auth"]
    kept = tmp_path / "flower-password"
    assert first == [f"flower:{kept.read_text()}"]
    assert len(kept.read_text()) == 43
    assert kept.stat().st_mode & 0o777 == 0o600
    assert load(monkeypatch)["basic_auth"] == first
    said = capsys.readouterr().err
    assert str(kept) in said
    assert kept.read_text() not in said


def test_a_password_that_is_set_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_FLOWER_PASSWORD", "correct:horse")
    assert load(monkeypatch)["basic_auth"] == ["flower:correct:horse"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("login", [{"basic_auth": ["ann:secret"]}, {"auth": ".*@example.org"}])
def test_flowers_own_login_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, login: dict[str, Any]) -> None:
    monkeypatch.setenv("PIPELINE_FLOWER_PASSWORD", "correct:horse")
    assert "basic_auth" not in load(monkeypatch, **login)
    assert list(tmp_path.iterdir()) == []
