"""The short way to the server: as sure as redis-py's own, on a connection of each thread."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import redis

from pipeline_jobs.store import connect
from pipeline_jobs.wire import Wire
from tests.servers import Server


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


def test_a_call_that_was_broken_off_leaves_its_reply_to_nobody(server: Server) -> None:
    with connect(server.url) as client:
        wire = Wire(client)
        assert wire.call("ECHO", "first") == "first"
        # As a signal's exception does between question and reply: the question is out, its reply is not read.
        wire._own.busy = True
        wire._own.connection.send_command("ECHO", "whose is this?")
        assert wire.call("ECHO", "mine") == "mine"
        assert wire.call("ECHO", "mine too") == "mine too"


def test_each_thread_has_a_connection_of_its_own(server: Server) -> None:
    with connect(server.url) as client:
        wire = Wire(client)
        ids = [wire.call("CLIENT", "ID")]
        thread = threading.Thread(target=lambda: ids.append(wire.call("CLIENT", "ID")))
        thread.start()
        thread.join(30)
        assert len(set(ids)) == 2


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
