"""The processes of the system under test: started, watched, started again when they die. And a look at what is left of them.

Call all of it from one thread: the kernel kills what it started when that *thread* ends (so nothing outlives a run that is killed).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import preloaded
from tests.chaos.journal import MARK

#: Between a death and the next start, in seconds: what a service manager takes.
RESPAWN_SECONDS = 0.5
#: How long what a dead process started may take to be gone, in seconds.
ORPHAN_SECONDS = 10.0
#: How long a process may take to end after SIGTERM, in seconds.
TERM_SECONDS = 60.0
POLL_SECONDS = 0.1
#: A worker's last words if it was told to end while the store was away.
GAVE_UP = "store_away=True"
#: A Celery worker writes the stacks of its threads into its log when it gets SIGUSR1; so long may it take, in seconds.
CRIES, CRY_SECONDS = ("worker", "maintenance"), 1.0

#: Asks the kernel to kill it with its parent, then becomes the command (as `JobContext.popen` does, and for its reasons).
_LAUNCHER = (
    "import ctypes, os, signal, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "if os.getppid() == int(sys.argv[1]): os.execvp(sys.argv[2], sys.argv[2:])\n"
)


@dataclass(frozen=True, slots=True)
class Role:
    """A place in the system that one process at a time fills."""

    name: str
    #: `worker`, `maintenance`, `beat` or `api`.
    kind: str
    command: tuple[str, ...]
    #: Whether it works, given what its log says.
    ready: Callable[[str], bool]
    #: What the first process in the role has in its environment besides, and what each has.
    env: Mapping[str, str] = field(default_factory=dict)
    always: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Incarnation:
    """One process in a role."""

    role: Role
    mark: str
    popen: subprocess.Popen[bytes]
    log: Path
    started: float
    ready: float | None = None
    ended: float | None = None
    #: We ended it, or asked it to end (then: when).
    killed: float | None = None
    termed: float | None = None

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.ended is None

    def tail(self, lines: int = 12) -> list[str]:
        return self.log.read_text("utf-8", "replace").splitlines()[-lines:]

    def obituary(self) -> str:
        return f"{self.mark.split(':', 1)[1]} ended with {self.popen.returncode}: {' / '.join(self.tail(3))[-400:]}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A process that carries our mark."""

    pid: int
    parent: int
    mark: str
    command: str


class Processes:
    """One process for each role, again and again."""

    def __init__(
        self, roles: Sequence[Role], token: str, folder: Path, environment: Mapping[str, str], cwd: Path, *, forked: bool = False
    ) -> None:
        """:param forked: of those that can, by `tests.preloaded`: in a third of the time."""
        self.forked = forked
        self.roles = {role.name: role for role in roles}
        self.token = token
        self._folder, self._environment, self._cwd = folder, environment, cwd
        self._folder.mkdir(parents=True, exist_ok=True)
        self.history: list[Incarnation] = []
        self.current: dict[str, Incarnation] = {}
        #: Those whose end nobody asked for.
        self.died: list[Incarnation] = []
        #: Workers that were told to end, and killed themselves because they could not reach the store: right if that was so.
        self.gave_up: list[Incarnation] = []
        self.orphans: set[str] = set()
        self.stuck: list[str] = []
        self._counts: dict[str, int] = {}
        self._closing = False

    def start_all(self) -> None:
        for name in self.roles:
            self._start(name)

    def tick(self) -> None:
        """Note deaths and readiness, start again what died."""
        now = time.time()
        for name, one in list(self.current.items()):
            if one.alive and (code := one.popen.poll()) is not None:
                one.ended = now
                self._note_end(one, code)
            if one.alive and one.ready is None and one.role.ready(one.log.read_text("utf-8", "replace")):
                one.ready = now
            if one.alive and one.termed is not None and now - one.termed > TERM_SECONDS:
                self._give_up(one)
            if not self._closing and one.ended is not None and now - one.ended >= RESPAWN_SECONDS:
                self._start(name)

    @property
    def unexpected(self) -> list[str]:
        """Ends that nobody asked for: `w1.3 ended with 1`."""
        return [one.obituary() for one in self.died]

    def _note_end(self, one: Incarnation, code: int) -> None:
        """One that was asked to end must do so by itself, too."""
        if one.killed is None and one.termed is not None and code == -signal.SIGKILL and GAVE_UP in "".join(one.tail(3)):
            self.gave_up.append(one)
        elif one.killed is None and (one.termed is None or code != 0):
            self.died.append(one)

    def _give_up(self, one: Incarnation) -> None:
        self.stuck.append(f"{one.mark.split(':', 1)[1]} did not end within {TERM_SECONDS:.0f} s of SIGTERM")
        if one.role.kind in CRIES:
            one.popen.send_signal(signal.SIGUSR1)
            time.sleep(CRY_SECONDS)
        self.kill(one)

    def _start(self, name: str) -> None:
        role = self.roles[name]
        self._counts[name] = number = self._counts.get(name, 0) + 1
        mark = f"{self.token}:{name}:{number}"
        own = role.env if number == 1 else {}
        log = self._folder / f"{name}.{number}.log"
        with log.open("wb") as output:
            popen = self._popen(role.command, {**self._environment, **role.always, **own, MARK: mark}, output.fileno())
        one = Incarnation(role, mark, popen, log, time.time())
        self.current[name] = one
        self.history.append(one)

    def _popen(self, command: Sequence[str], env: Mapping[str, str], output: int) -> subprocess.Popen[bytes]:
        if self.forked and preloaded.can_fork(command, env):
            return preloaded.fork(command, env=env, stdout=output, stderr=output, dies_with_us=True)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command],
            cwd=self._cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    # -- for faults

    def up(self, kind: str) -> list[Incarnation]:
        """The processes of a kind that work."""
        of_kind = [one for one in self.current.values() if one.role.kind == kind]
        return [one for one in of_kind if one.alive and one.ready is not None and one.killed is None and one.termed is None]

    def all_up(self) -> bool:
        return len([one for one in self.current.values() if one.alive and one.ready is not None]) == len(self.roles)

    def kill(self, one: Incarnation) -> None:
        one.killed = time.time()
        one.popen.send_signal(signal.SIGKILL)

    def term(self, one: Incarnation) -> None:
        one.termed = time.time()
        one.popen.send_signal(signal.SIGTERM)

    def children(self, one: Incarnation) -> list[Seen]:
        """Processes that it started itself."""
        return [seen for seen in self.tree(one) if seen.parent == one.pid]

    def tree(self, one: Incarnation) -> list[Seen]:
        """It, and all that it or its children started."""
        return [seen for seen in marked(one.mark) if seen.mark == one.mark]

    # -- what is left

    def look_for_orphans(self) -> None:
        """Note processes whose main process died a while ago."""
        ended = {one.mark: one.ended for one in self.history if one.ended is not None}
        for seen in marked(self.token):
            if seen.mark in ended and time.time() - ended[seen.mark] > ORPHAN_SECONDS:
                self.orphans.add(f"{seen.mark.split(':', 1)[1]} pid {seen.pid}: {seen.command[:120]}")

    def stop(self) -> None:
        """SIGTERM to all, wait for the ends. What does not end in time is noted and killed."""
        self._closing = True
        for one in self.current.values():
            if one.alive:
                one.popen.send_signal(signal.SIGCONT)
                self.term(one)
        while any(one.alive for one in self.current.values()):
            self.tick()
            time.sleep(POLL_SECONDS)
        _wait(lambda: not marked(self.token), ORPHAN_SECONDS)
        for seen in marked(self.token):
            self.orphans.add(f"{seen.mark.split(':', 1)[1]} pid {seen.pid}: {seen.command[:120]}")
        self.clear()

    def clear(self) -> None:
        """End everything that carries our mark, whatever state it is in."""
        self._closing = True
        for one in self.current.values():
            if one.popen.poll() is None:
                one.popen.kill()
            one.popen.wait()
        for seen in marked(self.token):
            send(seen, signal.SIGKILL)


def marked(mark: str) -> list[Seen]:
    """Live processes whose environment carries a mark that begins so. Zombies have no environment: they are not seen."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            environment = Path(entry.path, "environ").read_bytes()
            line = next((part for part in environment.split(b"\0") if part.startswith(wanted)), None)
            if line is None:
                continue
            parent = int(Path(entry.path, "stat").read_text().rpartition(")")[2].split()[1])
            command = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, IndexError):
            continue  # it ended meanwhile, or is another user's
        found.append(Seen(int(entry.name), parent, line.decode().partition("=")[2], command))
    return found


def send(seen: Seen, number: signal.Signals) -> bool:
    """Signal a process if it is still the one that was seen (pids come back)."""
    if not any(now.pid == seen.pid for now in marked(seen.mark)):
        return False
    try:
        os.kill(seen.pid, number)
    except ProcessLookupError:
        return False
    return True


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def total_down(intervals: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """Seconds of start..end that the intervals cover; they may overlap."""
    covered, upto = 0.0, start
    for begin, finish in sorted(intervals):
        begin, finish = max(begin, upto), min(finish, end)
        if finish > begin:
            covered += finish - begin
            upto = finish
    return covered
