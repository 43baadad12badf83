"""The connection to the server, and the errors that its failures become."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import redis
from redis.connection import ConnectionPool
from redis.driver_info import DriverInfo
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from pipeline_jobs.exceptions import InvalidInput, StoreUnavailable
from pipeline_jobs.starting import SCHEME, Watched, watched

#: What connections say of themselves. Each that is not told reads redis-py's version from the disk: half a millisecond of a processor.
DRIVER = DriverInfo()


def connect(url: str) -> redis.Redis:
    """A thread-safe client with bounded waits. Text in, text out."""
    options: dict[str, Any] = {
        "decode_responses": True, "socket_timeout": 10, "socket_connect_timeout": 5, "health_check_interval": 30, "protocol": 2,
        "driver_info": DRIVER,
    }  # fmt: skip
    if url.startswith(SCHEME):
        return redis.Redis.from_pool(master_pool(watched(url), **options))
    pool: Any = _Pool.from_url(url, **options)
    return redis.Redis.from_pool(pool)


class _Pool(ConnectionPool):
    """Puts no connection back on which a reply may still come: whoever had it next would read that as the answer to its own question, and
    so on for ever. redis-py puts it back when a signal's exception (a run that is told to stop) leaves between question and reply. The
    exception that a caller was handling as it took the connection has broken off nothing."""

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        handled = sys.exc_info()[1]
        connection: Any = super().get_connection(*arguments, **options)
        connection.handled = handled
        return connection

    def release(self, connection: Any) -> None:
        # One that cannot connect is released before it was given to anybody.
        error, handled = sys.exc_info()[1], getattr(connection, "handled", None)
        connection.handled = None
        if error is not None and error is not handled and not isinstance(error, redis.ResponseError):
            connection.disconnect()
        super().release(connection)


class _MasterPool(SentinelConnectionPool, _Pool):  # type: ignore[misc]
    """The same of connections to a master."""


class _MasterConnection(SentinelManagedConnection):
    """Asks who is the master whenever it connects. redis-py's does not where a command connects it: that goes to where it last was, or to
    localhost, as its base does (7.4.1)."""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._sock is None:
            self.connect()
        super().send_packed_command(command, check_health)


def master_pool(of: Watched, **options: Any) -> SentinelConnectionPool:
    """Connections to the master: each asks the sentinels, as it connects, which server that is.

    :param options: of a connection, as redis-py has them (timeouts, decoding).
    """
    # A sentinel that is away is not waited for as a server is: the next one is asked.
    sentinels = Sentinel(list(of.sentinels), sentinel_kwargs={"socket_connect_timeout": 1, "socket_timeout": 1})
    return _MasterPool(of.master, sentinels, connection_class=_MasterConnection, db=of.number, **dict(of.login), **options)


#: What a server says that cannot answer now, of which redis-py makes classes, without that word in their texts. NoScript: it has lost a
#: script between the look whether it has it and the call, as it was started again.
_NOT_NOW_BY_CLASS = (
    redis.exceptions.OutOfMemoryError, redis.exceptions.ReadOnlyError, redis.exceptions.ClusterDownError, redis.exceptions.TryAgainError,
    redis.exceptions.NoScriptError, redis.exceptions.ExecAbortError,
)  # fmt: skip
#: And what is a plain ResponseError: BUSY: a script of somebody's runs for too long; WAITAOF: it has no AOF, or became a replica.
_NOT_NOW = ("OOM", "MISCONF", "LOADING", "READONLY", "MASTERDOWN", "BUSY", "NOREPLICAS", "WAITAOF")


def raise_as_ours(error: BaseException) -> None:
    """Server and connection trouble as `StoreUnavailable`; no key or value in its text. Other errors are the caller's to raise."""
    match error:
        # Who gives no valid answer is no server of ours: something else listens there.
        case redis.ConnectionError() | redis.TimeoutError() | redis.exceptions.InvalidResponse():
            raise StoreUnavailable("the store cannot be reached") from error
        case redis.exceptions.NoPermissionError():
            raise StoreUnavailable("the store permits its user too little (NOPERM)") from error
        case redis.ResponseError() if isinstance(error, _NOT_NOW_BY_CLASS):
            raise StoreUnavailable("the store cannot write now") from error
        case UnicodeEncodeError():
            raise InvalidInput("text is not valid Unicode") from None
        # OOM and MISCONF (disk full) come out of a script as a plain ResponseError.
        case redis.ResponseError() if any(word in str(error) for word in _NOT_NOW):
            raise StoreUnavailable("the store cannot write now") from error


class _StoreErrors:
    """A class, not a generator: each call to the server goes through it, and this takes a quarter of the time."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            raise_as_ours(error)


_ERRORS = _StoreErrors()


def store_errors() -> _StoreErrors:
    """`with store_errors():` the block's errors as `raise_as_ours` has them. What every request does takes that itself, in an `except`,
    which costs nothing where there is no error: a `with` runs three functions."""
    return _ERRORS
