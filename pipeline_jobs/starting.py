"""How a process that cannot start says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_jobs.exceptions import ConfigurationError


@contextmanager
def one_line_errors(code: int = 2) -> Iterator[None]:
    """For what a process begins with: a wrong setting ends it with one line, and no traceback. :raises SystemExit: with this code."""
    try:
        yield
    except ConfigurationError as error:
        sys.stderr.write(f"Error: {error.message}\n")
        raise SystemExit(code) from None
