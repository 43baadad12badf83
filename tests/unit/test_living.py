"""A process that has ended, and that its parent has not asked for, is no reason to fail."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.living import children, command, group_lives, is_sent, lives, running, stop
from tests.waiting import until

ROOT = Path(__file__).parents[2]


def test_a_child_that_has_ended_has_no_command_line_and_is_not_among_the_children() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()", "a word of its own"], stdin=subprocess.PIPE)
    seen = psutil.Process(process.pid)
    until(lambda: running("a word of its own"), "the process to be there")
    assert running("a word of its own") == [seen]
    assert lives(seen)
    process.kill()
    until(lambda: seen.status() == psutil.STATUS_ZOMBIE, "it to end, with nobody who asks for it")
    with pytest.raises(psutil.NoSuchProcess):
        seen.cmdline()
    assert command(seen) == ""
    assert not lives(seen)
    assert seen not in children()
    process.communicate()
    assert command(seen) == ""
    assert not lives(seen)
    assert children(process.pid) == []


@pytest.mark.skipif(sys.platform != "linux", reason="who may use which processor is said on Linux only")
def test_a_process_that_was_stopped_finds_what_it_is_sent_when_it_goes_on() -> None:
    """On the processor of whoever stops it, it stops as soon as that one waits: SIGTERM would be there before, and be taken."""
    code = "import signal; signal.signal(signal.SIGTERM, print); print(flush=True); input()"
    before, processor = os.sched_getaffinity(0), min(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        for pid in (0, process.pid):
            os.sched_setaffinity(pid, {processor})
        try:
            stop(process.pid)
            os.kill(process.pid, signal.SIGTERM)
            assert is_sent(process.pid, signal.SIGTERM)
            os.kill(process.pid, signal.SIGCONT)
            assert process.stdout.readline().startswith(b"15")
        finally:
            os.sched_setaffinity(0, before)
            process.kill()


def test_a_group_lives_as_long_as_one_of_it_does() -> None:
    both = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()']); print(flush=True); input()"
    leader = subprocess.Popen(
        [sys.executable, "-c", both], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert leader.stdout
    leader.stdout.readline()
    leader.kill()
    leader.wait()
    assert group_lives(leader.pid)
    leader.communicate()
    until(lambda: not group_lives(leader.pid), "the child, which has nothing to read any more, to end")


def test_nobody_else_asks_for_command_lines() -> None:
    files = (path for folder in ("tests", "benchmarks") for path in ROOT.joinpath(folder).rglob("*.py"))
    asked = {path.relative_to(ROOT).as_posix() for path in files if ".cmdline()" in path.read_text("utf-8")}
    assert asked == {"tests/living.py", "tests/unit/test_living.py"}


def test_nobody_reads_the_kernels_list_of_children() -> None:
    """It leaves out some while others of them end (proc(5): reliable only if all are stopped)."""
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.joinpath("tests").rglob("*.py") if "heavy" not in path.parts}
    assert {file for file in files if re.search(r"/children\"", (ROOT / file).read_text("utf-8"))} == set()


def test_no_test_counts_a_child_that_has_ended() -> None:
    """Nor one that a worker has replaced and has not asked for yet: `psutil.Process.children` has both."""
    asked = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.joinpath("tests").rglob("*.py")
        if "heavy" not in path.parts and re.search(r"(?<!_processes)\.children\((?!one\))", path.read_text("utf-8"))
    }
    assert asked == {"tests/living.py"}
