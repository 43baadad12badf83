"""A server between a program and the store that answers one command of many with an error, as a store does that is loading, full or no
master any more."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import hiredis

#: What servers say that cannot do it now, by its first word. Word for word: redis-py takes the first word off some of them.
REFUSALS = {
    "LOADING": "LOADING Valkey is loading the dataset in memory",
    "READONLY": "READONLY You can't write against a read only replica.",
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF": "MISCONF Errors writing to the AOF file: No space left on device",
    "BUSY": "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "NOAUTH": "NOAUTH Authentication required.",
    "NOPERM": "NOPERM User default has no permissions to run the command",
    "CLIENTS": "ERR max number of clients reached",
    "NOSCRIPT": "NOSCRIPT No matching script.",
}
#: What comes after these is only handed on: they have not one reply each.
_LISTENS = (b"SUBSCRIBE", b"PSUBSCRIBE")
#: No server refuses this for such a reason: it refuses what comes after it.
_NEVER = b"MULTI"


@dataclass(eq=False)
class Refusing:
    """In front of the server at this port. Until `refuse` it changes nothing."""

    target: int
    #: What was asked since the last `refuse`.
    asked: list[str] = field(default_factory=list)
    #: The number of the command that is refused, from 0 on, or None; and how.
    at: int | None = None
    error: str = ""
    #: How many from there on.
    times: int = 1

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def refuse(self, at: int | None, error: str = "", *, times: int = 1) -> None:
        """Refuse so many commands from this one on, counted from now; None: none."""
        with self._lock:
            self.asked, self.at, self.error, self.times = [], at, error, times

    @property
    def refused(self) -> bool:
        """The command that was to be refused has come."""
        return self.at is not None and len(self.asked) > self.at

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self._listener.accept()[0],), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self.target)) as server:
            commands = client.makefile("rb")
            while sent := _command(commands):
                words, raw = sent
                if words[0].upper() in _LISTENS:
                    server.sendall(raw)
                    _hand_on(commands, client, server)
                    return
                if not (error := self._error(words)):
                    server.sendall(raw)
                    client.sendall(_reply(server))
                    continue
                if words[0].upper() == b"EXEC":
                    server.sendall(b"*1\r\n$7\r\nDISCARD\r\n")
                    _reply(server)
                    error = f"EXECABORT Transaction discarded because of: {error}"
                client.sendall(f"-{error}\r\n".encode())

    def _error(self, words: Sequence[bytes]) -> str | None:
        if words[0].upper() == _NEVER:
            return None
        with self._lock:
            number = len(self.asked)
            self.asked.append(b" ".join(words[:2])[:60].decode("utf-8", "replace"))
            refused = self.at is not None and self.at <= number < self.at + self.times
            return self.error if refused and (words[0] == b"EVALSHA" or self.error != REFUSALS["NOSCRIPT"]) else None


def _command(commands: BinaryIO) -> tuple[list[bytes], bytes] | None:
    """The next one: its words, and as it was sent; None: there is none."""
    if not (line := commands.readline()):
        return None
    raw, words = [line], []
    for _ in range(int(line[1:])):
        head = commands.readline()
        text = commands.read(int(head[1:]) + 2)
        raw += head, text
        words.append(text[:-2])
    return words, b"".join(raw)


def _reply(server: socket.socket) -> bytes:
    """One reply, as it came."""
    reader, raw = hiredis.Reader(), b""
    while True:
        piece = server.recv(1 << 16)
        if not piece:
            raise ConnectionResetError
        raw += piece
        reader.feed(piece)
        if reader.gets() is not False:
            return raw


def _hand_on(commands: Any, client: socket.socket, server: socket.socket) -> None:
    def up() -> None:
        with contextlib.suppress(OSError):
            while data := commands.read1(1 << 16):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    threading.Thread(target=up, daemon=True).start()
    while data := server.recv(1 << 16):
        client.sendall(data)
