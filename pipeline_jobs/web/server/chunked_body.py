"""Where a chunked body ends (RFC 9112, section 7.1), found as it comes, so that no thread need wait for it. gunicorn reads it afterwards.

What is complete by this, gunicorn reads without a wait: it has all of it, or finds it malformed.
"""

from __future__ import annotations

import re

_LINE_END = b"\r\n"
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})(?:[ \t]*;[^\r\n]*)?")
#: Longest line before a chunk, and longest trailer section behind the last one, in bytes. No ordinary client sends either.
MAX_LINE, MAX_TRAILER = 256, 4096
#: Most chunks of a body. Each costs the thread that reads of all clients a microsecond or two.
MAX_CHUNKS = 4096


class ChunkedBody:
    """Of a connection's next request. `fault`: the status and reason of its refusal, if it will never be complete."""

    def __init__(self, at: int, most: int) -> None:
        """:param at: where it begins in the buffer. :param most: bytes that it may have; with its framing, an eighth more."""
        self._at, self._end = at, at + most + most // 8 + MAX_TRAILER
        self._count, self._is_last = 0, False
        self.fault: tuple[int, str] | None = None

    def lacks(self, data: memoryview) -> bool:
        """More of it has to come. :param data: the buffer."""
        while self.fault is None:
            found = self._trailer(data) if self._is_last else self._chunk(data)
            if found is not None:
                return not found
        return False

    def _chunk(self, data: memoryview) -> bool | None:
        """Go over the next one. None: it is there. False: it is not yet."""
        line, end, _ = bytes(data[self._at : self._at + MAX_LINE]).partition(_LINE_END)
        if not end:
            # A line feed alone ends no line.
            return self._wait(data, is_wrong=len(line) >= MAX_LINE or b"\n" in line)
        if (size := _SIZE.fullmatch(line)) is None:
            return self._refuse(400, "Bad Request")
        begin = self._at + len(line) + len(end)
        length = int(size[1], 16)
        if length == 0:
            self._at, self._is_last = begin, True
            return None
        after = begin + length
        if after > self._end or self._count >= MAX_CHUNKS:
            return self._refuse(413, "Content Too Large")
        if not _LINE_END.startswith(bytes(data[after : after + 2])):
            return self._refuse(400, "Bad Request")
        if after + 2 > len(data):
            return False
        self._at, self._count = after + 2, self._count + 1
        return None

    def _trailer(self, data: memoryview) -> bool | None:
        """True: the end is there. False: it is not yet."""
        rest = bytes(data[self._at : self._at + MAX_TRAILER])
        if rest.startswith(_LINE_END) or 2 * _LINE_END in rest:
            return True
        return self._wait(data, is_wrong=len(rest) >= MAX_TRAILER)

    def _wait(self, data: memoryview, *, is_wrong: bool) -> bool | None:
        if is_wrong:
            return self._refuse(400, "Bad Request")
        return self._refuse(413, "Content Too Large") if len(data) > self._end else False

    def _refuse(self, status: int, reason: str) -> bool | None:
        self.fault = status, reason
        return None
