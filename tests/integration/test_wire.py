"""The short way to the server: as sure as redis-py's own, on a connection of each thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.retry import Retry
from redis.sentinel import Sentinel

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.store import scripts
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.scripts import compose, compose_function
from pipeline_jobs.store.store import connect
from pipeline_jobs.store.wire import Stored, Wire, _reply, _send
from tests.cases import each
from tests.commands import commands, commands_of
from tests.integration.conftest import Cell
from tests.servers import Server
from tests.tls import Authority, TlsServer, tls_program

SHARED = """\
local FIXED = 5
local seen = {}
local SUM
local function note(text)
  seen[#seen + 1] = text
  SUM = (SUM or 0) + FIXED
  return #seen
end
"""
BODY = "note(ARGV[1])\nif ARGV[2] then note(ARGV[2]) end\nreturn {KEYS[1], ARGV[1], note('x'), SUM}"


def stored(client: redis.Redis) -> Stored:
    """A script with a state of its own in each call."""
    function = compose_function("test", "#!lua flags=allow-oom", [SHARED], BODY)
    return Stored(function, lambda: client.register_script(compose("#!lua", [SHARED], BODY)))


def test_a_function_runs_as_the_script_does_and_keeps_nothing_from_one_call_to_the_next(server: Server) -> None:
    with connect(server.url) as client:
        both, wire = stored(client), Wire(client)
        with commands(client) as given:
            for _ in range(3):
                assert wire.run(both, ["k"], ("a",)) == ["k", "a", 2, 10] == wire.script(both.script, ["k"], ("a",))
                assert wire.run(both, ["k"], ("a", "b")) == ["k", "a", 3, 15]
            assert given.so_far()["fcall"] >= 6


def test_a_function_that_the_server_has_forgotten_is_loaded_again(server: Server) -> None:
    with connect(server.url) as client:
        both, wire = stored(client), Wire(client)
        assert wire.run(both, ["k"], ("a",)) == ["k", "a", 2, 10]
        client.execute_command("FUNCTION", "FLUSH", "SYNC")
        # Two processes that load the same one at once: the second finds it there.
        assert wire._load(both.function)
        assert wire._load(both.function)
        client.execute_command("FUNCTION", "FLUSH", "SYNC")
        with commands(client) as given:
            assert wire.run(both, ["k"], ("b",)) == ["k", "b", 2, 10]
            assert given.so_far()["evalsha"] == 0


def test_a_full_server_takes_no_function_and_runs_the_script(tmp_path: Path) -> None:
    own = Server(tmp_path).start()
    try:
        with connect(own.url) as client:
            both, wire = stored(client), Wire(client)
            both = Stored(both.function, lambda: client.register_script(compose("#!lua flags=allow-oom", [SHARED], BODY)))
            for most, refused in (("1mb", True), ("0", False)):
                client.config_set("maxmemory", most)
                wire._refused_until = 0.0
                with commands(client) as given:
                    assert wire.run(both, ["k"], ("a",)) == ["k", "a", 2, 10]
                    assert bool(given.so_far()["evalsha"]) is refused
    finally:
        own.stop()


@pytest.mark.parametrize("forbidden", [("-fcall", "-function"), ("-fcall",), ("-function",)])
def test_who_may_not_use_functions_runs_the_script(server: Server, forbidden: tuple[str, ...]) -> None:
    with connect(server.url) as client:
        client.execute_command("FUNCTION", "FLUSH", "SYNC")
        client.execute_command("ACL", "SETUSER", "hosted", "reset", "on", ">secret", "~*", "&*", "+@all", *forbidden)
        try:
            with connect(server.url.replace("redis://", "redis://hosted:secret@")) as theirs:
                assert Wire(theirs).run(stored(theirs), ["k"], ("a",)) == ["k", "a", 2, 10]
        finally:
            client.execute_command("ACL", "DELUSER", "hosted")


def test_functions_of_other_versions_are_cleared_away_and_our_own_stay(jobs: Cell) -> None:
    jobs.submit(tenant_id="acme")
    client = jobs.store.client
    Wire(client).run(stored(client), ["k"], ("a",))
    assert jobs.store.clear_functions() >= 1
    assert jobs.store.clear_functions() == 0
    of = commands_of(client, lambda: jobs.submit(tenant_id="acme"))
    assert (of["fcall"], of["function|load"]) == (1, 0)


def test_a_script_that_the_server_has_forgotten_is_loaded_again(server: Server) -> None:
    with connect(server.url) as client:
        script, wire = client.register_script("return {KEYS[1], ARGV[1], 7}"), Wire(client)
        assert wire.script(script, ["k"], ("a",)) == ["k", "a", 7]
        client.script_flush()
        assert wire.script(script, ["k"], ("b",)) == ["k", "b", 7]


def test_an_error_of_the_server_is_raised_and_the_connection_goes_on(server: Server) -> None:
    with connect(server.url) as client:
        wire = Wire(client)
        client.delete("wire-list")
        wire.call("LPUSH", "wire-list", "x")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            wire.call("GET", "wire-list")
        assert wire.call("LRANGE", "wire-list", 0, -1) == ["x"]


def test_what_cannot_be_sent_is_refused_and_the_next_command_is_not_its(server: Server) -> None:
    with connect(server.url) as client:
        wire = Wire(client)
        wire.call("PING")
        with pytest.raises(redis.exceptions.DataError):
            wire.call("ECHO", None)
        with pytest.raises(UnicodeEncodeError):
            wire.call("ECHO", "\ud800")
        assert wire.call("ECHO", "mine") == "mine"


@pytest.mark.parametrize("error", [BrokenPipeError(32, "broken pipe"), BlockingIOError(11, "later"), KeyboardInterrupt()])
def test_a_connection_that_broke_as_a_command_was_sent_ends(error: BaseException) -> None:
    ended: list[int] = []

    def sendall(_: bytes) -> None:
        raise error

    connection = SimpleNamespace(
        _sock=SimpleNamespace(sendall=sendall), health_check_interval=1, next_health_check=float("inf"), disconnect=lambda: ended.append(1)
    )
    with pytest.raises(redis.ConnectionError if isinstance(error, OSError) else type(error)):
        _send(connection, ("PING",))
    assert ended == [1]


def test_a_call_that_was_broken_off_leaves_its_reply_to_nobody(server: Server) -> None:
    with connect(server.url) as client:
        wire = Wire(client)
        assert wire.call("ECHO", "first") == "first"
        # As a signal's exception does between question and reply: the question is out, its reply is not read.
        wire._owns.own.busy = True
        wire._owns.own.connection.send_command("ECHO", "whose is this?")
        assert wire.call("ECHO", "mine") == "mine"
        assert wire.call("ECHO", "mine too") == "mine too"


@pytest.mark.parametrize(
    ("reply", "error", "ends"),
    [
        (redis.ResponseError("WRONGTYPE"), redis.ResponseError, 0),
        # The server is there and answers nobody.
        (redis.exceptions.BusyLoadingError("LOADING"), redis.ConnectionError, 1),
        (NOT_ENOUGH_DATA, redis.ConnectionError, 1),
    ],
)
def test_a_connection_goes_on_after_a_refusal_and_ends_with_any_other_error(reply: Any, error: type[Exception], ends: int) -> None:
    ended: list[int] = []

    def reset(buffer: bytearray) -> int:
        raise ConnectionResetError(104, "reset by peer")

    connection = SimpleNamespace(
        protocol=2, health_check_interval=30, disconnect=lambda: ended.append(1), _sock=SimpleNamespace(recv_into=reset),
        _parser=SimpleNamespace(_reader=SimpleNamespace(gets=lambda: reply), _buffer=bytearray(1)),
    )  # fmt: skip
    with pytest.raises(error):
        _reply(connection)
    assert len(ended) == ends


def test_a_connection_that_lay_idle_is_looked_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    ping: Callable[[Any], None] = Connection._send_ping
    monkeypatch.setattr(Connection, "_send_ping", lambda self: (looks.append(self.next_health_check), ping(self)))
    with connect(server.url) as client:
        wire = Wire(client)
        wire.call("PING")
        looks.clear()
        wire._owns.own.connection.next_health_check = 0.0
        assert [wire.call("ECHO", "x") for _ in range(3)] == ["x"] * 3
        assert looks == [0.0]


def test_each_thread_has_a_connection_of_its_own(server: Server) -> None:
    with connect(server.url) as client:
        wire = Wire(client)
        ids = [wire.call("CLIENT", "ID")]
        thread = threading.Thread(target=lambda: ids.append(wire.call("CLIENT", "ID")))
        thread.start()
        thread.join(60)
        assert len(set(ids)) == 2


def test_a_forked_process_has_a_connection_of_its_own_and_leaves_its_parents(server: Server) -> None:
    with connect(server.url) as client:
        wire = Wire(client)
        mine = wire.call("CLIENT", "ID")
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            # No test runs on in the child, whatever happens there.
            try:
                os.write(writer, b"%d" % wire.call("CLIENT", "ID"))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with os.fdopen(reader) as said:
            theirs = int(said.read())
        assert theirs != mine == wire.call("CLIENT", "ID")


def test_a_server_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    own = Server(tmp_path).start()
    try:
        with connect(own.url) as client:
            wire = Wire(client)
            wire.call("SET", "k", "v")
            own.kill()
            own.start()
            assert wire.call("GET", "k") == "v"
    finally:
        own.stop()


def test_behind_sentinel_the_master_that_became_a_replica_is_left_for_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may keep its connections: a sentinel closes them, an operator's REPLICAOF does not."""
    servers = [Server(tmp_path / name).start() for name in ("old", "new")]
    masters = [("127.0.0.1", one.port) for one in servers]
    monkeypatch.setattr(Sentinel, "discover_master", lambda sentinel, name: masters[0])
    try:
        with connect("sentinel://127.0.0.1:1/0?master_name=pipeline") as client:
            wire, both = Wire(client), stored(client)
            wire.call("SET", "k", "before")
            asks: tuple[Callable[[], Any], ...] = (lambda: wire.call("SET", "k", "v"), lambda: wire.run(both, ["k"], ("a",)))
            for ask in asks:
                with servers[0].client() as old:
                    old.execute_command("REPLICAOF", *masters[-1])
                masters.reverse()
                servers.reverse()
                with servers[0].client() as new:
                    new.execute_command("REPLICAOF", "NO", "ONE")
                ask()
                assert wire._owns.own.connection.port == servers[0].port
    finally:
        for one in servers:
            one.stop()


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_the_timeout(tmp_path: Path) -> None:
    own = Server(tmp_path).start()
    try:
        with impatient(own.url) as client:
            wire = Wire(client)
            # More than what lies between the two: the second waits as it writes.
            for command in (("GET", "k"), ("SET", "k", "x" * 20_000_000)):
                assert wire.call("PING") == "PONG"
                own.pause()
                with pytest.raises(StoreUnavailable), store_errors():
                    wire.call(*command)
                own.resume()
                # The reply that comes too late is nobody's.
                assert wire.call("ECHO", "mine") == "mine"
    finally:
        own.stop()


def test_over_tls_python_bounds_the_waits(tmp_path: Path) -> None:
    tls_program()
    own = TlsServer(tmp_path / "server", Authority(tmp_path / "authority")).start()
    try:
        with impatient(own.url) as client:
            wire = Wire(client)
            assert wire.call("PING") == "PONG"
            own.pause()
            with pytest.raises(StoreUnavailable), store_errors():
                wire.call("GET", "k")
    finally:
        own.stop()


def impatient(url: str) -> redis.Redis:
    """A client that waits for a fifth of a second, and tries once."""
    return redis.Redis.from_url(url, decode_responses=True, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))


@each("name", sorted(scripts.places()))
def test_the_server_takes_each_script_in_both_forms(jobs: Cell, name: str) -> None:
    # Lua allows 60 names of the outer text in a function, and says so at the load.
    template = scripts.HintTemplate("jobs", '{"it\'s": "@ID@\\n"}')
    assert jobs.store.client.script_load(scripts.source(name, template))
    made = scripts.function(name, template)
    assert jobs.store.client.execute_command("FUNCTION", "LOAD", "REPLACE", made.library) == made.name
