"""Requests and answers are those of gunicorn, byte for byte, though less is done for each (`web/server/exchange.py`)."""

from __future__ import annotations

import random
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import IterUnreader
from gunicorn.http.wsgi import FileWrapper
from gunicorn.workers.gthread import ThreadWorker
from structlog.contextvars import get_contextvars

from pipeline_jobs.logs import bind_request_id
from pipeline_jobs.web.server import exchange
from pipeline_jobs.web.server.accounts import Owners
from pipeline_jobs.web.server.client_connection import MAX_HEAD, Connection, Head
from pipeline_jobs.web.server.exchange import MOST_JOINED, MOST_NAMES, MOST_REMEMBERED, Answer, Parser, settle
from pipeline_jobs.web.server.paced_socket import PacedSocket

#: gunicorn's own.
STOCK: type[wsgi.Response] = Answer.__mro__[1]
LOCAL, CONFIG = ("127.0.0.1", 4444), Config()
Start = Callable[..., Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]


class Sends(PacedSocket):
    """Notes what is sent at once."""

    sent: list[bytes]

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self.sent.append(bytes(data))
        super().sendall(data, flags)


class Exchange:
    """A request and its answer, by gunicorn's worker. `came` is what the client read."""

    def __init__(self, app: App, request: bytes, parser: type[RequestParser]) -> None:
        ours, client = socket.socketpair()
        self.sock = Sends(ours.family, ours.type, ours.proto, ours.detach())
        self.sock.sent, self.sock.is_invited, self.sock.waits = [], False, False
        self.sock.begin()
        self.came, self.said = b"", list[Any]()
        self.kept: Any = None
        client.sendall(request)
        reader = threading.Thread(target=self._read, args=(client,))
        reader.start()
        try:
            self._answer(app, parser)
        finally:
            self.sock.close()
            reader.join()

    def _read(self, client: socket.socket) -> None:
        with client:
            while data := client.recv(65_536):
                self.came += data

    def _answer(self, app: App, parser: type[RequestParser]) -> None:
        log = SimpleNamespace(debug=lambda *_: None, exception=lambda *_: None, access=self._access)
        worker: Any = SimpleNamespace(cfg=CONFIG, log=log, nr=0, max_requests=99, alive=True, keepalived_conns=deque(), max_keepalived=9)
        worker.wsgi = app
        read = parser(CONFIG, self.sock, LOCAL)
        conn: Any = SimpleNamespace(sock=self.sock, client=LOCAL, server=("127.0.0.1", 80), parser=read)
        try:
            kept = ThreadWorker.handle_request(worker, next(read), conn)
            self.kept = ThreadWorker._keepalive_after(worker, conn, kept)
        except Exception as error:
            self.kept = type(error).__name__, str(error)

    def _access(self, answer: Any, _request: Any, _environ: Any, _took: timedelta) -> None:
        self.said.append((answer.status, answer.sent))

    @property
    def seen(self) -> tuple[Any, ...]:
        return self.came, self.said, self.kept


def plain(*pieces: bytes, status: str = "200 OK", headers: Iterable[tuple[Any, Any]] = ()) -> App:
    def app(_environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start(status, [("Content-Type", "text/plain"), *headers])
        return list(pieces)

    return app


def sized(*pieces: bytes, length: int | None = None, status: str = "200 OK") -> App:
    size = sum(map(len, pieces)) if length is None else length
    return plain(*pieces, status=status, headers=[("Content-Length", str(size)), ("X-A", " padded\t")])


def a_file(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", str(Path(__file__).stat().st_size))])
    file: Iterable[bytes] = FileWrapper(Path(__file__).open("rb"))  # noqa: SIM115 - the server closes it
    return file


def fails_later(_environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "8")])
    yield b"half"
    raise LookupError("no more")


def writes(_environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """By the function that `start_response` gives."""
    write = start("200 OK", [("Content-Length", "6")])
    write(b"abc")
    return [b"def"]


APPS: dict[str, App] = {
    "whole": sized(b"hello"),
    "in pieces": sized(b"hel", b"lo"),
    "nothing first": sized(b"", b"hello"),
    "as long as it is joined": sized(b"x" * MOST_JOINED),
    "longer than it is joined": sized(b"x" * (MOST_JOINED + 1)),
    "over the buffer of the socket": sized(b"x" * (8 << 20)),
    "empty": sized(b""),
    "no piece": sized(),
    "longer than it says": sized(b"hello", length=3),
    "shorter than it says": sized(b"hello", length=9),
    "of no said length": plain(b"hello", b"", b"you"),
    "no content": plain(status="204 No Content"),
    "no content with some": sized(b"hello", status="204 No Content"),
    "not modified": sized(length=5, status="304 Not Modified"),
    "not modified with some": sized(b"hello", status="304 Not Modified"),
    "a file": a_file,
    "by write": writes,
    "fails on its way": fails_later,
    "upgrade": plain(status="101 Switching Protocols", headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")]),
    "of hops": plain(b"x", headers=[("Connection", "close"), ("Server", "x"), ("Date", "x"), ("TE", "x"), ("Content-Length", "1")]),
    "no name": plain(b"x", headers=[("A b", "x")]),
    "no value": plain(b"x", headers=[("A", "x\r\nSet-Cookie: y")]),
    "no text": plain(b"x", headers=[("A", 1)]),
    "no length": plain(b"x", headers=[("Content-Length", "x")]),
    "no bytes": plain("text", headers=[("Content-Length", "4")]),  # type: ignore[arg-type]
    "no latin": plain(b"x", headers=[("Content-Length", "1"), ("A", "\u20ac")]),
}
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
]


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
def test_an_answer_is_gunicorns_to_the_byte(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "http_date", lambda: "now")
    for request in REQUESTS:
        # The second time with what was remembered of the first.
        ours = [Exchange(app, request, Parser).seen for _ in range(2)]
        with monkeypatch.context() as stock:
            stock.setattr(wsgi, "Response", STOCK)
            assert ours == [Exchange(app, request, RequestParser).seen] * 2, request


def test_a_small_answer_is_sent_in_one_piece() -> None:
    assert len(Exchange(APPS["whole"], REQUESTS[0], Parser).sock.sent) == 1
    # The first piece of a stream waits for no other, nor for the end.
    assert len(Exchange(APPS["in pieces"], REQUESTS[0], Parser).sock.sent) == 3


def test_what_is_logged_of_no_request_has_nothing_of_the_one_before_in_its_thread() -> None:
    for head in (b"GET /\xff HTTP/1.1", b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1", b"GET / HTTP/1.1\r\nA"):
        bind_request_id("of-another-tenant")
        with pytest.raises(ParseException):
            next(Parser(CONFIG, iter([head + b"\r\n\r\n"]), LOCAL))
        assert get_contextvars() == {}


def test_bytes_count_as_gunicorn_counts_them_when_the_client_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaves(*_: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as gone:
        gone.setattr(Sends, "sendall", leaves)
        ours = Exchange(APPS["whole"], REQUESTS[0], Parser).said
    assert ours == [("200 OK", 5)]


def test_gunicorn_takes_what_is_ours() -> None:
    assert (wsgi.Response, wsgi.create, util.http_date) == (Answer, exchange._created, exchange._date)


def test_values_are_good_together_if_each_is() -> None:
    some: list[Any] = ["", "a", " a\t", "a b", "\xe4", "a\nb", "\n", "a\r", "\x00", "\x7f", "\u20ac", 1, None, b"a"]
    for values in ([one, other] for one in some for other in some):
        each = [isinstance(value, str) and wsgi.HEADER_VALUE_RE.fullmatch(value) is not None for value in values]
        assert exchange._are_values(values) == all(each), values


def test_names_of_fields_are_remembered_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_PLAIN", set[str]())
    for number in range(2 * MOST_NAMES):
        exchange._learn([(f"X-{number}", "x")])
    assert len(exchange._PLAIN) == MOST_NAMES


FIELDS = [
    b"Host: a", b"Host: b", b"host: a", b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: http", b"X-Forwarded-Ssl: on", b"A: b", b"A:  c ",
    b"Expect: 100-continue", b"Expect: x", b"Connection: close", b"Connection: keep-alive", b"Content-Length: 0", b"Content-Length: 1",
    b"Content-Length: +1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: x", b"A_B: c",
    b"SCRIPT_NAME: /x",
    b"no colon", b" folded", b"A : b", b"A: \x00", b"A: \xe4", b"X: " + MOST_REMEMBERED * b"x", b"X: " + 9000 * b"x",
]  # fmt: skip
LINES = [*3 * [b"GET / HTTP/1.1", b"GET / HTTP/1.0"], b"POST /x?y=z HTTP/1.1", b"GET / HTTP/2.0", b"get / HTTP/1.1", b"GET /\xff HTTP/1.1"]


def parsed(parser: type[RequestParser], heads: list[bytes], peer: Any) -> list[Any]:
    """What is made of each on one connection; then of what follows the last one, and its trailers."""
    read, found = parser(CONFIG, iter([]), peer), list[Any]()
    for head in heads:
        read.mesg, read.unreader = None, IterUnreader([head + b"\r\n\r\n0\r\nA: b\r\n\r\nrest"])
        try:
            one = next(read)
            said = one.method, one.uri, one.version, one.headers, one.scheme, one._expected_100_continue, one.should_close()
            found.append((said, type(one.body.reader), one.body.read(), one.trailers, read.finish_body(), read.unreader.read()))
        except Exception as error:
            found.append((type(error), str(error)))
    return found


@pytest.mark.parametrize("peer", [LOCAL, ("10.0.0.1", 4444), ("::1", 1, 0, 0), ""])
def test_a_request_is_read_as_gunicorn_reads_it_whatever_came_before_on_its_connection(peer: Any) -> None:
    """What was remembered of one head says nothing of another, and what was refused is refused again."""
    rng = random.Random(7)
    for _ in range(300):
        few = [b"\r\n".join([rng.choice(LINES), *rng.sample(FIELDS, rng.randrange(4))]) for _ in range(3)]
        heads = [rng.choice(few) for _ in range(8)]
        # The same fields behind another line, too.
        heads += [rng.choice(LINES) + b"\r\n" + head.partition(b"\r\n")[2] for head in few]
        assert parsed(Parser, heads, peer) == parsed(RequestParser, heads, peer), heads


BODIES = [
    b"",
    b"Content-Length: 3",
    b"Content-Length: 3\r\nX: y",
    b"Transfer-Encoding: chunked",
    b"Expect: 100-continue\r\nContent-Length: 3",
]


def served(parser: type[RequestParser], pieces: list[bytes], peer: Any, rng: random.Random) -> list[dict[str, Any]]:
    """What the app is given of each request on one connection, whose pieces come one after another. Some bodies are not read."""
    read, found = parser(CONFIG, iter(pieces), peer), list[dict[str, Any]]()
    sock: Any = SimpleNamespace(send=lambda _: None, sendall=lambda _: None)
    try:
        for request in read:
            answer, environ = wsgi.create(request, sock, peer, ("127.0.0.1", 80), CONFIG)
            answer.start_response("204 No Content", [])
            body = environ.pop("wsgi.input")
            asked = {name: value for name, value in environ.items() if type(value) in (str, bool, tuple)}
            asked["gunicorn.socket"], asked["hints"] = environ["gunicorn.socket"] is sock, callable(environ["wsgi.early_hints"])
            # What an app does to its environment is of this request alone.
            environ.clear()
            said = request.method, request.uri, request.path, request.query, request.version, request.headers, request.trailers
            ends = answer.should_close(), body.read() if rng.random() < 0.7 else b""
            found.append({"environ": asked, "said": said, "ends": ends, "is_again": getattr(request, "is_again", False)})
    except Exception as error:
        found.append({"error": (type(error), str(error)), "is_again": False})
    return found


def _connection(rng: random.Random) -> list[bytes]:
    """Requests of a few heads again and again, each with a body of its own, in pieces."""
    heads = [rng.choice([*LINES[:7], LINES[0], LINES[6]]) + b"\r\nHost: a\r\nA: " + bytes([rng.choice(b"bc")]) for _ in range(2)]
    whole, same = b"", (heads[0], b"")
    for _ in range(8):
        head, fields = same = same if rng.random() < 0.6 else (rng.choice(heads), rng.choice(BODIES))
        body = bytes(rng.choices(b"abc\r\n", k=3)) if b"Length" in fields else b"1\r\nx\r\n0\r\n\r\n" if fields.startswith(b"T") else b""
        whole += head + (b"\r\n" + fields if fields else b"") + b"\r\n\r\n" + body
    cuts = sorted(rng.sample(range(1, len(whole)), rng.randrange(6)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@pytest.mark.parametrize("peer", [LOCAL, ("10.0.0.1", 4444)])
def test_a_head_that_comes_again_is_the_same_request_with_another_body(peer: Any) -> None:
    rng, stock, again = random.Random(11), pytest.MonkeyPatch(), 0
    for number in range(1500):
        pieces = _connection(rng)
        found = served(Parser, pieces, peer, random.Random(number))
        again += sum(one.pop("is_again") for one in found)
        with stock.context() as patch:
            patch.setattr(wsgi, "create", exchange._create)
            theirs = served(RequestParser, pieces, peer, random.Random(number))
        assert [{**one, "is_again": None} for one in theirs] == [{**one, "is_again": None} for one in found], pieces
    assert again > 500


def test_a_request_comes_again_as_soon_as_all_of_it_is_there() -> None:
    """Whoever is told so lets a thread read it: that must not wait for its client."""
    head = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"
    read = Parser(CONFIG, iter([b"GET / HTTP/1.1\r\n\r\n" + head + b"abc"]), LOCAL)
    assert not read.repeats(b"")
    next(read)
    next(read)
    assert [read.repeats(head + body) for body in (b"", b"de", b"def", b"defGET")] == [False, False, True, True]
    assert not read.repeats(head.replace(b"3", b"2") + b"def")


def test_a_body_that_is_here_is_taken_at_once_and_no_other() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"
    for _ in range(2):
        read = Parser(CONFIG, iter([head + b"abc" + head + b"de", b"f" + head + b"ghi"]), LOCAL)
        assert next(read).body.arrived(3) == b"abc"
        second = next(read)
        assert second.body.arrived(3) is None
        assert second.body.read(1) == b"d"
        assert second.body.arrived(2) is None
        assert second.body.read() == b"ef"
        third = next(read)
        assert third.body.arrived(4) is None
        assert (third.body.arrived(3), third.body.read(), read.finish_body()) == (b"ghi", b"", True)


def test_a_body_that_nobody_read_is_not_taken_for_the_next_request() -> None:
    read = Parser(CONFIG, iter([b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", b"cGET /next HTTP/1.1\r\n\r\n"]), LOCAL)
    assert [next(read).uri, next(read).uri] == ["/", "/next"]


@pytest.mark.parametrize("at", [0.0, 1.0, 999_999_999.999, 1_700_000_000.5])
def test_the_date_is_that_of_the_second(at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [at]
    monkeypatch.setattr("pipeline_jobs.web.server.exchange.time.time", lambda: now[0])
    assert util.http_date() == formatdate(int(at), usegmt=True)
    now[0] += 1
    assert util.http_date() == formatdate(int(at) + 1, usegmt=True) != formatdate(int(at), usegmt=True)
    assert util.http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_settings_that_are_settled_are_the_same() -> None:
    config, before = Config(), Config()
    for one in (config, before):
        one.set("keepalive", 77)
    settle(config)
    assert vars(config).keys() > {"keepalive", "limit_request_line", "proxy_protocol"}
    for name in before.settings:
        value, was = getattr(config, name), getattr(before, name)
        assert value == was or callable(value), name
    assert config.is_ssl == before.is_ssl


def test_errors_of_the_app_go_where_they_went(capsys: pytest.CaptureFixture[str]) -> None:
    config = Config()
    first, second = wsgi.base_environ(config), wsgi.base_environ(config)
    assert first.keys() == second.keys()
    first["own"] = 1
    assert "own" not in second
    second["wsgi.errors"].write("broken\n")
    assert capsys.readouterr().err == "broken\n"


@pytest.fixture
def conn() -> Iterable[tuple[Connection, socket.socket]]:
    ours, client = socket.socketpair()
    made = Connection(Config(), ours, LOCAL, LOCAL, lambda *_: False, lambda *_: None)
    made.init()
    with client:
        yield made, client
    made.sock.close()


def test_whose_a_request_is_its_own_head_says(conn: tuple[Connection, socket.socket]) -> None:
    """Not that of the request before, even if it is nearly the same."""
    made, client = conn
    owners, seen = Owners(), []
    heads = [
        b"Authorization: Bearer a", b"Authorization: Bearer a", b"Authorization: Bearer b", b"", b"X-Forwarded-For: 192.0.2.1",
        b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-For: 192.0.2.2", b"Authorization: Bearer a\r\nContent-Length: 99999", b"A: b",
        b"X-Forwarded-For: 192.0.2.3\r\nX: " + MOST_REMEMBERED * b"x", b"X-Forwarded-For: 192.0.2.4\r\nX: " + MOST_REMEMBERED * b"x",
    ]  # fmt: skip
    for head in heads:
        made.parser.unreader.take_buffered()
        client.sendall(b"GET / HTTP/1.1\r\n" + head + b"\r\n\r\n")
        made._gather(MAX_HEAD)
        seen.append((made.identify(1, owners), made.is_known, made.is_large))
        made.sock.owner = "t" + made._credentials.hex() if made._credentials else None
        made.note(0.0, owners)
    assert [made.identify(number, owners) for number in (0, 1)] == ["127.0.0.1", "192.0.2.4"]
    names = [name for name, _, _ in seen]
    assert names[0] == names[2] == names[3] == names[8] == "127.0.0.1"
    assert names[1] == names[7] != "127.0.0.1"
    assert [*names[4:7], *names[9:]] == [f"192.0.2.{number}" for number in (1, 1, 2, 3, 4)]
    assert [number for number, (_, is_known, _) in enumerate(seen) if is_known] == [1, 7]
    assert [number for number, (_, _, is_large) in enumerate(seen) if is_large] == [7]


def test_whose_a_request_is_can_be_asked_of_any_bytes(conn: tuple[Connection, socket.socket]) -> None:
    """The main thread asks: an error would be the end of the process, and of the connections of all."""
    made, client = conn
    rng = random.Random(11)
    names = [b"Cookie", b"Authorization", b"X-Forwarded-For", b"Content-Length", b"Transfer-Encoding", b"Expect", b"X"]
    pieces = [
        b"\xff",
        b"\xc3",
        b"\x00",
        b"Bearer ",
        b"pipeline_jobs=",
        b'"\\377"',
        b"\xb2",
        b"9" * 30,
        b"chunked",
        b"::1%x",
        b",",
        b";",
        b":",
        b" ",
    ]
    for _ in range(500):
        fields = [rng.choice(names) + b": " + b"".join(rng.choices(pieces, k=rng.randrange(5))) for _ in range(3)]
        made.parser.unreader.take_buffered()
        client.sendall(b"\r\n".join([rng.choice(LINES), *fields, b"", b""]))
        assert made.gather() is Head.COMPLETE
        assert made.oversized() is None
        assert isinstance(made.identify(rng.randrange(3), Owners()), str)
        assert made.body(1000) in (0, *range(1001)), fields
