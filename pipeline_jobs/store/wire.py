"""The fast path to the server, for the calls that every request and every job make.

redis-py's `execute_command` takes a connection out of its pool and puts it back: locks, a look whether something unread is on the socket
(three system calls that let another thread have the interpreter), figures for observability. That takes as long as the rest of a call.
Here each thread has a connection of redis-py's for itself.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import hiredis
import redis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.commands.core import Script
from redis.sentinel import SentinelManagedConnection

from pipeline_jobs.store.scripts import Function

#: How long after a server has refused to load functions it is asked again, in seconds.
REFUSED_SECONDS = 60.0
#: Of FCALL itself: what a command inside of a function says must not look like it, for then something may have been written.
_REFUSAL = re.compile(r"^(ERR )?(Function not found|unknown command .FCALL)", re.IGNORECASE)


class Stored:
    """A script in its two forms (`store/scripts.py`)."""

    def __init__(self, function: Function, script: Callable[[], Script]) -> None:
        """:param script: makes that form, which most processes never need: in a cold process that takes 5 ms."""
        self.function, self._script = function, script

    @cached_property
    def script(self) -> Script:
        return self._script()


class _Own:
    """A thread's connection, the forks that there had been when it was made, and whether a reply is still to come on it."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.forks = 0
        self.busy = False


class _Owns(threading.local):
    """What each thread has for itself, found by one look: each look for a thread's own takes as long as ten others."""

    def __init__(self) -> None:
        self.own = _Own()


class _Forks:
    """How often this process, or those that it came from, were forked: a child speaks on no connection of its parent's. To ask the kernel
    for the process's number would be one system call more a command."""

    number = 0

    @classmethod
    def count(cls) -> None:
        cls.number += 1


os.register_at_fork(after_in_child=_Forks.count)


class Wire:
    """Commands to the server of a client, with the client's own settings (timeouts, health checks, retries, decoding)."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._owns = _Owns()
        self._refused_until = 0.0

    def call(self, *command: Any) -> Any:
        """Send a command and give its reply as the protocol has it (a hash is a flat list).

        :raises redis.RedisError: as the client would, after as many tries.
        """
        return self._tried(self._once, command)

    def call_and_run(self, command: tuple[Any, ...], stored: Stored, keys: list[str], arguments: Sequence[Any]) -> tuple[Any, Any]:
        """A command and a script that only reads, in one round trip.

        :raises redis.RedisError: as `call`.
        """
        if time.monotonic() < self._refused_until:
            return self.call(*command), self.script(stored.script, keys, arguments)
        first, second = self._tried(self._both, (command, ("FCALL", stored.function.name, len(keys), *keys, *arguments)))
        if isinstance(first, redis.ResponseError):
            raise first
        if isinstance(second, redis.ResponseError):
            if not _is_refusal(second):
                raise second
            # The server does not have the function yet: it is loaded on the way that has time for that.
            second = self.run(stored, keys, arguments)
        return first, second

    def close(self) -> None:
        """Close the connection of this thread; used again it connects anew. Another thread's goes with its thread."""
        if (connection := self._owns.own.connection) is not None:
            connection.disconnect()

    def _tried(self, once: Callable[[_Own, tuple[Any, ...]], Any], command: tuple[Any, ...]) -> Any:
        own = self._owns.own
        if own.connection is None or own.forks != _Forks.number:
            pool = self._client.connection_pool
            own.connection, own.forks, own.busy = pool.connection_class(**pool.connection_kwargs), _Forks.number, False
            own.connection.register_connect_callback(self._bound_by_kernel)
        try:
            return once(own, command)
        except (redis.ConnectionError, redis.TimeoutError):
            # The server may have closed a connection that lay idle: a new one, and more tries, as the client is set up for.
            return own.connection.retry.call_with_retry(lambda: once(own, command), lambda _: own.connection.disconnect())

    def _bound_by_kernel(self, connection: Any) -> None:
        """Let the kernel bound each wait on a new connection. For a timeout of its own, Python asks the kernel before each read and write
        whether it would wait: two more system calls a command. Not over TLS, where Python begins such a wait again when it is over."""
        sock, seconds = connection._sock, connection.socket_timeout
        if type(sock) is socket.socket and seconds:
            bound = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                sock.setsockopt(socket.SOL_SOCKET, option, bound)
            sock.settimeout(None)

    def run(self, stored: Stored, keys: list[str], arguments: Sequence[Any]) -> Any:
        """Run a script, as a function where the server takes functions."""
        if time.monotonic() < self._refused_until:
            return self.script(stored.script, keys, arguments)
        command = ("FCALL", stored.function.name, len(keys), *keys, *arguments)
        try:
            return self._tried(self._once, command)
        except redis.ResponseError as error:
            if not _is_refusal(error):
                raise
        return self._run_loaded(stored, keys, arguments, command)

    def _run_loaded(self, stored: Stored, keys: list[str], arguments: Sequence[Any], command: tuple[Any, ...]) -> Any:
        """The same where the server does not have the function: once more when it is loaded, or as a script."""
        if self._load(stored.function):
            try:
                return self._tried(self._once, command)
            except redis.ResponseError as error:
                if not _is_refusal(error):
                    raise
            self._give_up()
        return self.script(stored.script, keys, arguments)

    def _load(self, function: Function) -> bool:
        try:
            self.call("FUNCTION", "LOAD", function.library)
        except redis.ResponseError as error:
            # Or another process was quicker.
            return "already exists" in str(error) or self._give_up()
        return True

    def _give_up(self) -> bool:
        """A full server loads no function, a hosted one may know none: scripts do the same for a while."""
        self._refused_until = time.monotonic() + REFUSED_SECONDS
        return False

    def script(self, script: Script, keys: list[str], arguments: Sequence[Any]) -> Any:
        """Run a script, loading it if the server does not have it."""
        try:
            return self.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            self._client.script_load(script.script)
            return self.call("EVALSHA", script.sha, len(keys), *keys, *arguments)

    @staticmethod
    def _both(own: _Own, commands: tuple[Any, ...]) -> list[Any]:
        """The replies of several commands; one that the server refused is its error."""
        if own.busy:
            own.connection.disconnect()
        own.busy = True
        own.connection.send_packed_command(own.connection.pack_commands(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(_reply(own.connection))
            except redis.ResponseError as error:
                replies.append(error)
        own.busy = False
        return replies

    @staticmethod
    def _once(own: _Own, command: tuple[Any, ...]) -> Any:
        if own.busy:
            # A signal's exception left in the middle: what comes now would be the reply to another question.
            own.connection.disconnect()
        own.busy = True
        _send(own.connection, command)
        try:
            reply = _reply(own.connection)
        except redis.ResponseError:
            own.busy = False
            raise
        own.busy = False
        return reply


def _send(connection: Any, command: tuple[Any, ...]) -> None:
    """As redis-py's `send_command`, whose way to a socket that is there and was asked lately is longer.

    :raises redis.RedisError: as that does; what was sent in part ends the connection.
    """
    sock, interval = connection._sock, connection.health_check_interval
    if sock is None or (interval and time.monotonic() > connection.next_health_check):
        connection.send_command(*command)
        return
    try:
        packed = hiredis.pack_command(command)
    except TypeError as error:
        raise redis.exceptions.DataError(*error.args) from None
    try:
        sock.sendall(packed)
    except TimeoutError:
        connection.disconnect()
        raise redis.TimeoutError("Timeout writing to socket") from None
    except OSError as error:
        connection.disconnect()
        raise redis.ConnectionError(f"Error while writing to the server: {error.args}") from error
    except BaseException:
        connection.disconnect()
        raise


def _reply(connection: Any) -> Any:
    """The next reply. As redis-py's `read_response`, which for each makes up the server's name for an error and looks for what only RESP 3
    has: it takes 5 us, and this one 2. What comes is read into the parser's own buffer: another one would be made and dropped.

    :raises redis.RedisError: as that does; what is no answer ends the connection.
    """
    if connection.protocol != 2:
        return connection.read_response()
    parser = connection._parser
    reader = parser._reader
    try:
        while (reply := reader.gets()) is NOT_ENOUGH_DATA:
            if not (length := connection._sock.recv_into(parser._buffer)):
                raise ConnectionResetError("the server closed the connection")
            reader.feed(parser._buffer, 0, length)
    except OSError as error:
        connection.disconnect()
        raise redis.ConnectionError(f"Error while reading from the server: {error.args}") from error
    except BaseException:
        connection.disconnect()
        raise
    connection.next_health_check = time.monotonic() + connection.health_check_interval
    if isinstance(reply, redis.RedisError):
        if isinstance(reply, redis.exceptions.ReadOnlyError) and isinstance(connection, SentinelManagedConnection):
            # The master is another one by now. As it connects again, a sentinel is asked which.
            connection.disconnect()
            raise redis.ConnectionError("the master has become a replica") from reply
        if not isinstance(reply, redis.ResponseError):
            connection.disconnect()
        raise reply
    return reply


def _is_refusal(error: redis.ResponseError) -> bool:
    """The server does not have the function, or no functions at all, or none for us: nothing was run."""
    return bool(_REFUSAL.search(str(error))) or isinstance(error, redis.exceptions.NoPermissionError)
