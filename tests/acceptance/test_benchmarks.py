"""The benchmarks run, in their tiny form: no time is asserted, only that every contender does what it is measured for."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import loadtest
from benchmarks.kit import report
from benchmarks.kit.bench import Bench
from benchmarks.kit.figure import Bar, Outcome, alternate
from benchmarks.kit.load import request
from benchmarks.kit.open_load import open_load
from benchmarks.kit.peer import ROOT
from benchmarks.kit.runner import FIGURES, figure, file_system


def test_the_quick_figures_run() -> None:
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("==") == sum(figure(name).quick for name in FIGURES)


def test_the_load_test_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert loadtest.main(["--rate", "10", "--duration", "1"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| 10 |"))
    accepted, ended = (float(cell) for cell in row.split("|")[2:4])
    assert accepted > 0
    assert ended > 0


def test_an_open_load_sends_what_is_due_though_nothing_is_answered_yet() -> None:
    """One connection's answer does not come: the other requests leave, and the slow answer is timed from when its request was due."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        loading = pool.submit(open_load, url, [request(url)], rate=1000, seconds=0.003, connections=3)
        clients = [listening.accept()[0] for _ in range(3)]
        for client in clients:
            assert client.recv(1000).startswith(b"GET / ")
        for client in clients:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert loading.result(60).statuses == {200: 3}
        for client in clients:
            client.close()


def test_every_bar_of_the_design_has_a_figure() -> None:
    texts = [(ROOT / "benchmarks" / f"{name}.py").read_text("utf-8") for name in FIGURES]
    for number in range(1, 20):
        assert any(re.search(rf"Bar\(\s*{number},\s", text) for text in texts), f"bar {number}"


def test_a_failing_contender_makes_the_run_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.kit import runner

    def fail(bench: Bench) -> Outcome:
        raise RuntimeError("the peer answered nonsense")

    monkeypatch.setattr(runner, "figure", lambda name: type(figure(name))(name, "broken", fail))
    assert runner.run(["create"], rounds=1, smoke=True) == 1


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="no folder in memory")
def test_on_what_the_logs_are_is_told() -> None:
    """Where nobody waits for a disk, CPU and times are lower."""
    assert file_system(Path("/dev/shm/a-folder/server")) == "tmpfs"
    assert file_system(ROOT) != "unknown"


def test_contenders_are_measured_in_turn() -> None:
    order: list[str] = []

    def measured(name: str) -> float:
        order.append(name)
        return float(len(order))

    samples = alternate(3, {name: lambda name=name: measured(name) for name in "ab"})  # type: ignore[misc]
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert samples == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


def test_a_bar_is_held_against_the_median() -> None:
    bar = Bar(1, "ours / theirs", ">=", 3.0, [2.0, 3.5, 4.0])
    assert bar.reached
    assert report.spread(bar.spread, bar.unit) == "3.5x (2-4)"
    assert not Bar(1, "ours / theirs", "<=", 3.0, [2.0, 3.5, 4.0]).reached
