"""celery-exporter's environment: made once for a lock file, with an interpreter that fits, and no failure of ours without it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.up import exporter


def make_executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_our_own_interpreter_is_used_if_it_is_old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    assert exporter.find_python() == sys.executable


def test_otherwise_one_on_the_path_that_really_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    make_executable(tmp_path / "python3.12", "exit 127")
    working = make_executable(tmp_path / "python3.11", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert exporter.find_python() == str(working)


def test_without_one_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"needs one of python3\.12, python3\.11"):
        exporter.find_python()


def test_it_is_installed_once_for_a_lock_file_and_again_for_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        ran.append(command)
        (tmp_path / "env").mkdir(exist_ok=True)

    monkeypatch.setattr(subprocess, "run", run)
    lock = tmp_path / "exporter.lock"
    lock.write_text("a==1\n")
    assert not exporter.installed(tmp_path / "env", lock)
    for _ in range(2):
        assert exporter.install(tmp_path / "env", lock) == tmp_path / "env" / "bin" / "python"
    assert [command[1:3] for command in ran] == [["-m", "venv"], ["-m", "pip"]]
    assert ran[1][-2:] == ["-r", str(lock)]
    assert exporter.installed(tmp_path / "env", lock)
    lock.write_text("a==2\n")
    exporter.install(tmp_path / "env", lock)
    assert len(ran) == 4


def test_an_install_that_fails_is_not_taken_for_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(exporter.install, "__defaults__", (tmp_path / "env", exporter.LOCK))
    assert exporter.main(["redis://127.0.0.1:1/0", "9808", ""]) == 1
    assert "returned non-zero exit status 1" in capsys.readouterr().err
    assert not (tmp_path / "env" / "installed").exists()


def test_installed_it_becomes_the_exporter_on_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "installed").write_text(hashlib.sha256(exporter.LOCK.read_bytes()).hexdigest())
    became: list[list[str]] = []
    monkeypatch.setattr(exporter.install, "__defaults__", (tmp_path, exporter.LOCK))
    monkeypatch.setattr(os, "execv", lambda path, argv: became.append([path, *argv]))
    exporter.main(["redis://127.0.0.1:1/0", "9808", ""])
    python = str(tmp_path / "bin" / "python")
    assert became[0][:3] == [python, python, "-P"]
    assert became[0][5:11] == ["--broker-url", "redis://127.0.0.1:1/0", "--host", "127.0.0.1", "--port", "9808"]


def test_an_installation_with_a_prefix_is_the_one_it_watches(capsys: pytest.CaptureFixture[str]) -> None:
    assert exporter.options("redis://127.0.0.1:1/0", "9808", "east:")[-2:] == ["--broker-transport-option", "global_keyprefix=east:"]
    assert not any("global_keyprefix" in word for word in exporter.options("redis://127.0.0.1:1/0", "9808", ""))
    assert exporter.main(["amqp://127.0.0.1:1//", "9808", "east:"]) == 1
    assert "no option for a prefix on RabbitMQ" in capsys.readouterr().err
