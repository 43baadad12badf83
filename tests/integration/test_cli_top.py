"""`pipeline-jobs top` at a terminal: what it draws, and that it draws again."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from pipeline_jobs.cli import top_command
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.operation.waits import REASONS
from pipeline_jobs.settings import Settings
from tests.integration.conftest import Cell
from tests.stack import ROOT, environment
from tests.waiting import until

ROWS, COLUMNS = 30, 120
LEAVES_THE_SCREEN = "\x1b[?1049l"


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, settings: Settings, folder: Path, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        env = environment(settings, PYTHONPATH=str(ROOT), TERM="xterm-256color")
        command = [sys.executable, "-m", "pipeline_jobs", *words]
        # Its terminal, so that Ctrl-C reaches it and nobody else.
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=_control
        )
        os.close(theirs)
        self._seen = ""

    def seen(self) -> str:
        """Everything that it has written so far."""
        while select.select([self._ours], [], [], 0)[0]:
            try:
                self._seen += os.read(self._ours, 65536).decode("utf-8", "replace")
            except OSError:
                # The other end was closed.
                break
        return self._seen

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


def _control() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # Where these tests are a job in the background, it is ignored, and so by all that they start.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def busy(jobs: Cell) -> Iterator[Cell]:
    """One slot, which a job has."""
    # Announcements and leases outlive the test.
    made = jobs.with_settings(announce_seconds=600, lease_seconds=600, hint_seconds=600)
    made.slots(1, "jobs@a/1")
    made.start(made.submit(tenant_id="acme").job_id, worker="jobs@a/1")
    yield made
    made.cell.close()


@pytest.fixture
def terminal(busy: Cell, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(busy.settings, tmp_path, "top", "--every", "0.5")
    yield made
    made.close()


def test_it_draws_again_until_ctrl_c_and_gives_the_screen_back(busy: Cell, terminal: Terminal) -> None:
    until(lambda: "1 of 1 slots busy, 0 queued" in terminal.seen(), "the first look")
    waiting = busy.submit(tenant_id="other")
    until(lambda: "1 of 1 slots busy, 1 queued" in terminal.seen() and waiting.job_id in terminal.seen(), "a look that shows the change")
    assert LEAVES_THE_SCREEN not in terminal.seen()
    terminal.press(b"\x03")
    assert terminal.process.wait(60) == 0
    assert LEAVES_THE_SCREEN in terminal.seen()
    assert "Traceback" not in terminal.seen()


def frame(busy: Cell) -> list[str]:
    console = Console(width=COLUMNS, height=ROWS, color_system=None)
    with console.capture() as drawn:
        console.print(top_command._drawn(top_command.look(busy.cell)))
    return [line.rstrip() for line in drawn.get().splitlines()]


def test_a_store_that_is_away_ends_it_not(busy: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failover takes seconds, and whoever watches wants to see what comes after it."""

    def away(cell: object) -> object:
        raise StoreUnavailable("the store cannot be reached")

    monkeypatch.setattr(top_command, "look", away)
    console = Console(width=COLUMNS, color_system=None)
    with console.capture() as drawn:
        console.print(top_command._now(busy.cell))
    assert drawn.get().strip() == "the store cannot be reached; it is asked again."


def test_a_frame_fits_the_terminal_and_says_who_has_what_and_why(busy: Cell) -> None:
    before = frame(busy)
    assert before[0] == "1 of 1 slots busy, 0 queued, nothing waits"
    assert not [line for line in before if line.startswith("REASON")], "a table without a row is not drawn"
    waiting = busy.submit(tenant_id="other")
    after = frame(busy)
    assert after[0].startswith("1 of 1 slots busy, 1 queued, the oldest waits ")
    assert max(map(len, after)) <= COLUMNS
    rows = {line.split()[0]: line for line in after if line}
    assert rows["jobs@a"].split() == ["jobs@a", "1", "1"]
    assert REASONS["fair_share"][:20] in rows["fair_share"]
    assert waiting.job_id in rows["other"]
