"""Tests that forked processes run end, and are told, as those that one process runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.stack import ROOT
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")
#: Each test and each fixture adds a line to one file, which all processes have open.
CONFTEST = """
import json, os, signal
from pathlib import Path
import pytest

# Of what a shell starts in the background it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
SAID = os.open(Path(__file__).with_name("said"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def say(what, **more):
    os.write(SAID, (json.dumps({"what": what, "pid": os.getpid(), **more}) + "\\n").encode())

@pytest.fixture(scope="session")
def of_the_session():
    say("session begins")
    yield
    say("session ends")

@pytest.fixture(scope="module")
def of_the_file(of_the_session, request):
    say("file begins", file=request.node.name)
    yield
    say("file ends", file=request.node.name)

@pytest.fixture(autouse=True)
def _said(of_the_file, request, tmp_path):
    say("test", file=request.node.path.name, name=request.node.name, folder=str(tmp_path))
"""
GOOD = "def test_one(): print('not to be shown')\ndef test_two(): pass\n"
DIES = "import os\ndef test_before(): pass\ndef test_dies(): os._exit(3)\ndef test_after(): pass\ndef test_last(): pass\n"
FAILS = "def test_fails():\n    print('said before')\n    os = 1\n    assert os == 2\n"
HANGS = """
import threading
from conftest import say

def test_hangs():
    say("it hangs")
    threading.Event().wait()

def test_never(): pass
"""
MANY = "import pytest\n@pytest.mark.parametrize('number', range(9))\ndef test_fails(number): assert number < 2\n"


def start(folder: Path, files: dict[str, str], *options: str) -> subprocess.Popen[str]:
    for name, text in {"conftest.py": CONFTEST, "pytest.ini": "[pytest]\n", **files}.items():
        (folder / name).write_text(text)
    # No plugins but the named ones: to load all that are installed takes longer than these tests.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "tests.forks", f"--basetemp={folder}/temp", *options]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def said(folder: Path, what: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "said").read_text().splitlines()) if (folder / "said").exists() else []
    return [line for line in lines if line["what"] == what]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where four files were run by two processes, and what was told."""
    folder = tmp_path_factory.mktemp("ended")
    files = {"test_1.py": GOOD, "test_2.py": DIES, "test_3.py": FAILS, "test_4.py": GOOD}
    process = start(folder, files, "--forks=2", "--junitxml=told.xml")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1, out
    return folder, out


def test_all_is_told_once(ended: tuple[Path, str]) -> None:
    folder, out = ended
    assert re.search(r"= 2 failed, 7 passed in ", out), out
    assert re.search(r"^[.F]{9} +\[100%\]$", out, re.MULTILINE), out
    cases = [(case.get("classname"), case.get("name")) for case in ElementTree.parse(folder / "told.xml").iter("testcase")]
    assert len(cases) == len(set(cases)) == 9
    assert sorted(json.loads((folder / ".pytest_cache/v/cache/lastfailed").read_text())) == [
        "test_2.py::test_dies",
        "test_3.py::test_fails",
    ]


def test_a_failed_test_is_shown_with_what_it_said(ended: tuple[Path, str]) -> None:
    _, out = ended
    assert "assert 1 == 2" in out
    assert out.count("said before") == 2, "the line of its source, and its output"
    assert "not to be shown" not in out


def test_a_process_that_dies_has_failed_its_test_and_another_goes_on(ended: tuple[Path, str]) -> None:
    folder, out = ended
    assert "its process ended with 3 in this test" in out
    pids = {test["name"]: test["pid"] for test in said(folder, "test") if test["file"] == "test_2.py"}
    assert list(pids) == ["test_before", "test_dies", "test_after", "test_last"]
    assert pids["test_before"] == pids["test_dies"] != pids["test_after"] == pids["test_last"]


def test_each_process_has_fixtures_and_folders_of_its_own_and_takes_whole_files(ended: tuple[Path, str]) -> None:
    folder, _ = ended
    tests = said(folder, "test")
    assert len({test["folder"] for test in tests}) == len(tests) == 9
    # The rest of the file of the one that died is for another one: that which was there, or that which came.
    processes = len({test["pid"] for test in tests})
    assert processes in (2, 3)
    for file in ("test_1.py", "test_3.py", "test_4.py"):
        assert len({test["pid"] for test in tests if test["file"] == file}) == 1
    counted = {what: len(said(folder, what)) for what in ("file begins", "file ends", "session begins", "session ends")}
    # Of the one that died no end is told.
    assert counted == {"file begins": 5, "file ends": 4, "session begins": processes, "session ends": processes - 1}


def test_none_is_handed_out_after_as_many_failures_as_are_wanted(tmp_path: Path) -> None:
    process = start(tmp_path, {"test_1.py": MANY}, "--forks=1", "--maxfail=2")
    out, _ = process.communicate(timeout=120)
    assert re.search("stopping after [23] failures", out), out
    # One test more was handed out before the last of the failures was told.
    assert process.returncode == 1
    assert len(said(tmp_path, "test")) in (4, 5)


def test_an_interrupted_run_ends_with_what_its_tests_have_set_up(tmp_path: Path) -> None:
    process = start(tmp_path, {"test_1.py": HANGS}, "--forks=2")
    until(lambda: said(tmp_path, "it hangs"), "the test that hangs")
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 2, out
    assert "KeyboardInterrupt" in out
    assert [test["name"] for test in said(tmp_path, "test")] == ["test_hangs"]
    assert [len(said(tmp_path, what)) for what in ("file ends", "session ends")] == [1, 1]


def test_where_nothing_can_be_collected_pytest_says_so(tmp_path: Path) -> None:
    process = start(tmp_path, {"test_1.py": "import nowhere_to_be_found\n", "test_2.py": GOOD}, "--forks=2")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 2, out
    assert "Interrupted: 1 error during collection" in out
