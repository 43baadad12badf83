"""Start processes that cannot outlive us, keep their logs, start them again when they end, stop them in order.

Why not honcho: `docs/decisions/0002-process-supervisor.md`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_jobs.exceptions import PipelineJobsError
from pipeline_jobs.starting import die_with

POLL_SECONDS = 0.05
#: Before a process is started again, in seconds: at first, doubled at each further end in a row, at most; and how long it must have run
#: for an end to be the first one again.
FIRST_PAUSE, LONGEST_PAUSE, STEADY_SECONDS = 0.5, 5.0, 60.0
#: How much of a log is read for its last lines, in bytes.
TAIL_BYTES = 16_384


class ProcessDied(PipelineJobsError):
    """A process ended that should run."""

    code = "process_died"

    def __init__(self, child: Child) -> None:
        lines = "\n".join(f"    {line}" for line in child.last_lines()) or "    (it wrote nothing)"
        super().__init__(f"{child.name} {child.how_it_ended}; the end of {child.log}:\n{lines}")


@dataclass(frozen=True, slots=True)
class Command:
    """What to run under which name."""

    name: str
    argv: tuple[str, ...]
    #: The others need it while they stop (the server): stopped when they have.
    last: bool = False
    #: The start does not fail without it.
    optional: bool = False
    #: What it has in its environment besides the others'; theirs goes before.
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Child:
    """A started process, the leader of a process group of its own."""

    command: Command
    popen: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)
    #: Ends in a row before this start.
    ends: int = 0

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    @property
    def how_it_ended(self) -> str:
        code = self.popen.poll()
        if code is None:
            return "is running"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    def last_lines(self, count: int = 15) -> list[str]:
        """The last lines of its log, without empty ones."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-count:]

    def signal_group(self, number: signal.Signals) -> None:
        """To it and all that it started (and that has not left its group). Safe when nothing is left."""
        try:
            os.killpg(self.popen.pid, number)
        except ProcessLookupError:
            pass


@dataclass(slots=True)
class Supervisor:
    """The processes of one stack. Call it from the main thread only: a child dies with the *thread* that started it."""

    log_dir: Path
    cwd: Path
    env: Mapping[str, str]
    children: list[Child] = field(default_factory=list)
    #: Set it (from a signal handler) to cut `stop`'s grace short. No Event: its lock may be held by the code interrupted.
    hurry: bool = False
    _told: set[int] = field(default_factory=set)
    #: When those that have ended are started again, by `time.monotonic()`.
    _due: dict[str, float] = field(default_factory=dict)

    def start(self, command: Command, *, again: bool = False) -> Child:
        """Start it with its output in `log_dir/NAME.log`, which begins anew, or goes on if it is started `again`."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        log, parent = self.log_dir / f"{command.name}.log", os.getpid()
        with log.open("ab" if again else "wb") as output:
            popen = subprocess.Popen(
                command.argv,
                cwd=self.cwd,
                env={**command.environment, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Not in the terminal's foreground group: a Ctrl-C is ours alone, and we choose the order.
                start_new_session=True,
                preexec_fn=lambda: die_with(parent),  # noqa: PLW1509 - one system call, no lock that a thread could hold
            )
        child = Child(command, popen, log)
        self.children.append(child)
        return child

    def check(self) -> None:
        """:raises ProcessDied: one that is not optional has ended."""
        for child in self.children:
            if not child.running and not child.command.optional:
                raise ProcessDied(child)

    def ended(self) -> list[Child]:
        """Those that have ended since the last call."""
        news = [child for child in self.children if child.popen.pid not in self._told and not child.running]
        self._told.update(child.popen.pid for child in news)
        return news

    def revive(self) -> None:
        """Start again, after a pause, what has ended and is not optional. Call it again and again."""
        now = time.monotonic()
        for child in [child for child in self.children if not child.running and not child.command.optional]:
            if child.name not in self._due:
                ends = 0 if now - child.began >= STEADY_SECONDS else child.ends
                child.ends, self._due[child.name] = ends + 1, now + min(FIRST_PAUSE * 2 ** min(ends, 8), LONGEST_PAUSE)
            if now >= self._due[child.name]:
                del self._due[child.name]
                self._start_again(child)

    def _start_again(self, child: Child) -> None:
        # What it has left of its own would hold ports, or run jobs, beside the new one.
        child.signal_group(signal.SIGKILL)
        try:
            self.start(child.command, again=True).ends = child.ends
        except OSError:
            return  # no memory or no process for it: after another pause
        self.children.remove(child)
        self._told.discard(child.popen.pid)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """SIGTERM to each, SIGKILL to what is left after the grace; those marked `last` when the others have ended."""
        self._stop([child for child in self.children if not child.command.last], grace_seconds)
        self._stop([child for child in self.children if child.command.last], grace_seconds)

    def _stop(self, children: Iterable[Child], grace_seconds: float) -> None:
        children = list(children)
        for child in children:
            if child.running:
                child.popen.terminate()
        deadline = time.monotonic() + grace_seconds
        while any(child.running for child in children) and time.monotonic() < deadline and not self.hurry:
            time.sleep(POLL_SECONDS)
        for child in children:
            # Also after a clean end: a group may have members that outlived their leader.
            child.signal_group(signal.SIGKILL)
            child.popen.wait()
