"""Whatever a client sends, and however many there are: the process goes on, with the connections of all others."""

from __future__ import annotations

import os
import resource
import selectors
import socket
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from pipeline_jobs.web.server.body_room import BodyRoom
from pipeline_jobs.web.server.client_connection import Connection
from pipeline_jobs.web.server.gunicorn_worker import Worker
from pipeline_jobs.web.server.request_threads import RequestThreads
from tests.unit.web.test_gunicorn_worker import kind, options, port, start
from tests.waiting import until

__all__ = ["kind", "options", "port", "start"]

#: Bytes that one or another reader of heads may not like.
ODD = (
    b"\xff",
    b"\xc3",
    b"a=\xff; b",
    b'pipeline_jobs="\\377',
    b"pipeline_jobs=\xe9",
    b"Bearer \xff",
    b"\xb2",
    b"::1%x",
    b"9" * 30,
    b",",
    b"",
)
NAMES = (b"Cookie", b"Authorization", b"X-Forwarded-For", b"X-Request-Id", b"Host", b"Content-Length", b"Transfer-Encoding", b"Expect")


def answer(sender: socket.socket, path: bytes, field: bytes = b"Host: x") -> bytes:
    """Status line and body of the answer to one request; empty: there was none."""
    sender.sendall(b"GET " + path + b" HTTP/1.1\r\n" + field + b"\r\n\r\n")
    head, _, body = sender.recv(65_536).partition(b"\r\n\r\n")
    return head[9:12] + b" " + body


def connect(port: int) -> socket.socket:
    """As soon as it is up."""

    def connected() -> socket.socket | None:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            return None

    return until(connected, "gunicorn")


def test_no_head_ends_the_process(port: int) -> None:
    with connect(port) as other:
        before = answer(other, b"/process")
        for name in NAMES:
            for value in ODD:
                with connect(port) as sender:
                    assert answer(sender, b"/odd", name + b": " + value)[:3] in (b"200", b"400", b"417"), (name, value)
        assert answer(other, b"/process") == before


def test_more_connections_than_the_process_can_have_files_wait(port: int) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(connect(port))
        before = answer(first, b"/process")
        resource.prlimit(int(before.split()[1]), resource.RLIMIT_NOFILE, (40, 4096))
        others = [stack.enter_context(connect(port)) for _ in range(60)]
        assert answer(others[0], b"/process") == answer(first, b"/process") == before
        last = others.pop()
        last.sendall(b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n")
        for other in others:
            other.close()
        assert last.recv(65_536).endswith(b"/last")


def connected(worker: Worker, sent: bytes = b"") -> tuple[Connection, socket.socket]:
    """A connection that is waited for, and its client."""
    ours, client = socket.socketpair()
    conn = Connection(worker.cfg, ours, ("127.0.0.1", 1), ("127.0.0.1", 2), worker._closing, lambda *_: None)
    conn.init()
    worker.nr_conns += 1
    worker._held[conn.address] += 1
    client.sendall(sent)
    worker.enqueue_req(conn)
    return conn, client


def test_of_as_many_connections_as_there_may_be_those_that_say_nothing_make_room() -> None:
    """Whoever comes from enough addresses would hold all of them, with the beginning of a head as well."""
    config = Config()
    config.set("worker_connections", 6)
    worker = Worker(1, os.getpid(), [], SimpleNamespace(), 30, config, None)
    worker.poller = selectors.DefaultSelector()
    made = [connected(worker, b"GET /x HT"), *(connected(worker) for _ in range(3))]
    kept = [connected(worker) for _ in range(2)]
    for conn, _ in kept:
        worker.pending_conns.remove(conn)
        worker.keepalived_conns.append(conn)
    worker.nr_conns = 5
    worker.look_for_room()
    assert worker.nr_conns == 5, "there is room"
    worker.nr_conns = 6
    worker.look_for_room()
    assert (worker.nr_conns, dict(worker._held), len(worker.poller.get_map())) == (3, {"127.0.0.1": 3}, 3)
    assert [conn for conn, _ in made[2:]] == list(worker.pending_conns)
    assert list(worker.keepalived_conns) == [kept[1][0]]
    for client in (made[0][1], made[1][1], kept[0][1]):
        assert client.recv(1) == b""
    for conn, client in (*made, *kept):
        conn.sock.close()
        client.close()
    worker.poller.close()
    worker.tmp.close()


def body_begun(worker: Worker, address: str) -> tuple[Connection, socket.socket]:
    """A connection whose small body has begun to come, and its client."""
    ours, client = socket.socketpair()
    conn = Connection(worker.cfg, ours, (address, 1), (address, 2), worker._closing, lambda *_: None)
    conn.init()
    worker.nr_conns += 1
    worker._held[conn.address] += 1
    client.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
    worker.enqueue_req(conn)
    return conn, client


@pytest.mark.parametrize("leaves", [False, True])
def test_a_request_that_lost_its_room_is_refused_once_and_never_served(leaves: bool) -> None:
    """Though the rest of it has come, or its client has left, as the poller has said already."""
    worker = Worker(1, os.getpid(), [], SimpleNamespace(), 30, Config(), None)
    worker.poller = selectors.DefaultSelector()
    worker._room = BodyRoom(9, 9, 9)
    first, client = body_begun(worker, "127.0.0.1")
    if leaves:
        client.close()
    else:
        client.sendall(b"23456789")
    ((key, _),) = worker.poller.select(0)
    second, other = body_begun(worker, "127.0.0.2")
    assert (worker.nr_conns, second.missing) == (1, 8)
    key.data(key.fileobj)
    assert (worker.nr_conns, first.turn, dict(worker._parked)) == (1, 0, {})
    assert leaves or client.recv(100).startswith(b"HTTP/1.1 429 ")
    for one in (first.sock, second.sock, client, other, worker.poller, worker.tmp):
        one.close()


def test_requests_for_which_no_thread_can_be_started_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each WebSocket has two: a container's limit may be reached."""
    first, go_on = threading.Event(), threading.Event()

    def answers() -> bool:
        first.set()
        return go_on.wait(60)

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with RequestThreads(max_workers=4) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError):
                pool.submit(answers)
        answered = [pool.submit(answers)]
        assert first.wait(60)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            answered += [pool.submit(answers) for _ in range(3)]
        go_on.set()
        assert [one.result(60) for one in answered] == [True] * 4
    worker = Worker(1, os.getpid(), [], SimpleNamespace(), 30, Config(), None)
    with worker.get_thread_pool() as pool:
        assert type(pool) is RequestThreads
    worker.tmp.close()


def test_an_error_over_what_a_client_sent_ends_its_connection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(1, os.getpid(), [], SimpleNamespace(), 30, Config(), None)
    worker.poller = selectors.DefaultSelector()
    monkeypatch.setattr(Connection, "identify", lambda *_: bytes([255]).decode())
    conn, client = body_begun(worker, "127.0.0.1")
    assert (worker.nr_conns, dict(worker._held), client.recv(1)) == (0, {}, b"")
    for one in (conn.sock, client, worker.poller, worker.tmp):
        one.close()
