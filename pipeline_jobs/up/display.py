"""The terminal output: steps of the start, a progress bar for the sample job (plain lines without a terminal), its result."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline_jobs.states import Reason

#: Without a terminal: a line at each new stage and each so many per cent.
PLAIN_STEP = 10


class JobView:
    """Shows a job while it runs: `with JobView(console) as view: view.show(job)`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._shown: tuple[Any, ...] | None = None
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("{task.fields[status]:<9}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
            self._bar = Progress(*columns, TextColumn("{task.description}", markup=False), console=console)
            self._task = self._bar.add_task("", total=100, status="queued")

    def __enter__(self) -> JobView:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, job: Mapping[str, Any]) -> None:
        """Take the job as the API shows it."""
        if self._bar is not None:
            self._bar.update(self._task, completed=job["progress"], status=job["status"], description=doing(job))
            return
        shown = (job["status"], job["stage"], int(job["progress"]) // PLAIN_STEP)
        if shown != self._shown:
            self._shown = shown
            say(self.console, f"  {job['status']:<9} {job['progress']:>5.1f} %  {doing(job)}")


def doing(job: Mapping[str, Any]) -> str:
    """Its stage and message, or why it waits: `transcribe: 12 s of 21 s`."""
    if job["status"] == "queued":
        if job["reason"] == Reason.DISPATCHED:
            return "a worker is about to start it"
        return f"waits: {job['reason']}" if job["reason"] else "waits"
    return ": ".join(word for word in (job["stage"], job["message"]) if word)


def say(console: Console, text: str = "") -> None:
    """One line as it is: not wrapped at 80 columns in a log, no markup read in a transcript."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def show_result(console: Console, job: Mapping[str, Any]) -> None:
    """The result of a completed job, or why it has none."""
    if job["status"] != "completed":
        detail = job.get("error_detail") or {}
        code = f" [{detail['code']}]" if detail.get("code") else ""
        say(console, f"The job is {job['status']}{code}: {job['error'] or 'no reason given'}")
        return
    say(console, "Result:")
    for name, value in result_lines(job["result"]["data"]):
        wrapped = textwrap.wrap(value, 100, break_long_words=False, break_on_hyphens=False) or [""]
        for number, line in enumerate(wrapped):
            say(console, f"  {name if number == 0 else '':<11} {line}")


def result_lines(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of a media result is worth a look at the terminal, in reading order; the API has the rest."""
    lines = [(name, data[name]) for name in ("transcript", "summary", "language", "keywords", "drive_url") if data.get(name)]
    return [(name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for name, value in lines]
