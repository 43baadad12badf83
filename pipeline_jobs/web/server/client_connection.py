"""A client's connection: its next request's head and small body as they come.

Written against gunicorn 27, as `gunicorn_worker` is.
"""

from __future__ import annotations

import os
import re
import select
import socket
from collections.abc import Callable
from enum import Enum
from hashlib import sha256
from typing import Any

from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn
from werkzeug.sansio.http import parse_cookie

from pipeline_jobs.web.access.sessions import COOKIE
from pipeline_jobs.web.access.throttle import group
from pipeline_jobs.web.server.accounts import HEAVY, Owners
from pipeline_jobs.web.server.chunked_body import ChunkedBody
from pipeline_jobs.web.server.exchange import MOST_REMEMBERED, Parser
from pipeline_jobs.web.server.paced_socket import CONTINUE, NOW, PacedSocket

#: Most bytes of a request's line and headers together.
MAX_HEAD = 32_768
#: Most bytes of a body that are read at once by the thread that reads of all clients.
_BODY_PIECE = 65_536
#: A longer body is expected to be heavy, as is one whose length is not said.
LARGE_BODY = 16_384
# gunicorn reads up to 1 MiB of a body ahead, and copies what is left of it, with the interpreter's lock held, for each piece that is taken:
# a third of the time that the lock was held during large uploads. So much is taken of an upload at a time.
SocketUnreader.max_body_chunk = 65_536

_END = b"\r\n\r\n"
_FORWARDED = re.compile(rb"(?im)^x-forwarded-for:([^\r\n]*)")
_BODY = re.compile(rb"(?im)^(?:content-length:[ \t]*([0-9]*)|transfer-encoding:)")
_ANY_LENGTH = re.compile(rb"(?im)^content-length:")
# As a list, and beside another coding, gunicorn takes it too.
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:[^\r\n]*chunked")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*([0-9]{1,12})[ \t]*\r$")
# Bodies of files are read piece by piece, as they reach the disk.
_UPLOAD = re.compile(rb"\s*[A-Z]+ [^ ?\r]*/uploads[/? ]")
_EXPECTS = re.compile(rb"(?im)^expect:[ \t]*100-continue[ \t]*\r$")
_BEARER = re.compile(rb"(?im)^authorization:[ \t]*bearer +([^\r\n]*)")
_COOKIE = re.compile(rb"(?im)^cookie:([^\r\n]*)")


class Head(Enum):
    """How far the head of a connection's next request is."""

    #: gunicorn has something to say of it without waiting: it is complete, or it is none.
    COMPLETE = 1
    PARTIAL = 2
    #: It is complete, as is its body, and is the one of the request before, of which nobody need look at anything again.
    AGAIN = 4
    #: The client has closed its end.
    GONE = 3


class Connection(TConn):  # type: ignore[misc]
    """Of a client. `address` is the other end's; `group` is whose request the next one is: a tenant's, or, as long as nobody knows its
    credentials, that of an address (the one behind trusted proxies, if there are any)."""

    parser: Any

    def __init__(
        self,
        cfg: Any,
        sock: socket.socket,
        client: Any,
        server: Any,
        closing: Callable[[Connection, bool], bool],
        rests: Callable[[Connection, int], None],
    ) -> None:
        """
        :param closing: told of its end, and whether that may take a while; says that it closes the socket itself, later.
        :param rests: told that the thread of this turn waits.
        """
        paced = PacedSocket(sock.family, sock.type, sock.proto, sock.detach())
        paced.begin()
        paced.rest = lambda: rests(self, self.turn)
        paced.owner, paced.cost, paced.waits, paced.is_invited = None, 0.0, False, False
        super().__init__(cfg, paced, client, server)
        self.address = self.group = group(str(client[0])) if client else ""
        self._closing = closing
        self._credentials, self._sender = b"", self.address
        #: Of which fields of a head these are, behind how many proxies.
        self._seen: tuple[bytes, int] | None = None
        #: Waits for what it sends next.
        self.readable = select.poll()
        self.readable.register(paced, select.POLLIN)
        #: That is a tenant, or a key for all.
        self.is_known = False
        #: The next request is expected to be heavy, before anything is known of whose it is.
        self.is_large = False
        #: What its heavy requests have cost in this turn, in seconds, and whom one of them turned out to be of.
        self.cost, self.learnt = 0.0, ""
        #: Which turn with a thread it has, since when, and whether it counts as at work.
        self.turn, self.since, self.is_at_work = 0, 0.0, False
        #: Until when the head must be here (or a client that is left must have closed its end); 0: nobody waits for it.
        self.until = 0.0
        #: It was answered for the last time, and the client has not closed its end.
        self.is_left = False
        #: It was refused while its body came: somebody else needed the room.
        self.is_refused = False
        #: Status and reason that it will be answered at `until`.
        self.refusal: tuple[int, str] | None = None
        #: How many bytes of a small body have not come (of chunks: are asked for next), and how many have room that others cannot have.
        self.missing, self.room = 0, 0
        #: The body that is gathered, if it comes in chunks.
        self._chunked: ChunkedBody | None = None
        self._drained = 0

    def init(self) -> None:
        """Once: with a parser of ours."""
        if not self.initialized:
            super().init()
            if type(self.parser) is RequestParser:
                read, self.parser = self.parser.unreader, Parser(self.cfg, self.sock, self.client)
                self.parser.unreader = read

    @property
    def is_plain(self) -> bool:
        """HTTP/1 without TLS: what is read ahead of others, only gunicorn knows."""
        return not (self.cfg.is_ssl or self.is_http2)

    @property
    def awaits_head(self) -> bool:
        """Of one that is waited for: its next request has not come, or a part of its head, so that nothing was accepted of it. With TLS,
        what has come only gunicorn knows."""
        return not (self.missing or self.refusal or self.is_left or (self.initialized and not self.is_plain))

    @property
    def waits(self) -> bool:
        """Its thread waits for the client, or (with TLS) may do so."""
        return getattr(self.sock, "waits", True)

    def head(self) -> Head:
        """Of what was read."""
        data = self.parser.unreader.buf.getvalue()
        if not data:
            return Head.PARTIAL
        if self.parser.repeats(data):
            return Head.AGAIN
        # One empty line before a request is nothing (RFC 9112, section 2.2).
        at = data.find(_END, 1 if data.startswith(b"\r\n") else 0)
        # A line that ends otherwise, or is endless, or too much in all: refused as it is, without a wait for the rest.
        if at >= 0 or len(data) > MAX_HEAD or data.count(b"\n") > data.count(b"\r\n"):
            return Head.COMPLETE
        return Head.PARTIAL

    def gather(self) -> Head:
        """The same after what has come meanwhile was read. Never waits."""
        if (head := self.head()) is not Head.PARTIAL:
            return head
        came = self._gather(MAX_HEAD)
        return self.head() if came else Head.PARTIAL if came is None else Head.GONE

    def _gather(self, most: int) -> int | None:
        """:return: how many bytes came; 0: the client has closed its end; None: none yet."""
        try:
            data = self.sock.recv(most, NOW)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        buffer = self.parser.unreader.buf
        buffer.seek(0, os.SEEK_END)
        buffer.write(data)
        return len(data)

    def body(self, most: int) -> int:
        """Bytes that the next request's body takes (the most, if it comes in chunks), if it has one of at most so many whose length is
        plainly said, and it has not all come; else 0: gunicorn can say at once what it is, or a thread has to read it."""
        data = self.parser.unreader.buf.getvalue()
        end = data.find(_END, 1) + len(_END)
        head, self._chunked = data[:end], None
        fields = head.lower()
        # Most heads say nothing of a body: a cheap look.
        if not (b"content-length:" in fields or b"transfer-encoding:" in fields) or _UPLOAD.match(data):
            return 0
        lengths = _LENGTH.findall(head)
        # Of several, or beside a transfer coding, it is gunicorn that says what is wrong.
        if len(lengths) == 1 and len(_BODY.findall(head)) == 1:
            length = int(lengths[0])
            return length if length <= most and end + length > len(data) else 0
        if not _CHUNKED.search(head) or _ANY_LENGTH.search(head):
            return 0
        self._chunked = ChunkedBody(end, most)
        return most if self._lacks(self._chunked) or self.fault else 0

    def _lacks(self, body: ChunkedBody) -> bool:
        with self.parser.unreader.buf.getbuffer() as data:
            return body.lacks(data)

    @property
    def fault(self) -> tuple[int, str] | None:
        """Status and reason of the refusal of the body that was gathered."""
        return self._chunked.fault if self._chunked else None

    def begin_body(self, size: int) -> bool:
        """From now on `gather_body` reads it. :return: what `gather_body` does."""
        data = self.parser.unreader.buf.getvalue()
        self.missing = _BODY_PIECE if self._chunked else data.find(_END, 1) + len(_END) + size - len(data)
        return self.gather_body()

    def gather_body(self) -> bool:
        """Read what has come of a small body. False: there is no need to wait for more, or no use."""
        came = self._gather(min(self.missing, _BODY_PIECE))
        if came == 0:
            self.missing = 0
        elif self._chunked:
            self.missing = _BODY_PIECE if self._lacks(self._chunked) else 0
        else:
            self.missing -= came or 0
        return self.missing > 0

    def owes_body(self) -> bool:
        """Of the request that was answered: some of its body was not read, and has not come."""
        reader = self.parser.mesg.body.reader
        if getattr(reader, "length", 0) > len(self.parser.unreader.buf.getbuffer()):
            return True
        # One that was gathered has come.
        return self._chunked is None and getattr(reader, "parser", None) is not None

    def invite(self) -> None:
        """Tell a client that asked for it that it may send its body (RFC 9110, section 10.1.1)."""
        data = self.parser.unreader.buf.getvalue()
        head = data[: data.find(_END, 1) + 2]
        if _EXPECTS.search(head) and head.lstrip().partition(b"\r\n")[0].endswith(b" HTTP/1.1"):
            self.sock.is_invited = True
            try:
                self.sock.send_now(CONTINUE)
            except OSError:
                pass  # the client has left: it is seen as the body is read

    def oversized(self) -> int | None:
        """The status of a head that is too large; None: it is not."""
        data = self.parser.unreader.buf.getvalue()
        if len(data) <= MAX_HEAD or 0 <= data.find(_END) <= MAX_HEAD:
            return None
        return 431 if b"\r\n" in data[:8192] else 414

    def identify(self, proxies: int, owners: Owners) -> str:
        """Whose request the next one is. :param proxies: how many are trusted."""
        data = self.parser.unreader.buf.getvalue()
        # A body that came with it says nothing, nor does the request's line.
        fields = data[: data.find(_END, 1)].partition(b"\r\n")[2]
        if self._seen != (fields, proxies):
            self._look(fields, proxies)
        owner = owners.of(self._credentials)
        self.is_known = owner is not None
        return owner or self._sender

    def _look(self, fields: bytes, proxies: int) -> None:
        """What the fields say. A client that keeps its connection sends the same again and again."""
        shown = _shown(fields)
        self._credentials = sha256(shown).digest() if shown else b""
        self.is_large = any(int(length[:12] or LARGE_BODY) >= LARGE_BODY for length in _BODY.findall(fields))
        self._sender = self._forwarded(fields, proxies) if proxies else self.address
        self._seen = (fields, proxies) if len(fields) <= MOST_REMEMBERED else None

    def _forwarded(self, fields: bytes, proxies: int) -> str:
        found = _FORWARDED.findall(fields)
        addresses = b",".join(found).decode("latin-1").split(",")
        return group(addresses[-proxies].strip()) if found and len(addresses) >= proxies else self.address

    def note(self, seconds: float, owners: Owners) -> None:
        """A request was answered. :param seconds: of the processor."""
        seconds += self.sock.cost
        if seconds > HEAVY:
            self.cost += seconds
        owner = self.sock.owner
        if owner and self._credentials and owners.note(self._credentials, owner):
            self.learnt = owner
        self.sock.owner, self.sock.cost = None, 0.0

    def close(self, graceful: bool = False) -> None:
        if not self._closing(self, graceful):
            super().close()

    def shut(self) -> bool:
        """Nothing more is sent; it stays for what the client still sends, until its `end`. False: the client has left."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        self.is_left = True
        return True

    def drain(self, most: int) -> bool:
        """Read what has come. False: the client has closed its end, or sent more than `most` bytes since `shut`."""
        try:
            data = self.sock.recv(65_536, NOW)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._drained += len(data)
        return bool(data) and self._drained < most

    def end(self) -> None:
        """Of one that was shut."""
        self.close()


def _shown(head: bytes) -> bytes:
    """The key of a request, or else its session. Nothing beside it: whoever varied that would be somebody else with each request, and push
    others out of what is remembered. See `Access.caller`. Cookies are read as the request itself reads them, whatever bytes they have."""
    if keys := _BEARER.findall(head):
        return b"key " + b",".join(keys).strip()
    cookies = b"; ".join(_COOKIE.findall(head))
    session = parse_cookie(cookies.decode("latin-1")).get(COOKIE, "") if cookies else ""
    return f"session {session}".encode() if session else b""
