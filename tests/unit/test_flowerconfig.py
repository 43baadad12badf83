"""Flower's configuration: what is shown of a job, and who may look."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flower.app
import pytest
from tornado.options import options

from pipeline_jobs.settings import env_names

CONFIG = Path(__file__).resolve().parents[2] / "flowerconfig.py"
JOB = "{'tenant': 'acme', 'workspace': 'main', 'pipeline': 'media'}"


@pytest.fixture(autouse=True)
def no_other_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in env_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(flower.app.Flower, "find_handler", flower.app.Flower.find_handler)


def load(monkeypatch: pytest.MonkeyPatch, **given: Any) -> dict[str, Any]:
    """The configuration, with these options of Flower from its environment or command line."""
    for name, value in {"address": "", "basic_auth": [], "auth": "", **given}.items():
        monkeypatch.setattr(options.mockable(), name, value)
    return runpy.run_path(str(CONFIG))


def test_a_job_is_shown_by_tenant_workspace_and_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    format_task = load(monkeypatch)["format_task"]
    assert format_task(SimpleNamespace(kwargs=JOB)).kwargs == "tenant=acme workspace=main pipeline=media"
    listed = ("job_1_a", SimpleNamespace(kwargs=JOB))
    assert format_task(listed) == ("job_1_a", SimpleNamespace(kwargs="tenant=acme workspace=main pipeline=media"))


@pytest.mark.parametrize(
    "kwargs", [None, "", "{}", "{'tenant': 'acme'}", "[1]", "{'tenant': 'ac...", "<object at 0x7f>", "{'tenant': __import__('os')}"]
)
def test_other_tasks_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch, kwargs: str | None) -> None:
    assert load(monkeypatch)["format_task"](SimpleNamespace(kwargs=kwargs)).kwargs == kwargs


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
