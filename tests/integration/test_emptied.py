"""Whoever waits for messages when a test begins would take its first hint: it is told of, and gets nothing."""

from __future__ import annotations

import os

import pytest

from tests.commands import empty
from tests.servers import Server
from tests.waiting import until


def test_who_still_waits_for_messages_is_told_of_and_disconnected(server: Server) -> None:
    empty(server)
    with server.client() as client, server.client() as late:
        connection = late.connection_pool.get_connection()
        connection.send_command("BRPOP", "jobs", 0)
        until(lambda: int(client.info("clients")["blocked_clients"]) == 1, "it to wait")
        with pytest.raises(AssertionError, match=rf"somebody takes messages, and came after .*brpop, .*process {os.getpid()} \(this one\)"):
            empty(server)
        client.lpush("jobs", "a hint")
        assert client.lrange("jobs", 0, -1) == ["a hint"]
        connection.disconnect()
        late.connection_pool.release(connection)
    empty(server)
