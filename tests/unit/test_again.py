"""CI's one more try: it forgives an accident, names it, and forgives nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.again import MOST, ROOT, failed

#: The first run leaves a file behind; whoever finds it passes.
RACY = """
from pathlib import Path

def test_racy():
    been = Path(__file__).with_suffix(".been")
    there = been.exists()
    been.touch()
    assert there
"""
BROKEN = "def test_broken():\n    assert False\n"
GOOD = "def test_good():\n    pass\n"
AGAIN = "import sys; from pathlib import Path; from tests.again import main; sys.exit(main(Path.cwd()))"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # No plugins but the named ones: to load all that are installed takes longer than these tests.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def twice(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """All of them by pytest as `make test` runs it, then `tests.again`."""
    folder.joinpath("pytest.ini").write_text("[pytest]\n")
    for number, text in enumerate(tests):
        folder.joinpath(f"test_{number}.py").write_text(text)
    # Where it is not Linux, `make test` has pytest-xdist do it.
    spread = ("-p", "tests.forks", "--forks", "1") if sys.platform == "linux" else ("-p", "xdist", "-n", "1")
    run(folder, "-m", "pytest", "-q", *spread)
    return run(folder, "-c", AGAIN)


def test_one_that_passes_alone_is_forgiven_and_named(tmp_path: Path) -> None:
    ended = twice(tmp_path, RACY, GOOD)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout, "the one that failed, not both"
    assert ended.stdout.rstrip().endswith("UNSTABLE: failed in the run of all tests, passed alone. Find out why:\n  test_0.py::test_racy")


def test_one_that_fails_twice_is_not(tmp_path: Path) -> None:
    ended = twice(tmp_path, RACY, BROKEN)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "test_1.py::test_broken" in ended.stdout
    assert "UNSTABLE" not in ended.stdout


def test_many_are_no_accident(tmp_path: Path) -> None:
    ended = twice(tmp_path, *[RACY] * (MOST + 1))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "4 tests failed" in ended.stdout
    assert len(failed(tmp_path)) == MOST + 1


@pytest.mark.parametrize("tests", [(GOOD,), ()])
def test_where_no_test_failed_something_else_did(tmp_path: Path, tests: tuple[str, ...]) -> None:
    ended = twice(tmp_path, *tests)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "something else" in ended.stdout


def test_a_file_that_cannot_be_read_fails_again(tmp_path: Path) -> None:
    ended = twice(tmp_path, "import nowhere_to_be_found\n", GOOD)
    assert ended.returncode != 0, ended.stdout + ended.stderr
