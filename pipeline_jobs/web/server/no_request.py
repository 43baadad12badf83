"""Answers to what is no request, in the place of gunicorn's own."""

from __future__ import annotations

import socket
from collections.abc import Callable

from gunicorn import util

from pipeline_jobs.web.problems import bare_code, bare_problem

#: Is told of an answer to what is no request: its status and its code.
Refused = Callable[[int, str], None]


def untold(status: int, code: str) -> None:
    """Nobody counts yet."""


def write_problem(sock: socket.socket, status: int, reason: str, mesg: str, *, refused: Refused = untold) -> None:
    """Refuses what is no request (a line or headers too long, a header that is none), in the place of gunicorn's page of HTML, whose
    text quotes the request."""
    # A transfer coding that nobody has is the client's fault.
    status, reason = (400, "Bad Request") if status == 501 else (status, reason)
    refused(status, bare_code(status))
    util.write_nonblock(sock, bare_problem(status, reason))


util.write_error = write_problem
