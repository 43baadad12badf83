"""The supervisor: logs, deaths that are noticed, a stop that leaves nothing, children that cannot outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline_jobs.up import supervisor as modul
from pipeline_jobs.up.supervisor import ProcessDied, Supervisor
from tests.living import alive
from tests.unit.up.programs import program
from tests.waiting import until

FOREVER = "import signal; print('up'); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); [signal.pause() for _ in iter(int, 1)]"
#: Writes the pid of a child of its own, and both ignore SIGTERM.
FAMILY = (
    "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); print(child.pid);"
    "[signal.pause() for _ in iter(int, 1)]"
)


def test_output_goes_to_a_log_of_its_own_that_begins_anew(supervisor: Supervisor) -> None:
    supervisor.log_dir.mkdir(parents=True)
    (supervisor.log_dir / "a.log").write_text("of an earlier start\n")
    child = supervisor.start(program("a", "import sys; print('out'); print('err', file=sys.stderr)"))
    child.popen.wait()
    assert sorted(child.log.read_text().split()) == ["err", "out"]
    assert child.log == supervisor.log_dir / "a.log"


def test_a_command_has_an_environment_of_its_own_where_the_users_says_nothing_else(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs", tmp_path, {**os.environ, "SAID": "by the user"})
    show = "import os; print(os.environ['OWN'], os.environ['SAID'], sep=', ')"
    try:
        child = supervisor.start(replace(program("a", show), environment={"OWN": "own", "SAID": "by the command"}))
        child.popen.wait()
    finally:
        supervisor.stop()
    assert child.log.read_text() == "own, by the user\n"


def test_a_death_is_told_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    child = supervisor.start(program("jobs", "for n in range(100): print('line', n)\nraise SystemExit(7)"))
    child.popen.wait()
    with pytest.raises(ProcessDied, match=r"jobs ended with code 7; the end of .*jobs\.log:\n    line 85\n(    .*\n)*    line 99$"):
        supervisor.check()


def test_a_death_by_a_signal_is_told_by_its_name(supervisor: Supervisor) -> None:
    child = supervisor.start(program("api", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    child.popen.wait()
    with pytest.raises(ProcessDied, match=r"api was ended by SIGKILL.*\n    \(it wrote nothing\)"):
        supervisor.check()


def test_a_running_process_passes_the_check_and_so_does_the_end_of_an_optional_one(supervisor: Supervisor) -> None:
    running = supervisor.start(program("running", FOREVER))
    supervisor.start(program("exporter", "raise SystemExit(1)", optional=True)).popen.wait()
    supervisor.check()
    assert running.how_it_ended == "is running"


def test_an_end_is_news_once(supervisor: Supervisor) -> None:
    supervisor.start(program("running", FOREVER))
    supervisor.start(program("gone", "print('bye')")).popen.wait()
    assert [(child.name, child.last_lines(1)) for child in supervisor.ended()] == [("gone", ["bye"])]
    assert supervisor.ended() == []


def test_what_has_ended_is_started_again_and_its_log_goes_on(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modul, "FIRST_PAUSE", 0.0)
    running = supervisor.start(program("running", FOREVER))
    optional = supervisor.start(program("exporter", "raise SystemExit(1)", optional=True))
    gone = supervisor.start(program("gone", "print('bye')"))
    for number in range(1, 4):
        supervisor.children[-1].popen.wait()
        optional.popen.wait()
        assert "gone" in [child.name for child in supervisor.ended()]
        supervisor.revive()
        again = supervisor.children[-1]
        assert (again.command, again.ends) == (gone.command, number)
    again.popen.wait()
    assert again.last_lines() == ["bye"] * 4
    assert [child.name for child in supervisor.children] == ["running", "exporter", "gone"]
    assert running.running


def test_it_is_started_again_later_each_time_and_soon_if_it_ran_for_long(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(modul, "time", SimpleNamespace(monotonic=lambda: now))
    first = supervisor.start(program("gone", ""))
    pauses = []
    for lived in (0.0, 0.0, 0.0, 0.0, 0.0, modul.STEADY_SECONDS, 0.0):
        child = supervisor.children[0]
        child.popen.wait()
        child.began = now - lived
        ended = now
        while supervisor.children[0] is child:
            supervisor.revive()
            now += 0.25
        pauses.append(now - 0.25 - ended)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 0.5, 1.0]
    assert supervisor.children[0].command is first.command


def test_what_it_has_left_goes_before_it_is_started_again(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modul, "FIRST_PAUSE", 0.0)
    parent = supervisor.start(program("parent", FAMILY))
    until(lambda: bool(parent.last_lines()))
    orphan = int(parent.last_lines()[0])
    parent.popen.kill()
    parent.popen.wait()
    supervisor.revive()
    until(lambda: not alive(orphan))


def test_stop_asks_first(supervisor: Supervisor) -> None:
    polite = supervisor.start(program("polite", FOREVER))
    until(lambda: bool(polite.last_lines()))
    supervisor.stop(grace_seconds=86_400)
    assert polite.popen.returncode == -signal.SIGTERM


def test_stop_kills_after_the_grace(supervisor: Supervisor) -> None:
    stubborn = supervisor.start(program("stubborn", STUBBORN))
    until(lambda: bool(stubborn.last_lines()))
    supervisor.stop(grace_seconds=0.1)
    assert stubborn.popen.returncode == -signal.SIGKILL


def test_stop_ends_what_a_process_started_too(supervisor: Supervisor) -> None:
    parent = supervisor.start(program("parent", FAMILY))
    until(lambda: bool(parent.last_lines()))
    grandchild = int(parent.last_lines()[0])
    assert alive(grandchild)
    supervisor.stop(grace_seconds=0.1)
    until(lambda: not alive(grandchild))


def test_a_process_that_was_orphaned_by_its_dead_leader_is_ended_too(supervisor: Supervisor) -> None:
    leader = supervisor.start(program("leader", FAMILY))
    until(lambda: bool(leader.last_lines()))
    grandchild = int(leader.last_lines()[0])
    leader.popen.kill()
    leader.popen.wait()
    assert alive(grandchild)
    supervisor.stop(grace_seconds=0.1)
    until(lambda: not alive(grandchild))


def test_what_the_others_need_is_stopped_last(supervisor: Supervisor, tmp_path: Path) -> None:
    def tells_its_end(name: str) -> str:
        said = f"open({str(tmp_path / 'ends')!r}, 'a').write({name + ' '!r})"
        return f"import signal\ndef end(*_): {said}; raise SystemExit\nsignal.signal(signal.SIGTERM, end); print('up'); signal.pause()"

    started = [supervisor.start(program(name, tells_its_end(name), last=name == "server")) for name in ("server", "jobs", "api")]
    until(lambda: all(child.last_lines() for child in started))
    supervisor.stop()
    assert (tmp_path / "ends").read_text().split()[-1] == "server"
    assert len((tmp_path / "ends").read_text().split()) == 3


def test_a_second_signal_cuts_the_grace_short(supervisor: Supervisor) -> None:
    stubborn = supervisor.start(program("stubborn", STUBBORN))
    until(lambda: bool(stubborn.last_lines()))
    supervisor.hurry = True
    # Were the grace kept, this would take a day.
    supervisor.stop(grace_seconds=86_400)
    assert stubborn.popen.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_no_child_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal; from pipeline_jobs.up.supervisor import Command, Supervisor; import sys;"
        f"s = Supervisor(pathlib.Path({str(tmp_path)!r}), pathlib.Path('.'), os.environ);"
        "print(s.start(Command('child', (sys.executable, '-c', 'import signal; signal.pause()'))).popen.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    until(lambda: not alive(child))
