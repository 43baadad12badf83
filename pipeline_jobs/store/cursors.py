"""Cursors of lists: the `order` of the last thing of a page, as clients are given it."""

from __future__ import annotations

import base64
import binascii

from pipeline_jobs.exceptions import InvalidInput

#: Orders are microseconds that a double holds exactly.
MAX_ORDER = 2**53 - 1


def write_cursor(order: int) -> str:
    return base64.urlsafe_b64encode(order.to_bytes(8, "big")).decode().rstrip("=")


def read_cursor(cursor: str | None) -> int | None:
    """:raises InvalidInput: it is not one of ours."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    order = int.from_bytes(raw, "big")
    if len(raw) != 8 or order > MAX_ORDER:
        raise InvalidInput("cursor must be one that a list returned", field="cursor")
    return order
