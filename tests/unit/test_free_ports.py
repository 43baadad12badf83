"""No two processes of tests are given one port, also where nobody listens there yet, or for a while."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Draws so many of a hundred ports, says them, and lives until it is killed. The locks are in a folder of the test's own.
DRAWS = """
import pathlib, sys
from tests import free_ports
free_ports.FIRST, free_ports.MANY, free_ports.FOLDERS = 19_000, 100, (pathlib.Path(sys.argv[1]),)
print([free_ports.free_port() for _ in range(int(sys.argv[2]))], flush=True)
input()
"""


def draws(folder: Path, many: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRAWS, str(folder), str(many)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> set[int]:
    assert process.stdout is not None
    return set(map(int, process.stdout.readline().strip("[]\n").split(",")))


def test_a_port_is_given_once_while_who_has_it_lives(tmp_path: Path) -> None:
    processes = [draws(tmp_path, 40), draws(tmp_path, 40)]
    try:
        theirs, others = map(said, processes)
        assert (len(theirs), len(others), theirs & others) == (40, 40, set())
        # Its end, however it comes, gives them back: only twenty are left besides.
        processes[0].kill()
        processes[0].communicate()
        processes.append(draws(tmp_path, 45))
        again = said(processes[-1])
        assert (len(again), again & others) == (45, set())
        assert len(again & theirs) >= 45 - 20
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_servers_of_tests_ask_for_their_ports_here() -> None:
    files = (path for path in ROOT.joinpath("tests").rglob("*.py"))
    named = {path.relative_to(ROOT).as_posix() for path in files if "def free_port(" in path.read_text("utf-8")}
    assert named == {"tests/free_ports.py", "tests/unit/test_free_ports.py"}
