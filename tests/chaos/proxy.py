"""A TCP proxy between a process and a server: it delays, loses what goes one way, and closes one way only.

Each process of a run has one of its own, so that a fault of the network is one machine's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from tests.stack import free_port

#: `up` is to the server, `down` from it.
Way = Literal["up", "down"]
CHUNK = 1 << 16


@dataclass(eq=False, slots=True)
class _Connection:
    """A client and the server, by what they are written to."""

    up: asyncio.StreamWriter
    down: asyncio.StreamWriter
    #: A way that was closed, while the other one goes on.
    closed: Way | None = None
    #: Bytes of it are missing: nobody can make sense of what would follow.
    torn: bool = False

    def abort(self) -> None:
        self.up.transport.abort()
        self.down.transport.abort()


@dataclass(eq=False, slots=True)
class Link:
    """A port that leads to a server's."""

    target: int
    port: int = field(default_factory=free_port)
    #: How long each piece is held up, in seconds.
    delay: float = 0.0
    #: The way on which whatever comes is lost.
    lost: Way | None = None
    connections: set[_Connection] = field(default_factory=set)

    async def accept(self, reader: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        """Be the server of a client, until both ways are closed or one of the two is gone."""
        try:
            answers, up = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            down.transport.abort()
            return
        connection = _Connection(up, down)
        self.connections.add(connection)
        try:
            await asyncio.gather(self._pump(reader, up, "up", connection), self._pump(answers, down, "down", connection))
        except OSError:
            pass  # one side has reset it
        finally:
            connection.abort()
            self.connections.discard(connection)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way, connection: _Connection) -> None:
        while data := await source.read(CHUNK):
            if self.lost == way:
                connection.torn = True
            elif connection.closed != way:
                if self.delay:
                    await asyncio.sleep(self.delay)
                sink.write(data)
                await sink.drain()
        if connection.closed != way and sink.can_write_eof():
            sink.write_eof()

    def half_close(self, way: Way) -> None:
        """End one way of every connection that there is."""
        for connection in tuple(self.connections):
            sink = connection.up if way == "up" else connection.down
            if connection.closed is None and not sink.is_closing():
                connection.closed = way
                try:
                    sink.write_eof()
                except OSError:
                    pass  # its peer is gone; the pump will find that out

    def mend(self) -> None:
        """As before; connections that lack something are closed."""
        self.delay, self.lost = 0.0, None
        for connection in tuple(self.connections):
            if connection.torn or connection.closed:
                connection.abort()


class Proxies:
    """All links of a run, in a thread with an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        #: By the process's role; one to the store, and one to the broker where that is another server.
        self.links: dict[str, list[Link]] = {}

    def through(self, role: str, url: str) -> str:
        """The URL by which a role reaches the server of this one."""
        parts = urlsplit(url)
        assert parts.port
        link = Link(parts.port)
        self.links.setdefault(role, []).append(link)
        listening = asyncio.start_server(link.accept, "127.0.0.1", link.port)
        self._servers.append(asyncio.run_coroutine_threadsafe(listening, self._loop).result())
        return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{link.port}")).geturl()

    def each(self, role: str, do: Callable[[Link], object]) -> None:
        """Do something to all links of a role, before this returns."""

        async def all_of_them() -> None:
            for link in self.links[role]:
                do(link)

        asyncio.run_coroutine_threadsafe(all_of_them(), self._loop).result()

    def stop(self) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()
            for connection in [one for links in self.links.values() for link in links for one in link.connections]:
                connection.abort()
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
