"""Small programs for the supervisor to run."""

from __future__ import annotations

import sys

from pipeline_jobs.up.supervisor import Command


def program(name: str, code: str, *, last: bool = False, optional: bool = False) -> Command:
    return Command(name, (sys.executable, "-c", code), last=last, optional=optional)
