"""A call of the store that an exception breaks off anywhere, as a signal's does that stops a run, leaves its reply to nobody.

The next call in the process may be another tenant's. A server that answers late stands in for the store: a reply that has come already is
found by redis-py itself.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from types import FrameType
from typing import Any, BinaryIO

import pytest

from pipeline_jobs.store.connection import connect
from pipeline_jobs.store.reader import Reader
from tests.cases import each

#: How long the server takes for each command, in seconds.
LATE = 0.002
#: A call of redis-py has hundreds of places, ours has some thirty: it is broken off at every third.
STEP = 3
#: Where: in ours and in what of redis-py sends and reads. Not behind them: between a lock's end and its block's, as a tracer can, no
#: signal breaks off.
PLACES = ("/redis/client.py", "/redis/connection.py", "/redis/_parsers/", "/redis/retry.py", "/pipeline_jobs/store/")

Ask = Callable[[Reader, str], str]


class BrokenOff(BaseException):
    """As no `except Exception` catches."""


def asked(commands: BinaryIO) -> list[bytes]:
    """The next command; empty: there is none."""
    if not (line := commands.readline()):
        return []
    words = []
    for _ in range(int(line[1:])):
        size = int(commands.readline()[1:])
        words.append(commands.read(size + 2)[:size])
    return words


def answer(connection: socket.socket) -> None:
    """ECHO with its word, PING as a server does, everything else with OK."""
    with connection, connection.makefile("rb") as commands, contextlib.suppress(OSError):
        while words := asked(commands):
            threading.Event().wait(LATE)
            word = words[1] if words[0] == b"ECHO" else b"PONG" if words[0] == b"PING" else b"OK"
            connection.sendall(b"$%d\r\n%s\r\n" % (len(word), word))


def serve(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


@pytest.fixture
def reader() -> Iterator[Reader]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        with connect(f"redis://127.0.0.1:{listener.getsockname()[1]}/0") as client:
            yield Reader(client, "p")
        listener.shutdown(socket.SHUT_RDWR)


def broken_off(call: Callable[[], Any], at: int) -> bool:
    """Break a call off at this place of its way. :return: it has so many."""
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        return step if any(place in frame.f_code.co_filename for place in PLACES) else None

    def step(_frame: FrameType, _event: str, _: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == at:
            raise BrokenOff
        return step

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(BrokenOff):
            call()
    finally:
        sys.settrace(before)
    return seen >= at


def one(reader: Reader, word: str) -> str:
    return str(reader.wire.call("ECHO", word))


def of_the_pool(reader: Reader, word: str) -> str:
    return str(reader.client.execute_command("ECHO", word))


def together(reader: Reader, word: str) -> str:
    first, second = reader._together([("ECHO", word), ("ECHO", word)])
    assert first == second
    return str(first)


def while_handling(reader: Reader, word: str) -> str:
    """By somebody who handles another error."""
    try:
        raise LookupError
    except LookupError:
        return of_the_pool(reader, word)


# A connection that was broken off as it was made is left to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@each("ask", [one, of_the_pool, while_handling, together])
def test_a_call_that_is_broken_off_anywhere_leaves_its_reply_to_nobody(reader: Reader, ask: Ask) -> None:
    words = map(str, count())
    for at in count(1, STEP):
        if not broken_off(lambda: ask(reader, next(words)), at):
            break
        for word in (next(words), next(words)):
            assert ask(reader, word) == word, at
    assert at > 30


def test_whoever_handles_an_error_keeps_the_connection_and_so_does_the_next(reader: Reader) -> None:
    of_the_pool(reader, "first")
    (connection,) = reader.client.connection_pool._available_connections
    line = connection._sock
    assert [while_handling(reader, "second"), of_the_pool(reader, "third")] == ["second", "third"]
    assert connection._sock is line
    assert connection.handled is None
