"""Flower's configuration: what is shown of a job, and who may look."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CONFIG = Path(__file__).resolve().parents[2] / "flowerconfig.py"
JOB = "{'tenant': 'acme', 'workspace': 'main', 'pipeline': 'media'}"


def load(monkeypatch: pytest.MonkeyPatch, **environ: str) -> dict[str, Any]:
    for name in ("FLOWER_ADDRESS", "FLOWER_AUTH", "FLOWER_BASIC_AUTH", "FLOWER_PUBLISHED_ON_LOOPBACK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
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


def test_it_listens_on_loopback_by_default_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch)["address"] == "127.0.0.1"


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "flower.example.org"])
def test_elsewhere_it_needs_a_login(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with pytest.raises(SystemExit, match="needs a login: set FLOWER_BASIC_AUTH"):
        load(monkeypatch, FLOWER_ADDRESS=address)
    with pytest.raises(SystemExit, match="needs a login"):
        load(monkeypatch, FLOWER_ADDRESS=address, FLOWER_BASIC_AUTH="")
    assert load(monkeypatch, FLOWER_ADDRESS=address, FLOWER_BASIC_AUTH="ann:secret")["address"] == address
    assert load(monkeypatch, FLOWER_ADDRESS=address, FLOWER_PUBLISHED_ON_LOOPBACK="1")["address"] == address


@pytest.mark.parametrize("address", ["localhost", "::1", "127.0.0.2"])
def test_loopback_has_many_names(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert load(monkeypatch, FLOWER_ADDRESS=address)["address"] == address


def test_an_empty_login_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, FLOWER_BASIC_AUTH="")["basic_auth"] == []
    assert "basic_auth" not in load(monkeypatch, FLOWER_BASIC_AUTH="ann:secret")
