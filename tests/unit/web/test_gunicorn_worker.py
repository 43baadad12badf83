"""gunicorn's worker as we have it: a thread stays with its connection, and gives way."""

from __future__ import annotations

import gc
import http.client
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.workertmp import WorkerTmp

from pipeline_jobs.web import gunicorn_conf
from pipeline_jobs.web.server import balance, gunicorn_worker
from pipeline_jobs.web.server.gunicorn_worker import Worker
from pipeline_jobs.web.server.slow import rests
from tests import living, preloaded
from tests.stack import free_port
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]


#: Of the thread: whose turn it is.
TURN = threading.local()


class Late(queue.SimpleQueue[Any]):
    """Looks as if free threads took long to wake up."""

    def qsize(self) -> int:
        return 1


class Staying(Worker):
    """Its threads stay for as long as they may. All its looks are early."""

    def init_process(self) -> None:
        gunicorn_worker.STAY_SECONDS = gunicorn_worker.MOST_AT_WORK_SECONDS = 1000.0
        gunicorn_worker.AT_WORK_SECONDS = 0.001
        super().init_process()

    def get_thread_pool(self) -> Any:
        pool = super().get_thread_pool()
        pool._work_queue = Late()
        return pool

    def handle(self, conn: Any) -> Any:
        TURN.of = conn
        return super().handle(conn)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Gives the path back, or says which process answers, in which turn of the connection, and what its garbage collector passes over."""
    path = environ["PATH_INFO"]
    if path == "/rest":
        rests(environ)
        until(lambda: not TURN.of.is_at_work, "the main thread to hear of it")
    said = {"/process": os.getpid, "/master": os.getppid, "/turn": lambda: TURN.of.turn, "/frozen": gc.get_freeze_count}.get(path)
    body = (str(said()) if said else path).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def options() -> list[str]:
    """A single thread."""
    return ["--threads", "1"]


@pytest.fixture
def kind() -> type[Worker]:
    return Worker


def afresh(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A process that nobody has loaded anything for."""
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)


@pytest.fixture
def start() -> Callable[[Sequence[str]], subprocess.Popen[bytes]]:
    return preloaded.quiet


@pytest.fixture
def port(options: list[str], kind: type[Worker], start: Callable[[Sequence[str]], subprocess.Popen[bytes]]) -> Iterator[int]:
    """A server. It kills no process that stands still, however long a test, which may stand still itself, leaves it so."""
    number = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{number}", *options, "--keep-alive", "60", "--no-control-socket",
        "--timeout", "0", "--graceful-timeout", "600", "--worker-class", f"{kind.__module__}.{kind.__name__}", f"{__name__}:application",
    ]  # fmt: skip
    with start(command) as process:
        try:
            yield number
        finally:
            process.terminate()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no folder in memory")
def test_that_a_process_lives_is_said_in_memory_not_on_a_disk_that_others_sync() -> None:
    config = Config()
    config.set("worker_tmp_dir", gunicorn_conf.worker_tmp_dir)
    said = WorkerTmp(config)
    try:
        assert os.fstat(said.fileno()).st_dev == Path("/dev/shm").stat().st_dev
    finally:
        said.close()


def get(connection: http.client.HTTPConnection, path: str) -> str:
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def answers(connection: http.client.HTTPConnection) -> bool:
    try:
        return get(connection, "/up") == "/up"
    except OSError:
        connection.close()
        return False


@pytest.mark.parametrize("kind", [Worker, Staying])
def test_kept_connections_are_served_one_request_after_another(port: int) -> None:
    first, second = (http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(2))
    until(lambda: answers(first), "gunicorn")
    sock = first.sock
    # The only thread stays with the first; the second gets it all the same, and the first is not forgotten.
    for number in range(5):
        assert get(first, f"/first/{number}") == f"/first/{number}"
        assert get(second, f"/second/{number}") == f"/second/{number}"
    assert first.sock is sock
    first.close()
    second.close()


@pytest.mark.parametrize("kind", [Staying])
@pytest.mark.parametrize("options", [["--threads", "8"]])
def test_a_thread_stays_with_its_connection_as_long_as_none_lacks_a_thread(port: int) -> None:
    """Between its requests the main thread, which has those of all others to look at, need not be waited for."""
    first, second = (http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(2))
    until(lambda: answers(first), "gunicorn")
    turns = {get(first, "/turn") for _ in range(5)} | {get(second, "/turn") for _ in range(5)}
    assert turns == {"1"}
    # One that counts as at work no more takes another turn: else its tenant would have more at work than it may.
    assert [get(first, path) for path in ("/rest", "/turn")] == ["/rest", "2"]
    first.close()
    second.close()


@pytest.mark.parametrize("options", [["--threads", "8", "--workers", "2"]])
def test_the_processes_share_the_kept_connections(port: int) -> None:
    first = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    until(lambda: answers(first), "gunicorn")
    # Both are there: whoever has fewer connections takes the next one, so these are kept until each has one.
    seen: set[str] = set()
    others: list[http.client.HTTPConnection] = []

    def both() -> bool:
        others.append(http.client.HTTPConnection("127.0.0.1", port, timeout=60))
        seen.add(get(others[-1], "/process"))
        return len(seen) == 2

    until(both, "the second process")
    for other in others:
        other.close()
    kept = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(16)]
    served = Counter(get(connection, "/process") for connection in kept)
    # Whoever is busy with something else may let a few go to the other; left alone, one process takes nearly all.
    assert min(served.values()) >= 4
    assert len(served) == 2
    for connection in (first, *kept):
        connection.close()


def test_a_server_that_stops_answers_all_who_had_connected(port: int) -> None:
    """Nginx sends no POST again whose connection was reset."""
    with ExitStack() as opened:
        # A connection that a test that fails leaves open is an error of another test, in which it is collected.
        first, *late = (opened.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60))) for _ in range(21))
        until(lambda: answers(first), "gunicorn")
        process, master = int(get(first, "/process")), int(get(first, "/master"))
        with stopped(process):
            for number, connection in enumerate(late):
                connection.request("POST", f"/late/{number}", b"x")
            os.kill(master, signal.SIGTERM)
            until(lambda: living.is_sent(process, signal.SIGTERM), "the master to tell its process to stop")
        for number, connection in enumerate(late):
            answer = connection.getresponse()
            assert (answer.read().decode(), answer.headers["Connection"]) == (f"/late/{number}", "close")


BEGUN = b"GET /begun HTTP/1.1\r\nHost:"


@pytest.mark.parametrize("start", [partial(preloaded.quiet, PIPELINE_REQUEST_SECONDS="1000")])
def test_heads_that_have_not_come_hold_up_no_end(port: int) -> None:
    """Browsers connect ahead of their requests. Of what is not there nothing was accepted; what is complete is answered."""
    with ExitStack() as opened:
        first, kept = (opened.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60))) for _ in range(2))
        until(lambda: answers(first), "gunicorn")
        silent, slow, quick, whole = (opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(4))
        for begun in (slow, quick):
            begun.sendall(BEGUN)
        whole.sendall(b"POST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx")
        # All are held by the process, which takes connections in order.
        master = int(get(kept, "/master"))
        os.kill(master, signal.SIGTERM)
        quick.sendall(b" x\r\n\r\n")
        until(lambda: refuses(port), "the process to begin its end")
        # Where this process stood still for two seconds, that is closed already.
        with suppress(ConnectionError):
            kept.sock.sendall(BEGUN)
            assert kept.sock.recv(65_536) == b""
        assert quick.recv(65_536).endswith(b"/begun")
        assert [silent.recv(65_536), slow.recv(65_536)] == [b"", b""]
        # Whose head is there is heard to the end.
        whole.sendall(b"y")
        assert whole.recv(65_536).endswith(b"/whole")
        until(lambda: not living.alive(master), "the server to end")


def refuses(port: int) -> bool:
    """Nobody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionError:
        return True
    return False


def test_a_worker_that_is_told_twice_that_it_stops_closes_its_listener_once() -> None:
    """The signal may come between gunicorn's look at `alive` and its call, and one more call follows the loop."""
    worker, listener = Worker.__new__(Worker), socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    worker.alive, worker._accepting, worker.sockets, worker.cfg = False, False, [listener], Config()
    for _ in range(2):
        worker.set_accept_enabled(False)
    assert (worker.sockets, listener.fileno()) == ([], -1)


def test_clients_that_go_on_connecting_hold_up_no_end() -> None:
    worker, taken, listener = Worker.__new__(Worker), list[int](), socket.create_server(("127.0.0.1", 0))
    worker.alive, worker._accepting, worker.sockets, worker.cfg = False, False, [listener], Config()

    def flood(_: socket.socket) -> bool:
        assert len(taken) < 100_000, "it takes whoever comes, without an end"
        taken.append(1)
        return True

    worker._take = flood  # type: ignore[method-assign, assignment]
    worker.set_accept_enabled(False)
    assert (worker.sockets, listener.fileno(), len(taken)) == ([], -1, worker.cfg.backlog)


@contextmanager
def stopped(process: int) -> Iterator[None]:
    """It stands still meanwhile."""
    living.stop(process)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


@pytest.mark.parametrize("start", [afresh])
def test_what_was_loaded_is_no_work_for_the_garbage_collector(port: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    until(lambda: answers(client), "gunicorn")
    assert int(get(client, "/frozen")) > 10_000
    client.close()


def test_who_is_gone_counts_no_more() -> None:
    shares = balance.Shares()
    shares.tell(1, 5)
    assert not shares.has_more(1, 5)
    shares.tell(2, 3)
    assert shares.has_more(1, 5)
    assert not shares.has_more(2, 3)
    # As if the second had said nothing for long.
    shares._cells[5] -= 2 * balance.SILENT_SECONDS
    assert not shares.has_more(1, 5)
