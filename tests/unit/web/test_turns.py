"""Turns by tenant: one with very many or heavy requests holds up nobody, wherever it comes from."""

from __future__ import annotations

import itertools
import os
import select
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from pipeline_jobs.web.server import accounts, giving_way, gunicorn_worker
from pipeline_jobs.web.server.accounts import HEAVY, MOST_AT_WORK
from pipeline_jobs.web.server.giving_way import Way
from pipeline_jobs.web.server.gunicorn_worker import AT_WORK_SECONDS, Worker
from pipeline_jobs.web.server.slow import belongs_to, costs
from tests import preloaded
from tests.stack import free_port
from tests.unit.web.test_connections import OTHER, connect, ends_with, number_in, status
from tests.waiting import until

#: In the server: requests for `/heavy` that are at work, by owner.
COUNT: Counter[str] = Counter()
NUMBERS = itertools.count()
AT_WORK, TURN = threading.Lock(), threading.Event()
#: Ends the request for `/held`.
FREED = threading.Event()
WAYS: list[Way] = []
#: One more than take turns.
MEETING = threading.Barrier(MOST_AT_WORK + 1)


#: Far longer than a test, in seconds.
LONG = 1e6


class Patient(Worker):
    """A worker that forgets nothing while a test runs, and leaves refusals for later: a slow machine is no fault."""

    def init_process(self) -> None:
        accounts.REMEMBERED = accounts.OTHERS_SECONDS = 1000.0
        gunicorn_worker.REFUSAL_SECONDS = gunicorn_worker.MOST_AT_WORK_SECONDS = 1000.0
        giving_way.CLAIM_SECONDS = giving_way.WAIT_SECONDS = 1000.0
        accounts.USED_SECONDS = LONG
        WAYS.append(self._way)
        super().init_process()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Lets in whose key has no `wrong` in it. Gives back the path, or which process this is; reads the body for `/uploads/body`. For
    `/seen`: how many requests for `/held` have begun, give way, and for `/marked` have begun, and how many of `a` have no thread."""
    path, key = environ["PATH_INFO"], environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
    if key and "wrong" not in key:
        belongs_to(environ, f"tenant {key}")
    body = str(os.getpid()).encode() if path == "/process" else path.encode()
    if path == "/uploads/body":
        environ["wsgi.input"].read()
    if path == "/costly":
        costs(environ, LONG)
    if path in ("/held", "/marked"):
        with AT_WORK:
            COUNT[path] += 1
    if path == "/held":
        FREED.wait()
    if path == "/free":
        FREED.set()
    if path == "/seen":
        body = b"%d %d %d %d" % (COUNT["/held"], WAYS[0].waiting, COUNT["/marked"], WAYS[0]._parked("tenant a"))
    if path == "/meet":
        MEETING.wait()
    if path in ("/heavy", "/long", "/counted"):
        costs(environ, 2 * HEAVY if path == "/heavy" else 0.0)
        with AT_WORK:
            COUNT[key] += 1
        TURN.wait(3 * AT_WORK_SECONDS if path == "/long" else 0.1)
        with AT_WORK:
            body = b"%d " % COUNT[key]
            COUNT[key] -= 1
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def settings() -> dict[str, str]:
    return {}


@pytest.fixture
def workers() -> int:
    return 1


@pytest.fixture
def port(settings: dict[str, str], workers: int) -> Iterator[int]:
    """A server whose processes have eight threads each, up. Whoever has the key `a` was there first."""
    number = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{number}", "--threads", "8", "--keep-alive", "60",
        "--workers", str(workers), "--no-control-socket", "--worker-class", f"{__name__}.Patient", f"{__name__}:application",
    ]  # fmt: skip
    with preloaded.quiet(command, **{"PIPELINE_REQUEST_SECONDS": "1000", **settings}) as process:
        try:
            until(lambda: _is_up(number), "gunicorn")
            yield number
        finally:
            process.kill()


def _is_up(port: int) -> bool:
    try:
        return answered(port, "a")
    except OSError:
        return False


def request(path: str, key: str, *more: str) -> bytes:
    """Its head, with cookies that are nobody's: each time another one."""
    shown = (f"Cookie: n={next(NUMBERS)}", *((f"Authorization: Bearer {key}",) if key else ()))
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: x", *shown, *more, "", "")).encode()


def answered(port: int, key: str, source: str = "127.0.0.1") -> bool:
    """Whoever has this key is served, and the server has noted what there was to note."""
    with connect(port, source) as client:
        return served(client, key) and served(client, key)


def served(client: socket.socket, key: str) -> bool:
    """On this connection. Whose it was and what it cost is noted after an answer has left, but before the connection's next one does."""
    client.sendall(request("/up", key))
    return ends_with(client, b"/up")


def hold(port: int, key: str, source: str = "127.0.0.1") -> socket.socket:
    """A request that keeps its thread until its body comes: nobody but a thread reads uploads."""
    sender = connect(port, source)
    sender.sendall(request("/uploads/body", key, "Transfer-Encoding: chunked") + b"a\r\n1")
    return sender


@pytest.mark.parametrize("keys", [["a"] * 20, [f"wrong {number}" for number in range(20)]], ids=["a tenant", "wrong keys"])
def test_who_shares_an_address_with_many_requests_is_served(port: int, keys: list[str]) -> None:
    for key in (keys[0], "b"):
        assert answered(port, key)
    senders = [hold(port, key) for key in keys]
    for _ in range(3):
        assert answered(port, "b")
        # Nor do those that nobody knows take all threads from another address.
        assert answered(port, "", OTHER)
    for sender in senders:
        sender.sendall(b"234567890\r\n0\r\n\r\n")
    for sender in senders:
        assert status(sender) == b"200"
        sender.close()


def test_a_tenant_of_many_addresses_never_holds_all_threads(port: int) -> None:
    assert answered(port, "a")
    senders = [hold(port, "a", f"127.0.0.{number}") for number in range(10, 30)]
    for _ in range(3):
        assert answered(port, "b")
    for sender in senders:
        sender.close()


@pytest.mark.parametrize("settings", [{"PIPELINE_HTTP_CONNECTIONS_PER_ADDRESS": "5"}])
def test_the_queue_of_a_tenant_ends_somewhere(port: int) -> None:
    assert answered(port, "a")
    # Seven have a thread sooner or later, five wait.
    senders = [hold(port, "a", f"127.0.0.{number}") for number in range(10, 23)]
    readable = until(lambda: select.select(senders, [], [], 0)[0], "a refusal")
    assert {answer.recv(1000)[9:12] for answer in readable} == {b"429"}
    assert answered(port, "b")
    for sender in senders:
        sender.close()


def test_heavy_requests_are_at_work_one_at_a_time_beside_others(port: int) -> None:
    for key in ("a", "b"):
        assert answered(port, key)
    first = connect(port)
    first.sendall(request("/heavy", "a"))
    assert number_in(first) == b"1 "
    assert served(first, "a")
    senders = [connect(port) for _ in range(4)]
    for sender in senders:
        sender.sendall(request("/heavy", "a"))
    assert answered(port, "b")
    assert [int(number_in(sender)) for sender in senders] == [1] * 4
    for sender in (first, *senders):
        sender.close()


def test_long_requests_stay_at_work_unless_they_wait_for_their_client(port: int) -> None:
    """Where everything takes long, more at once would make it worse. Alone one may have more of them: not even the address that it comes
    from counts as another."""
    alone = [connect(port) for _ in range(MOST_AT_WORK + 1)]
    for sender in alone:
        sender.sendall(request("/meet", "a"))
    assert all(ends_with(sender, b"/meet") for sender in alone)
    for sender in alone:
        sender.close()
    assert answered(port, "b")
    senders = [connect(port) for _ in range(7)]
    for sender in senders:
        sender.sendall(request("/long", "a"))
    assert max(int(number_in(sender)) for sender in senders) <= MOST_AT_WORK
    for sender in senders:
        sender.close()


def process(client: socket.socket, key: str) -> bytes:
    """The one that serves this connection."""
    client.sendall(request("/process", key))
    return client.recv(1000).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("workers", [2])
def test_whoever_is_served_by_another_process_is_another_too(port: int) -> None:
    """All processes have one store: who fills the process that nobody else comes to makes those wait who come to the other one."""
    quiet = connect(port)
    # The first request of a key is its address's: nobody knows yet whose it is.
    assert served(quiet, "b")
    where = process(quiet, "b")
    beside, there = list[socket.socket](), list[socket.socket]()

    def connected() -> bool:
        sender = connect(port)
        (there if process(sender, "a") == where else beside).append(sender)
        return len(beside) >= 2 * MOST_AT_WORK

    # The processes share connections, but for a few.
    until(connected, "connections to the other process")
    for sender in beside:
        sender.sendall(request("/long", "a"))
    assert max(int(number_in(sender)) for sender in beside) <= MOST_AT_WORK
    for sender in (quiet, *beside, *there):
        sender.close()


@pytest.mark.parametrize(("header", "body"), [("Content-Length: 20000", bytes(20_000)), ("Transfer-Encoding: chunked", b"0\r\n\r\n")])
def test_so_are_the_first_large_ones(port: int, header: str, body: bytes) -> None:
    for key in ("a", "b"):
        assert answered(port, key)
    senders = [connect(port) for _ in range(4)]
    for sender in senders:
        sender.sendall(request("/counted", "a", header) + body)
    assert answered(port, "b")
    assert [int(number_in(sender)) for sender in senders] == [1] * 4
    for sender in senders:
        sender.close()


def test_whoever_sends_large_heads_all_the_time_waits_for_the_answer(port: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in range(5)) + b"\r\n"
    for _ in range(20):
        with connect(port) as sender:
            sender.sendall(head)
            assert status(sender) == b"431"
    with connect(port) as late, connect(port, OTHER) as other:
        late.sendall(head)
        other.sendall(head)
        assert status(other) == b"431"
        assert answered(port, "")
        assert select.select([late], [], [], 0)[0] == []


def test_whoever_has_used_much_gives_way_to_one_at_work(port: int) -> None:
    for key in ("a", "b", "c"):
        assert answered(port, key)
    with connect(port) as greedy, connect(port) as quiet:

        def seen() -> bytes:
            # Each time by another connection: the server closes one that was idle for a while.
            with connect(port) as witness:
                witness.sendall(request("/seen", "c"))
                return witness.recv(1000).partition(b"\r\n\r\n")[2]

        greedy.sendall(request("/costly", "a"))
        assert ends_with(greedy, b"/costly")
        assert served(greedy, "a")
        quiet.sendall(request("/held", "b"))
        until(lambda: seen() == b"1 0 0 0", "the quiet one to be at work")
        greedy.sendall(request("/marked", "a"))
        until(lambda: seen() == b"1 1 0 0", "the greedy one to give way")
        more = [connect(port) for _ in range(MOST_AT_WORK + 1)]
        for sender in more:
            sender.sendall(request("/marked", "a"))
        until(lambda: seen() == b"1 1 0 3", "its next ones to wait behind it")
        with connect(port) as witness:
            witness.sendall(request("/free", "c"))
            assert ends_with(witness, b"/free")
        assert ends_with(quiet, b"/held")
        assert all(ends_with(sender, b"/marked") for sender in (greedy, *more))
        # An answer may come in two pieces.
        until(lambda: seen() == b"1 0 4 0", "those that gave way to have been served")
        for sender in more:
            sender.close()
