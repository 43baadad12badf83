"""The history's database: connections, their time limits, its tables, and its errors as ours."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, text

from pipeline_jobs.exceptions import StoreUnavailable

#: How long it is waited for a connection, and for another writer, in seconds.
CONNECT_SECONDS = 5
#: Longest statement of a mover, in seconds.
WRITE_SECONDS = 60.0
#: Of the lock under which tables are made in PostgreSQL: any number.
_LOCK = 7_402_561
_POOL: dict[str, Any] = {"pool_size": 3, "max_overflow": 2, "pool_timeout": CONNECT_SECONDS}
_AWAY = "the database of the history cannot be asked now: try again later"
_TOO_LONG = "the history was not read within {:g} s: ask for less"

logger = structlog.get_logger(__name__)


class Database:
    """Connects when it is first asked; a forked child connects anew."""

    def __init__(self, url: str) -> None:
        self._url = _with_driver(make_url(url))
        self.on_sqlite = self._url.get_backend_name() == "sqlite"
        self._lock = threading.Lock()
        self._pid, self._upgraded = -1, False
        #: Engines of the processes before a fork are not closed here: their connections are the parent's.
        self._engines: list[Engine] = []

    @property
    def folder(self) -> Path | None:
        """Where its file is, if it is one of this machine."""
        return Path(str(self._url.database)).parent if self.on_sqlite else None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction. :raises StoreUnavailable: the database cannot be asked. A value that it refuses is SQLAlchemy's DataError."""
        with self._errors(WRITE_SECONDS):
            engine = self._engine()
            if not self._upgraded:
                self.upgrade()
            with engine.begin() as connection, self._limited(connection, WRITE_SECONDS):
                yield connection

    @contextmanager
    def reading(self, seconds: float) -> Iterator[Connection]:
        """For queries that may take so long, each. :raises StoreUnavailable: the database cannot be asked, or one took longer."""
        with self._errors(seconds):
            engine = self._engine()
            if not self._upgraded:
                self.upgrade()
            with engine.connect() as connection, self._limited(connection, seconds):
                yield connection

    def upgrade(self) -> None:
        """Make the tables, or bring them up to date; one process at a time."""
        config = Config()
        config.set_main_option("script_location", str(files("pipeline_jobs.history") / "migrations").replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        with self._engine().begin() as connection:
            connection.execute(text("BEGIN IMMEDIATE" if self.on_sqlite else f"SELECT pg_advisory_xact_lock({_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        self._upgraded = True

    def close(self) -> None:
        """Give the connections back; used again it connects anew."""
        if self._pid == os.getpid():
            self._engines[-1].dispose()

    def _engine(self) -> Engine:
        with self._lock:
            if self._pid != os.getpid():
                self._engines.append(self._connected())
                self._pid = os.getpid()
            return self._engines[-1]

    def _connected(self) -> Engine:
        if not self.on_sqlite:
            keepalive = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
            arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, **keepalive}
            return create_engine(self._url, connect_args=arguments, pool_pre_ping=True, **_POOL)
        path = Path(str(self._url.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        # What is in it is for its owner only; SQLite gives its other files the same mode.
        path.touch(mode=0o600)
        engine = create_engine(self._url, connect_args={"timeout": CONNECT_SECONDS}, **_POOL)
        event.listen(engine, "connect", _set_up)
        return engine

    @contextmanager
    def _limited(self, connection: Connection, seconds: float) -> Iterator[None]:
        if not self.on_sqlite:
            # Until the end of the transaction, whichever way that comes.
            connection.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
            yield
            return
        raw: Any = connection.connection.driver_connection
        until = time.monotonic() + seconds
        raw.set_progress_handler(lambda: time.monotonic() > until, 10_000)
        try:
            yield
        finally:
            raw.set_progress_handler(None, 0)

    @contextmanager
    def _errors(self, seconds: float) -> Iterator[None]:
        try:
            yield
        except exc.DataError:
            raise
        except (exc.DBAPIError, exc.TimeoutError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            if getattr(cause, "sqlstate", None) == "57014" or str(cause) == "interrupted":
                raise StoreUnavailable(_TOO_LONG.format(seconds)) from None
            logger.warning("the history cannot be asked", seldom=True, reason=f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}")
            raise StoreUnavailable(_AWAY) from None


def _with_driver(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _set_up(raw: Any, _: object) -> None:
    # Readers and the writer do not wait for each other. What was committed stays, even if the machine loses its power: the records in the
    # store are deleted after it.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
        raw.execute(f"PRAGMA {pragma}")
