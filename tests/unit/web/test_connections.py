"""The server's connections with clients that do not play along: none of them holds a thread, the main loop, or another's place."""

from __future__ import annotations

import http.client
import random
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.workers import gthread

from pipeline_jobs.files.upload import PIECE_BYTES
from pipeline_jobs.web.server.accounts import MOST_AT_WORK, Latest
from pipeline_jobs.web.server.body_room import MOST_BYTES, MOST_OF_ONE
from pipeline_jobs.web.server.chunked_body import ChunkedBody
from pipeline_jobs.web.server.gunicorn_worker import AT_WORK_SECONDS, Worker
from tests import preloaded
from tests.cases import each
from tests.stack import free_port
from tests.waiting import until

#: More than the kernel buffers for a client that does not read.
LARGE = 64 * 2**20
#: How long a client waits that must not wait, in seconds; what holds it up in these tests lasts longer.
PATIENCE = 15
OTHER = "127.0.0.2"
#: In the server: requests for `/at-once` that are at work.
COUNT: list[int] = []
#: The same of those whose body has not come yet.
BODIES: list[int] = []
AT_WORK, TURN = threading.Lock(), threading.Event()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Gives back the path; a large answer for `/large`, the same as a file for `/file`; reads the body for `/uploads/body`,
    and gives it back for `/echo`."""
    path = environ["PATH_INFO"]
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
        file.truncate(LARGE)
        start_response("200 OK", [("Content-Length", str(LARGE))])
        return environ["wsgi.file_wrapper"](file)  # type: ignore[no-any-return]
    body = bytes(LARGE) if path == "/large" else path.encode()
    if path == "/at-once":
        with AT_WORK:
            COUNT.append(1)
        TURN.wait(0.2)
        with AT_WORK:
            body = b"%d " % len(COUNT)
            COUNT.pop()
    if path == "/long":
        TURN.wait(2 * AT_WORK_SECONDS)
    if path == "/uploads/body":
        BODIES.append(1)
        environ["wsgi.input"].read()
        BODIES.pop()
    if path == "/echo":
        body = environ["wsgi.input"].read()
    if path == "/bodies":
        body = b"%d" % len(BODIES)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def settings() -> dict[str, str]:
    """Of the server; a head may take as long as it likes."""
    return {"PIPELINE_REQUEST_SECONDS": "1000"}


@pytest.fixture
def threads() -> int:
    return 1


class Patient(Worker):
    """Waits for ever where gunicorn waits for a body that nobody read."""

    def init_process(self) -> None:
        gthread.DEFAULT_WORKER_DATA_TIMEOUT = 1000.0
        super().init_process()


@pytest.fixture
def server() -> str:
    return "Worker"


@pytest.fixture
def port(settings: dict[str, str], threads: int, server: str) -> Iterator[int]:
    """A server, up."""
    number = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{number}", "--threads", str(threads), "--keep-alive", "60",
        "--no-control-socket", "--worker-class", f"{__name__}.{server}", f"{__name__}:application",
    ]  # fmt: skip
    with preloaded.quiet(command, **settings) as process:
        try:
            until(lambda: answered(number, "127.0.0.9"), "gunicorn")
            yield number
        finally:
            process.kill()


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0))


def answered(port: int, source: str = "127.0.0.1", path: str = "/up") -> bool:
    """Another client is served."""
    return got(port, source, path) == path.encode()


def got(port: int, source: str, path: str) -> bytes:
    """The answer to another client; empty: none came in time."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=(source, 0))
    try:
        client.request("GET", path)
        return client.getresponse().read()
    except OSError:
        return b""
    finally:
        client.close()


def ends_with(connection: socket.socket, path: bytes) -> bool:
    """The answer, which may come in pieces, gives this path back."""
    data = b""
    while not data.endswith(b"\r\n\r\n" + path):
        if not (piece := connection.recv(65_536)):
            return False
        data += piece
    return True


def number_in(connection: socket.socket) -> bytes:
    """The body of the next answer, which is a number and a space."""
    data = b""
    while not data.endswith(b" "):
        data += connection.recv(65_536)
    return data.rpartition(b"\r\n")[2]


def status(connection: socket.socket) -> bytes:
    """Of the next answer, or `b""` at the connection's end."""
    try:
        return connection.recv(65_536)[9:12]
    except ConnectionResetError:
        return b""


def test_a_head_that_does_not_end_holds_no_thread(port: int) -> None:
    with connect(port) as first, connect(port) as second:
        first.sendall(b"GET /fi")
        second.sendall(b"GET /second HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert answered(port)
        first.sendall(b"rst HTTP/1.1\r\nHost: x\r\n\r\n")
        second.sendall(b"1\r\n\r\n")
        assert ends_with(first, b"/first")
        assert ends_with(second, b"/second")


def test_nor_does_one_of_a_kept_connection_or_behind_another_request(port: int) -> None:
    with connect(port) as kept, connect(port) as behind:
        kept.sendall(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ends_with(kept, b"/first")
        kept.sendall(b"GET /sec")
        behind.sendall(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /sec")
        assert ends_with(behind, b"/first")
        assert answered(port)
        for connection in (kept, behind):
            connection.sendall(b"ond HTTP/1.1\r\nHost: x\r\n\r\n")
            assert ends_with(connection, b"/second")


ECHO = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
#: What comes before a body of ten bytes, of which the first ones may be there; what its client is told meanwhile.
BEFORE_BODY = {
    "alone": (ECHO + b"Content-Length: 10\r\n\r\n", b""),
    "begun": (ECHO + b"content-length:10 \r\n\r\n012", b""),
    "behind an empty line": (b"\r\n" + ECHO + b"Content-Length: 10\r\n\r\n", b""),
    "behind another request": (b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" + ECHO + b"Content-Length: 10\r\n\r\n0", b"/first"),
    "to be asked for": (ECHO + b"Expect: 100-Continue\r\nContent-Length: 10\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "to be asked for behind another request": (
        b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" + ECHO + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        b"/firstHTTP/1.1 100 Continue\r\n\r\n",
    ),
    "not to be asked for in HTTP/1.0": (
        b"POST /echo HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", b""
    ),
}  # fmt: skip


def until_ends(connection: socket.socket, ending: bytes) -> bytes:
    """What comes up to that, which may be in pieces."""
    data = b""
    while not data.endswith(ending):
        piece = connection.recv(65_536)
        assert piece, data
        data += piece
    return data


def test_a_small_body_that_does_not_end_holds_no_thread(port: int) -> None:
    senders = {name: connect(port) for name in BEFORE_BODY}
    for name, (begun, told) in BEFORE_BODY.items():
        senders[name].sendall(begun)
        until_ends(senders[name], told)
    assert answered(port)
    for name, (begun, _) in BEFORE_BODY.items():
        rest = b"0123456789"[len(begun.rpartition(b"\r\n\r\n")[2]) :]
        for byte in rest:
            senders[name].sendall(bytes([byte]))
        # What is behind it belongs to the next request.
        senders[name].sendall(b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = until_ends(senders[name], b"0123456789" if "1.0" in name else b"/second")
        assert answer.count(b"0123456789") == 1, name
        assert b"100 Continue" not in answer, name
        senders[name].close()


CHUNKED = ECHO + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = b"3\r\n012\r\n7;a=b\r\n3456789\r\n0\r\n%s\r\n"


def test_nor_does_one_that_comes_in_chunks(port: int) -> None:
    codings = (b"chunked", b"gzip, chunked", b"identity\r\nTransfer-Encoding: Chunked")
    bodies = [(coding, WHOLE % trailer) for coding in codings for trailer in (b"", b"X-Sum: 1\r\n")]
    senders = [(coding, body, cut, connect(port)) for coding, body in bodies for cut in range(0, len(body), 7)]
    for coding, body, cut, sender in senders:
        sender.sendall(ECHO + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + body[:cut])
    assert answered(port, OTHER)
    for coding, body, cut, sender in senders:
        for byte in body[cut:]:
            sender.sendall(bytes([byte]))
        sender.sendall(b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        # Behind a coding that it does not undo, gunicorn closes the connection.
        assert b"0123456789" in until_ends(sender, b"0123456789" if b"gzip" in coding else b"/second")
        sender.close()


#: Chunks that are none, or too many, or more than may be gathered; none of them ends.
WRONG_CHUNKS = {
    b"400": (b"x\r\n", b"-1\r\n", b"\r\n", b"5\n01234", b"5\r\n{}\r\n0\r\n\r\n", b"1" * 300, b"0\r\n" + b"X: 1\r\n" * 1000),
    b"413": (b"200000\r\n", b"FFFFFFFF\r\n", b"10\r\n0123456789abcdef\r\n" * 5000, (b"8000\r\n" + bytes(0x8000) + b"\r\n") * 40),
}


def test_chunks_that_are_none_or_too_many_are_refused_without_a_wait(port: int) -> None:
    for expected, all_of in WRONG_CHUNKS.items():
        for begun in all_of:
            with connect(port) as alone, connect(port) as behind:
                behind.sendall(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
                assert ends_with(behind, b"/first")
                for sender in (alone, behind):
                    sender.sendall(CHUNKED + begun)
                    assert status(sender) == expected, begun[:50]
    # Nor do they wait for room, where others of the same address have all that it may have.
    with ExitStack() as stack:
        for sender in [stack.enter_context(connect(port, OTHER)) for _ in range(MOST_OF_ONE >> 20)]:
            sender.sendall(CHUNKED + b"1\r\n")
        assert answered(port)
        for expected, all_of in WRONG_CHUNKS.items():
            last = stack.enter_context(connect(port, OTHER))
            last.sendall(CHUNKED + all_of[0])
            assert status(last) == expected


@pytest.mark.parametrize("server", ["Patient"])
def test_nobody_waits_for_the_rest_of_a_body_that_was_not_read(port: int) -> None:
    """Of one that is too long, or of an upload that is refused."""
    for line in (b"Content-Length: 5000000", b"Transfer-Encoding: chunked"):
        with connect(port) as sender:
            sender.sendall(b"POST /uploads/none HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n1\r\n0\r\n")
            assert ends_with(sender, b"/uploads/none")
            assert answered(port)
            assert status(sender) == b""


@each("seed", range(10))
def test_a_chunked_body_that_is_complete_is_read_without_a_wait(seed: int) -> None:
    """By gunicorn, whatever it is: all of it is there, or what there is is wrong. And what gunicorn reads is complete to the byte."""
    draw = random.Random(seed)
    pieces = (
        b"0",
        b"1",
        b"a",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b";",
        b" ",
        b"x",
        b"0\r\n\r\n",
        b"1\r\nx\r\n",
        b"2;a=b\r\n\r\n\r\n",
        b"X: 1\r\n",
    )
    config = Config()
    for _ in range(200):
        body = b"".join(draw.choices(pieces, k=draw.randrange(1, 12)))
        if draw.random() < 0.5:
            body = b"".join(b"%x\r\n%s\r\n" % (len(data), data) for data in draw.choices(pieces, k=3)) + b"0\r\n\r\n" + body
        ends = next((at for at in range(len(body) + 1) if not _gathered(body[:at]).lacks(memoryview(body[:at]))), None)
        if ends is None or _gathered(body).fault:
            assert _read(config, body) is not True, body
        else:
            assert _read(config, body[:ends]) is not None, body
            assert ends == 0 or _read(config, body[: ends - 1]) is not True, body


def _gathered(body: bytes) -> ChunkedBody:
    found = ChunkedBody(0, 10_000)
    found.lacks(memoryview(body))
    return found


class _Waits(Exception):
    """gunicorn asks for more than there is."""


def _read(config: Config, body: bytes) -> bool | None:
    """None: gunicorn waits for more of it. True: it reads all of it. False: it is wrong."""

    def source() -> Iterator[bytes]:
        yield CHUNKED + body
        raise _Waits

    try:
        next(RequestParser(config, source(), ("127.0.0.1", 1))).body.read()
    except _Waits:
        return None
    except Exception:
        return False
    return True


def test_a_small_body_whose_client_closes_its_end_is_the_applications(port: int) -> None:
    with connect(port) as sender:
        sender.sendall(ECHO + b"Content-Length: 10\r\n\r\n01")
        assert answered(port)
        sender.shutdown(socket.SHUT_WR)
        until_ends(sender, b"\r\n\r\n01")


def with_length(body: bytes, draw: random.Random) -> bytes:
    return ECHO + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def in_chunks(body: bytes, draw: random.Random) -> bytes:
    sent, at = CHUNKED, 0
    while at < len(body):
        piece = body[at : at + draw.choice((1, 30, 20_000, 20_000))]
        sent += b"%x%s\r\n%s\r\n" % (len(piece), draw.choice((b"", b" ;a", b";a=b")), piece)
        at += len(piece)
    return sent + b"0\r\n" + draw.choice((b"", b"X-Sum: 1\r\n")) + b"\r\n"


@pytest.mark.parametrize("seed", range(5))
def test_bodies_in_any_pieces_and_behind_each_other_are_read_as_they_were_sent(port: int, seed: int) -> None:
    draw = random.Random(seed)
    bodies = [bytes(draw.choices(b"\r\n ab:", k=draw.choice((0, 1, 10, 40_000)))) + b"%d." % number for number in range(12)]
    sent = b"".join(draw.choice((with_length, in_chunks))(body, draw) for body in bodies)
    with connect(port) as sender:

        def send() -> None:
            at = 0
            while at < len(sent):
                size = draw.choice((1, 3, 50, 5_000, 30_000))
                sender.sendall(sent[at : at + size])
                at += size

        sends = threading.Thread(target=send)
        sends.start()
        came = until_ends(sender, b"11.")
        sends.join()
    for body in bodies:
        head, _, came = came.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert came.startswith(body)
        came = came[len(body) :]
    assert came == b""


@pytest.mark.parametrize("settings", [{"PIPELINE_REQUEST_SECONDS": "0.5"}])
@pytest.mark.parametrize("begun", [ECHO + b"Content-Length: 10\r\n\r\n01", CHUNKED + b"a\r\n01"])
def test_a_small_body_that_does_not_end_in_time_is_answered_408(port: int, begun: bytes) -> None:
    with connect(port) as sender:
        sender.sendall(begun)
        assert status(sender) == b"408"


def test_a_length_that_is_none_is_refused_without_a_wait(port: int) -> None:
    for lines in (b"Content-Length: 2x", b"Content-Length: -1", b"Content-Length: 2\r\nContent-Length: 3", b"Content-Length: 2, 3"):
        with connect(port) as sender:
            sender.sendall(ECHO + lines + b"\r\n\r\n")
            assert status(sender) == b"400", lines


@pytest.mark.parametrize("settings", [{"PIPELINE_REQUEST_SECONDS": "1000", "PIPELINE_MAX_BODY_BYTES": str(MOST_OF_ONE)}])
def test_small_bodies_are_held_in_bounded_memory_and_whoever_has_most_makes_room(port: int) -> None:
    large, small = ECHO + b"Content-Length: %d\r\n\r\n" % MOST_OF_ONE, ECHO + b"Content-Length: 2\r\n\r\n0"
    greedy = [connect(port, f"127.0.0.{number}") for number in range(11, 11 + MOST_BYTES // MOST_OF_ONE)]
    for sender in greedy:
        # The first one takes a little less than the others.
        sender.sendall(large if sender is not greedy[0] else ECHO + b"Content-Length: %d\r\n\r\n" % (MOST_OF_ONE - 1))
        # It has been read before the next one.
        assert answered(port)
    with connect(port, "127.0.0.12") as own:
        own.sendall(small)
        assert answered(port)
        own.sendall(b"1")
        # It waits behind its own large one. Nobody else does.
        own.setblocking(False)
        assert answered(port)
        with pytest.raises(BlockingIOError):
            own.recv(1)
        own.settimeout(PATIENCE)
        with connect(port, OTHER) as other:
            other.sendall(small)
            # The first of those that have most.
            assert status(greedy[1]) == b"429"
            other.sendall(b"1")
            until_ends(other, b"\r\n\r\n01")
        until_ends(own, b"\r\n\r\n01")
    for sender in greedy:
        sender.close()


@pytest.mark.parametrize("settings", [{"PIPELINE_REQUEST_SECONDS": "0.5"}])
def test_a_head_that_does_not_end_in_time_is_answered_408(port: int) -> None:
    with connect(port) as sender, connect(port) as silent:
        sender.sendall(b"GET / HTTP/1.1\r\n")
        assert status(sender) == b"408"
        assert status(silent) == b""


def test_heads_are_bounded_as_a_whole(port: int) -> None:
    many = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in range(20))
    for head, expected in ((b"GET / HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n", b"431"), (b"GET /" + b"x" * 100_000, b"414")):
        with connect(port) as sender:
            sender.sendall(head)
            assert status(sender) == expected
    assert answered(port)


@pytest.mark.parametrize("settings", [{"PIPELINE_SEND_SECONDS": "0.5"}])
@pytest.mark.parametrize("path", [b"/large", b"/file"])
def test_who_does_not_read_its_answer_loses_it_and_its_thread(port: int, path: bytes) -> None:
    with connect(port) as reader:
        reader.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reader.recv(10)
        assert answered(port)
        got = 10
        try:
            while data := reader.recv(2**20):
                got += len(data)
        except ConnectionResetError:
            pass
        assert got < LARGE


def test_who_reads_gets_all_of_it(port: int) -> None:
    for path in ("/large", "/file"):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        client.request("GET", path)
        assert len(client.getresponse().read()) == LARGE
        client.close()


def test_who_never_closes_its_end_holds_up_nobody(port: int) -> None:
    """gunicorn's main thread waits two seconds for each of them."""
    left = [connect(port) for _ in range(40)]
    for connection in left:
        connection.sendall(b"GET /once HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    # Backwards: the last one's answer would come after all those seconds, each one's after two of the one before.
    for connection in reversed(left):
        assert status(connection) == b"200"
    assert answered(port)
    for connection in left:
        connection.close()


def test_who_still_sends_when_it_is_refused_reads_its_answer_to_the_end(port: int) -> None:
    """A socket that is closed at once answers what still comes with a reset."""
    with connect(port) as sender:
        sender.sendall(b"GET /" + b"x" * 40_000)
        assert status(sender) == b"414"
        for _ in range(3):
            sender.sendall(b"x" * 1000)
        while sender.recv(65_536):
            pass


@pytest.mark.parametrize("threads", [8])
def test_an_address_never_holds_all_threads(port: int) -> None:
    senders = [connect(port) for _ in range(20)]
    for sender in senders:
        sender.sendall(b"POST /uploads/body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\na\r\n1")
    until(lambda: got(port, OTHER, "/bodies") == b"7", "as many threads as an address may hold")
    # Longer than the next one of the senders would need to take the thread of this one, were it let.
    for _ in range(3):
        assert answered(port, OTHER, "/long")
    assert got(port, OTHER, "/bodies") == b"7"
    # Those that waited for a thread get one as others end.
    for sender in senders:
        sender.sendall(b"234567890\r\n0\r\n\r\n")
    for sender in senders:
        assert status(sender) == b"200"
        sender.close()
    assert answered(port)


def test_who_waits_for_the_thread_of_a_long_request_gets_it(port: int) -> None:
    """It counted as at work no more when it ended."""
    with connect(port) as first, connect(port) as second:
        first.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        second.sendall(b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ends_with(second, b"/second")
        assert ends_with(first, b"/long")


@pytest.mark.parametrize("threads", [8])
def test_requests_at_work_take_turns_by_address(port: int) -> None:
    """Once there is another address."""
    assert answered(port, OTHER)
    senders = [connect(port) for _ in range(2 * MOST_AT_WORK)]
    for sender in senders:
        sender.sendall(b"GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n")
    counts = {int(number_in(sender)) for sender in senders}
    assert max(counts) <= MOST_AT_WORK
    for sender in senders:
        sender.close()


def test_the_only_address_need_not() -> None:
    latest = Latest()
    latest.note("a", 0.0)
    assert not latest.has_others("a", 1.0)
    assert latest.has_others("b", 1.0)
    latest.note("b", 2.0)
    assert latest.has_others("a", 3.0)
    assert latest.has_others("b", 3.0)
    latest.note("b", 50.0)
    assert not latest.has_others("b", 50.0)
    assert latest.has_others("a", 50.0)


@pytest.mark.parametrize(("threads", "settings"), [(8, {"PIPELINE_TRUSTED_PROXIES": "1"})])
def test_behind_a_trusted_proxy_they_take_turns_by_the_clients_address(port: int) -> None:
    assert answered(port)
    senders = [connect(port, source) for source in ("127.0.0.1", OTHER) for _ in range(MOST_AT_WORK)]
    for number, sender in enumerate(senders):
        # What stands before the proxy's own word is the client's invention.
        head = b"GET /at-once HTTP/1.1\r\nHost: x\r\nContent-Length: 29\r\nX-Forwarded-For: 10.9.9.%d, 10.0.0.1\r\n\r\n" % number
        # Nor does its body say anything.
        sender.sendall(head + b"\r\nX-Forwarded-For: 10.0.1.%d\r\n" % number)
    assert max(int(number_in(sender)) for sender in senders) <= MOST_AT_WORK
    for sender in senders:
        sender.close()


@pytest.mark.parametrize("settings", [{"PIPELINE_HTTP_CONNECTIONS_PER_ADDRESS": "3"}])
def test_an_address_has_so_many_connections_and_others_theirs(port: int) -> None:
    held = [connect(port) for _ in range(3)]
    for connection in held:
        connection.sendall(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status(connection) == b"200"
    with connect(port) as fourth:
        assert status(fourth) == b"429"
    assert answered(port, OTHER)
    held.pop().close()
    until(lambda: answered(port), "a place")
    for connection in held:
        connection.close()


def test_a_body_is_read_no_further_ahead_than_a_piece_that_is_taken() -> None:
    """Of what is read ahead, all is copied for each piece, while no other thread of the process runs."""
    client, server = socket.socketpair()
    with client, server:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.sendall(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(150_000))
        request = next(RequestParser(Config(), server, ("127.0.0.1", 1)))
        assert len(request.body.read(PIECE_BYTES)) == PIECE_BYTES
        assert request.unreader.buf.tell() < PIECE_BYTES
