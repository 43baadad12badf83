"""The order of events, in a process of its own with stand-ins for all but the server: exit codes, words, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import requests

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from pipeline_jobs.settings import load_settings
from pipeline_jobs.store.store import Store, connect
from pipeline_jobs.up.main import flower_login
from tests import preloaded
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]


def environment(data: Path, **values: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if "PIPELINE_" not in name and name != "CELERY_BROKER_URL"}
    names = ("HTTP", "FLOWER", "REDIS", "EXPORTER", "METRICS")
    ports = {f"PIPELINE_{name}_PORT": "0" for name in names}
    return {**clean, **ports, "PIPELINE_DATA_DIR": str(data), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **values}


def run(data: Path, *arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
    """Such a stack until it ends."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = start(out, errors, environment(data, **values), *arguments)
        try:
            code = process.wait(60)
        finally:
            process.kill()
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(process.args, code, out.read(), errors.read())


def start(out: IO[Any], errors: IO[Any], env: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """Forked: of the second of a processor that a start takes all but a tenth are imports."""
    command = (sys.executable, "-m", "tests.unit.up.standin_stack", "up", *arguments)
    return preloaded.start(command, env=env, stdout=out.fileno(), stderr=errors.fileno())


@contextmanager
def serving(data: Path, **values: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A stack that has come to serve, and the file with its words."""
    words = data.parent / "words"
    with words.open("wb") as output:
        process = start(output, output, environment(data, **values))
    try:
        until(lambda: "Serving until Ctrl-C." in words.read_text() or process.poll() is not None, "the stack to serve")
        assert process.poll() is None, words.read_text()
        yield process, words
    finally:
        process.kill()
        process.wait()


def logging(data: Path) -> Iterator[tuple[int, Path]]:
    """The processes whose output goes to the logs in this data folder, each with its log."""
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (log := (folder / "fd" / "1").readlink()).is_relative_to(data / "logs"):
                yield int(folder.name), log
        except OSError:
            continue  # it ended meanwhile, or is not ours to look at


def left_behind(data: Path) -> list[str]:
    """Command lines of those processes."""
    return [Path(f"/proc/{pid}/cmdline").read_text() for pid, _ in logging(data)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data with a space"


def test_once_ends_with_the_job_and_shows_its_result(data: Path) -> None:
    ended = run(data, "--once")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "media from private and loopback addresses" in ended.stdout
    assert "transcript  welcome to the test" in ended.stdout
    assert left_behind(data) == []
    assert {file.name for file in (data / "logs").iterdir()} == {"server.log", "api.log", "flower.log"}


def test_with_the_store_away_it_says_soon_what_it_waits_for(data: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    with words.open("wb") as output:
        began = time.monotonic()
        process = start(output, output, environment(data, PIPELINE_REDIS_URL="redis://127.0.0.1:1/0"))
    try:
        until(lambda: "Waiting for the store: 127.0.0.1:1 cannot be reached: Connection refused" in words.read_text(), "its word")
        print(f"said after {time.monotonic() - began:.1f} s")
        assert not any("api.log" in str(log) for _, log in logging(data)), "the others would wait for it in silence"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()


def test_once_fails_with_the_job(data: Path) -> None:
    ended = run(data, "--once", PYTEST_STANDIN="job_fails")
    assert ended.returncode == 1
    assert "The job is failed [not_media]: it is no media" in ended.stdout
    assert left_behind(data) == []


def test_a_process_that_dies_at_start_is_told_with_its_last_words(data: Path) -> None:
    ended = run(data, PYTEST_STANDIN="api_dies")
    assert ended.returncode == 1
    assert "Error: api ended with code 1" in ended.stdout
    assert "    wsgi.py is broken" in ended.stdout
    assert left_behind(data) == []


@pytest.mark.parametrize("setting", ["PIPELINE_HTTP_PORT", "PIPELINE_FLOWER_PORT", "PIPELINE_REDIS_PORT", "PIPELINE_METRICS_PORT"])
def test_a_taken_port_is_told_before_anything_starts(data: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run(data, **{setting: str(taken.getsockname()[1])})
    assert ended.returncode == 2
    assert f"set {setting} to another port" in ended.stdout
    assert not (data / "logs").exists()
    assert left_behind(data) == []


def test_a_wrong_setting_is_told(data: Path) -> None:
    ended = run(data, PIPELINE_HTTP_PROT="8000")
    assert ended.returncode == 2
    assert "Error: unknown setting PIPELINE_HTTP_PROT: did you mean PIPELINE_HTTP_PORT?" in ended.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_serves_until_a_signal_and_then_stops_everything(data: Path, number: signal.Signals) -> None:
    with serving(data) as (process, words):
        process.send_signal(number)
        assert process.wait(60) == 0
        assert left_behind(data) == []
        said = words.read_text()
    for word in ("page", "API", "docs", "metrics", "Flower", "store", "exporter", "curl"):
        assert word in said
    assert said.endswith("Stopping ...\n")
    kept = data / "flower-password"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert f"(sign in as flower with the password {kept.read_text()})" in said


def test_commands_in_another_terminal_are_given_the_port_and_the_key_that_they_need(data: Path) -> None:
    """A key of an earlier day is still there the next: without a word, each command of README.md would be refused."""
    with serving(data) as (_, words):
        first = words.read_text()
        (found,) = re.findall(r"need: export PIPELINE_REDIS_URL=(\S+)$", first, re.MULTILINE)
        settings = load_settings({"PIPELINE_REDIS_URL": found, "PIPELINE_DATA_DIR": str(data)})
        assert "Authorization" not in first
        with closing(connect(found)) as client:
            KeyStore(Store(client, settings)).create(ALL, Role.ADMIN, actor="test")
    with serving(data) as (_, words):
        said = words.read_text()
    assert "key create --all-tenants" in said
    assert re.search(r'Another job: curl \S+ -H "Authorization: Bearer \$KEY"', said)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PIPELINE_FLOWER_PASSWORD", "of-my-own-choice"), ("FLOWER_BASIC_AUTH", "ann:secret"), ("FLOWER_AUTH", "ann@example.org")],
)
def test_a_login_of_ones_own_is_named_and_not_said(tmp_path: Path, name: str, value: str) -> None:
    environ = {name: value, "PIPELINE_DATA_DIR": str(tmp_path)}
    said = flower_login(environ, load_settings(environ))
    assert name in said
    assert value not in said
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_ends_later_is_told_and_the_others_go_on(data: Path) -> None:
    with serving(data) as (process, words):
        until(lambda: "exporter ended with code 1" in words.read_text())
        assert process.poll() is None
        assert "no network" in words.read_text()


def test_a_process_that_is_killed_is_started_again(data: Path) -> None:
    with serving(data) as (process, words):
        address = re.search(r"health +(http://\S+)", words.read_text())
        assert address is not None
        for name in ("api", "flower", "server"):
            (killed,) = pids(data, name)
            os.kill(killed, signal.SIGKILL)
            until(lambda name=name, killed=killed: pids(data, name) - {killed}, f"{name} to be there again")
            assert f"{name} was ended by SIGKILL" in words.read_text()
        until(lambda: answers(address[1]), "the API to answer")
        assert process.poll() is None


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=60).ok
    except requests.RequestException:
        return False


def pids(data: Path, name: str) -> set[int]:
    """Of the processes that write this log."""
    return {pid for pid, log in logging(data) if log.name == f"{name}.log"}


def test_a_second_stack_on_the_same_data_is_refused(data: Path) -> None:
    with serving(data) as (process, words):
        second = run(data, "--once")
        assert process.poll() is None, words.read_text()
    assert second.returncode == 2
    assert "another stack runs on" in second.stdout


def test_a_second_signal_does_not_wait_for_the_stubborn(data: Path) -> None:
    with serving(data, PYTEST_STANDIN="stubborn") as (process, words):
        process.send_signal(signal.SIGTERM)
        until(lambda: "Stopping" in words.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert left_behind(data) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_nothing_outlives_a_stack_that_was_killed(data: Path) -> None:
    with serving(data) as (process, _):
        assert len(left_behind(data)) >= 3  # the server, the API, Flower
        process.kill()
        process.wait()
        until(lambda: left_behind(data) == [])
