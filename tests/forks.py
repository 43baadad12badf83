"""`pytest -p tests.forks --forks 5`: tests by several processes, each forked from the one that has collected them.

Instead of pytest-xdist, whose processes each import and collect all tests: 16 s of a processor each. By file, as `--dist loadfile`: a
process that has nothing left takes the next file, in the order of the collection. A process that dies has failed the test that it ran;
another one goes on with the rest of that file. What a process reports goes on in the first one as if the test had run there: to the
terminal, to `--lf`, to `--junitxml`. Linux only: forks of a process that has imported so much are no good on macOS.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count, groupby
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forks", type=int, default=0, metavar="N", help="run the tests by so many forked processes (Linux)")


def pytest_configure(config: pytest.Config) -> None:
    if many := config.getoption("--forks"):
        config.pluginmanager.register(Forks(many))


def meanwhile(work: Callable[[], object]) -> None:
    """Let a process of its own do this, for what it leaves on the disk: nobody waits for it."""
    if os.fork() == 0:
        try:
            work()
        finally:
            os._exit(0)


class Process:
    """One that runs tests, seen from the first one. Tests are numbers, their places in the collection."""

    def __init__(self, pid: int, connection: Connection[Any, Any]) -> None:
        self.pid, self.connection = pid, connection
        #: Becomes readable as it ends, whoever has its end of the connection by then.
        self.end = os.pidfd_open(pid)
        self.running: int | None = None
        #: What it was told to run next: as it tears down what only the running test needs, it has to know.
        self.next: int | None = None
        #: The rest of its file.
        self.left: deque[int] = deque()
        #: It has said that it has run all that it was given.
        self.done = False

    def close(self) -> None:
        self.connection.close()
        os.close(self.end)


class Forks:
    """The first process: it starts the others, hands out tests, and passes on what they report."""

    def __init__(self, many: int) -> None:
        self.many = many
        self._numbers = count()
        self._processes: list[Process] = []

    @pytest.hookimpl
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed or session.config.option.collectonly:
            # For pytest's own loop.
            return None
        self.session, self.hook = session, session.config.hook
        numbered = groupby(range(len(session.items)), lambda number: session.items[number].nodeid.partition("::")[0])
        self._files = deque(deque(numbers) for _, numbers in numbered)
        # The folder in which each has its own.
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        try:
            self._run()
        finally:
            for process in self._processes:
                # By then its next word to this one fails.
                process.close()
                os.waitpid(process.pid, 0)
        self._judge()
        return True

    def _run(self) -> None:
        for _ in range(min(self.many, len(self._files))):
            self._start()
        while self._processes:
            ready = wait([part for process in self._processes for part in (process.connection, process.end)])
            for process in [one for one in self._processes if one.connection in ready or one.end in ready]:
                self._listen(process)
                if process.end in ready:
                    self._bury(process)

    def _judge(self) -> None:
        """As pytest's own loop, but that it ends when each process has ended its test."""
        if self.session.shouldfail:
            raise self.session.Failed(self.session.shouldfail)
        if self.session.shouldstop:
            raise self.session.Interrupted(self.session.shouldstop)

    def _start(self) -> None:
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # The one of numpy's OpenBLAS ends before a fork by itself, and comes again.
        assert threading.active_count() == 1, f"not forked: {threading.enumerate()}"
        number = next(self._numbers)
        if (pid := os.fork()) == 0:
            for connection in (ours, *(process.connection for process in self._processes)):
                # Else those processes would not notice the end of the first one.
                connection.close()
            Runner(self.session, theirs, number).run_and_end()
        theirs.close()
        self._processes.append(Process(pid, ours))

    def _listen(self, process: Process) -> None:
        """To all that it has said by now."""
        try:
            while process.connection.poll():
                match process.connection.recv():
                    case "next":
                        process.running, process.next = process.next, self._hand_out(process)
                        process.connection.send(process.next)
                    case "done":
                        process.done = True
                    case report:
                        self._pass_on(report)
        except (EOFError, ConnectionError):
            # It is about to end, or has.
            return

    def _hand_out(self, process: Process) -> int | None:
        if self.session.shouldfail or self.session.shouldstop:
            return None
        if not process.left and self._files:
            process.left = self._files.popleft()
        return process.left.popleft() if process.left else None

    def _pass_on(self, data: dict[str, Any]) -> None:
        report = self.hook.pytest_report_from_serializable(config=self.session.config, data=data)
        self.hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            self.hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)

    def _bury(self, process: Process) -> None:
        """It has ended."""
        self._processes.remove(process)
        process.close()
        _, status = os.waitpid(process.pid, 0)
        if not process.done:
            self._tell_of_death(process, os.waitstatus_to_exitcode(status))
            rest = deque(number for number in (process.next, *process.left) if number is not None)
            if rest:
                self._files.appendleft(rest)
            if self._files:
                self._start()

    def _tell_of_death(self, process: Process, code: int) -> None:
        assert process.running is not None, f"a process of the tests ended with {code} before its first test"
        item = self.session.items[process.running]
        text = f"its process ended with {code} in this test"
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")
        self.hook.pytest_runtest_logreport(report=report)


class Runner:
    """A forked process, in itself."""

    def __init__(self, session: pytest.Session, connection: Connection[Any, Any], number: int) -> None:
        self.session, self.config, self.connection, self.number = session, session.config, connection, number

    def run_and_end(self) -> NoReturn:
        """Never returns: all that pytest does at its end is the first one's to do."""
        code = 1
        try:
            self._be_another()
            for item, following in self._handed():
                self.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self.connection.send("done")
            code = 0
        except (KeyboardInterrupt, EOFError, ConnectionError):
            # The first one ends as well.
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            self._end(code)

    def _be_another(self) -> None:
        """With its own captured output and folder; nothing is told to the terminal."""
        config, manager = self.config, self.config.pluginmanager
        for plugin in [one for one in manager.get_plugins() if type(one).__module__ == "_pytest.terminal"]:
            manager.unregister(plugin)
        manager.register(self)
        if capture := manager.getplugin("capturemanager"):
            # The files into which the first one captures are open in both.
            capture.stop_global_capturing()
            capture.start_global_capturing()
            capture.suspend_global_capture()
        factory = config._tmp_path_factory  # type: ignore[attr-defined]
        config.option.basetemp = str(factory.getbasetemp() / f"process-{self.number}")
        config._tmp_path_factory = pytest.TempPathFactory.from_config(config, _ispytest=True)  # type: ignore[attr-defined]

    def _handed(self) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
        """Each test, with the one after it."""
        item, following = None, self._ask()
        while following is not None:
            item, following = following, self._ask()
            yield item, following

    def _ask(self) -> pytest.Item | None:
        self.connection.send("next")
        number = self.connection.recv()
        return None if number is None else self.session.items[number]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.connection.send(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def _end(self, code: int) -> NoReturn:
        try:
            # What a test that was interrupted has set up.
            self.session._setupstate.teardown_exact(None)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
