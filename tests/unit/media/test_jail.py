"""The walls of the kernel: what a hostile file in a decoder tries is refused, and what decoding needs is not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline_jobs.exceptions import WorkerLost
from pipeline_jobs.media import self_test as module
from pipeline_jobs.media import stages
from pipeline_jobs.media.self_test import self_test
from pipeline_jobs.settings import load_settings
from tests.cases import each
from tests.unit.media import knock
from tests.unit.media.fakes import FakeSite

#: While the source is fetched there is a network, and yt-dlp runs in a program of its own.
ONLINE = {"run a program", "leave a process behind", "make a socket"}
#: What decoding needs.
ALWAYS = {"write to the folder", "rename in the folder", "start a thread", "import"}


@pytest.fixture(scope="module")
def knocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What became of each attempt, with a server, a service's socket, a secret and a victim outside the walls."""
    folder = tmp_path_factory.mktemp("outside")
    work = tmp_path_factory.mktemp("work")
    secret = folder / "secret"
    secret.write_text("tell nobody")
    waits = [sys.executable, "-I", "-c", "input()"]
    with (
        closing(FakeSite()) as canary,
        subprocess.Popen(waits, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as victim,
        socket.socket(socket.AF_UNIX) as service,
    ):
        service.bind(str(folder / "socket"))
        service.listen()
        port = canary.url("").rsplit(":", 1)[1]
        command = [sys.executable, "-m", "tests.unit.media.knock", str(work), str(secret), port, str(victim.pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        # Without walls there is neither a victim nor a secret any more.
        found |= {"canary": canary.requests, "victim": victim.poll(), "own": os.getpriority(os.PRIO_PROCESS, 0)}
        found["nice"] = psutil.Process(victim.pid).nice() if found["victim"] is None else None
        found |= {"secret": secret.read_text() if secret.exists() else None, "outside": sorted(os.listdir(folder))}
        yield found


def test_this_kernel_has_the_walls(knocked: dict[str, Any]) -> None:
    """Where it has none, what follows shows nothing: then this says so."""
    assert knocked["landlock"] >= 5
    assert knocked["seccomp"]


@each("attempt", sorted(knock.ATTEMPTS))
def test_what_a_hostile_file_would_do_is_refused(knocked: dict[str, Any], attempt: str) -> None:
    assert (knocked["before"][attempt] == "passed") is (attempt in ONLINE | ALWAYS), knocked["before"][attempt]
    assert (knocked["after"][attempt] == "passed") is (attempt in ALWAYS), knocked["after"][attempt]


def test_nothing_outside_was_touched(knocked: dict[str, Any]) -> None:
    assert knocked["canary"] == []
    assert knocked["victim"] is None
    assert knocked["nice"] == knocked["own"]
    assert (knocked["secret"], knocked["outside"]) == ("tell nobody", ["secret", "socket"])


def test_a_decoder_that_aborts_dies_of_its_own_signal(tmp_path: Path) -> None:
    code = "import os, pathlib, sys; from pipeline_jobs.media import jail; jail.enter(pathlib.Path(sys.argv[1]), None); jail.go_offline()"
    done = subprocess.run([sys.executable, "-c", f"{code}; os.abort()", str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGABRT


def test_the_self_test_passes_here(tmp_path: Path) -> None:
    assert self_test(load_settings({"PIPELINE_DATA_DIR": str(tmp_path)})) == ""
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    "child",
    [
        "import time\ntime.sleep(15)",
        "import os, time\nend = time.time() + 15\nwhile time.time() < end: os.write(0, b'{\"progress\": 0.5}\\n')",
    ],
    ids=["says nothing", "says that it goes on"],
)
def test_a_self_test_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: str) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.5)
    monkeypatch.setattr(stages, "COMMAND", (sys.executable, "-c", child))
    with pytest.raises(WorkerLost, match="did not answer"):
        self_test(load_settings({"PIPELINE_DATA_DIR": str(tmp_path)}))
    assert list((tmp_path / "work").iterdir()) == []


#: Makes the kernel one that knows neither, by a filter of its own, and runs the self-test there.
OLD_KERNEL = """
import errno, sys
from pipeline_jobs.media import jail
from pipeline_jobs.media.self_test import self_test
from pipeline_jobs.settings import load_settings
jail._libc.prctl(38, 1, 0, 0, 0)
jail._seccomp([jail._Rule(number, errno.ENOSYS) for number in map(int, sys.argv[2].split(","))])
print(self_test(load_settings({"PIPELINE_DATA_DIR": sys.argv[1]})))
"""


SECCOMP = 277 if os.uname().machine == "aarch64" else 317


@pytest.mark.parametrize(
    ("calls", "lacks"), [("444", "no Landlock:"), (f"{SECCOMP}", "no seccomp:"), (f"444,{SECCOMP}", "no Landlock and seccomp:")]
)
def test_a_kernel_without_walls_runs_the_stages_and_says_so(tmp_path: Path, calls: str, lacks: str) -> None:
    done = subprocess.run([sys.executable, "-c", OLD_KERNEL, str(tmp_path), calls], capture_output=True, text=True, check=False)
    assert lacks in done.stdout, done.stderr
