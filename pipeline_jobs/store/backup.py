"""A copy of everything that a server holds, taken while it works; and its way back.

The copy is what the server gives a replica (`SYNC`): its data of one moment, as an RDB file, with nothing written to the server's own disk
unless it was told to (`repl-diskless-sync no`). It has every installation and queue on that server.

A server with `appendonly yes` does not read an RDB file when it starts: it loads its AOF folder, and if there is none begins empty, without
a word. So a copy is put back as what it reads: an AOF folder of which the RDB file is the base.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from pipeline_jobs.exceptions import ConfigurationError, StoreUnavailable
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.reader import Reader

#: How a file of the server's data begins.
MAGIC = (b"REDIS", b"VALKEY")
#: How long the server may say nothing while it prepares (it waits 5 s for more replicas), in seconds.
QUIET_SECONDS = 60.0
CHUNK = 1 << 16
#: The AOF folder, in the server's data folder, and the names in it: the server's defaults.
AOF_FOLDER, AOF_NAME = "appendonlydir", "appendonly.aof"


def backup(store: Reader, target: Path) -> int:
    """Write everything that the server holds to a file, which is there whole or not at all.

    :return: its size in bytes.
    :raises StoreUnavailable: the server is away, ended meanwhile, or gives nobody its data.
    :raises ConfigurationError: the file cannot be written.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        # The owner's alone from the first byte on: the store's secrets are in it.
        with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            for chunk in _stream(store):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        _check(part)
        os.replace(part, target)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def _stream(store: Reader) -> Iterator[bytes]:
    """The RDB file, in pieces."""
    pool = store.client.connection_pool
    with store_errors():
        connection = pool.get_connection()
    try:
        with store_errors():
            # Diskless: the end is known by a mark.
            connection.send_command("REPLCONF", "capa", "eof")
            connection.read_response()
            connection.send_command("SYNC")
        line: socket.socket = connection._sock  # what comes now is no reply of the protocol
        line.settimeout(QUIET_SECONDS)
        yield from _data(line)
    except OSError as error:
        raise StoreUnavailable(f"the server broke off its copy: {error}") from None
    finally:
        connection.disconnect()
        pool.release(connection)


def _data(line: socket.socket) -> Iterator[bytes]:
    head = _head(line)
    if head.startswith(b"$EOF:"):
        return _until_mark(line, head[5:])
    if re.fullmatch(rb"\$\d+", head):
        return _of_length(line, int(head[1:]))
    raise StoreUnavailable(f"the server gives nobody its data ({head.decode('utf-8', 'replace')[:200]}): use its own backups")


def _of_length(line: socket.socket, left: int) -> Iterator[bytes]:
    """From a server that has it on its disk (`repl-diskless-sync no`)."""
    while left:
        chunk = line.recv(min(CHUNK, left))
        if not chunk:
            raise StoreUnavailable("the server broke off its copy")
        left -= len(chunk)
        yield chunk


def _until_mark(line: socket.socket, mark: bytes) -> Iterator[bytes]:
    kept = b""
    # The mark may come in two pieces, and what the server does next may come behind it.
    while (end := kept.find(mark)) < 0:
        yield kept[: -len(mark)]
        chunk = line.recv(CHUNK)
        if not chunk:
            raise StoreUnavailable("the server broke off its copy")
        kept = kept[-len(mark) :] + chunk
    yield kept[:end]


def _head(line: socket.socket) -> bytes:
    """The first line. While it prepares the server sends empty ones."""
    head = b""
    while not head.endswith(b"\r\n"):
        byte = line.recv(1)
        if not byte:
            raise StoreUnavailable("the server broke off its copy")
        head = (head + byte).lstrip(b"\n")
    return head.strip()


def _check(file: Path) -> None:
    """:raises ConfigurationError: this is no copy of a server's data."""
    try:
        with file.open("rb") as opened:
            begins = opened.read(6)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror or error}") from None
    if not begins.startswith(MAGIC):
        raise ConfigurationError(f"{file} is no copy that `jobs backup` made")


def restore(file: Path, folder: Path, *, force: bool = False) -> Path | None:
    """Put a copy into the data folder of a server that does not run, so that it starts with it.

    :param force: move what is there aside.
    :return: where what was there is now; None: nothing was.
    :raises ConfigurationError: it is no copy, the folder is not there or has data already.
    """
    _check(file)
    aof, new = folder / AOF_FOLDER, folder / f"{AOF_FOLDER}.new"
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}: give the data folder of the server")
    if (there := aof.is_dir() and any(aof.iterdir())) and not force:
        raise ConfigurationError(f"{aof} has data already: --force moves it aside")
    try:
        shutil.rmtree(new, ignore_errors=True)
        _lay_out(file, new)
        before = folder / f"{AOF_FOLDER}.before-{time.strftime('%Y%m%dT%H%M%S')}"
        if aof.is_dir():
            os.replace(aof, before)
        os.replace(new, aof)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror or error}") from None
    return before if there else None


def _lay_out(file: Path, folder: Path) -> None:
    """The AOF folder as the server wants it, of the same owner as the folder it lies in."""
    folder.mkdir(mode=0o700)
    base, manifest = folder / f"{AOF_NAME}.1.base.rdb", folder / f"{AOF_NAME}.manifest"
    shutil.copyfile(file, base)
    manifest.write_text(f"file {base.name} seq 1 type b\n")
    owner = folder.parent.stat()
    for path in (base, manifest, folder):
        if os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid)
        opened = os.open(path, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)


def end_server(store: Reader) -> None:
    """End a running server, without a last copy of what it holds; who supervises it starts it again. :raises StoreUnavailable:"""
    with store_errors():
        try:
            store.client.execute_command("SHUTDOWN", "NOSAVE")
        except redis.ConnectionError:
            return  # that is what it was for
