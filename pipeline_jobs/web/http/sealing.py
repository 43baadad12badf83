"""Cursors of lists as clients are given them: sealed with the installation's secret, for whoever the key speaks for.

A page may end at a thing that its reader may not see (another workspace's), and the cursor within is that thing's time. What is sealed
tells nothing, and opens for no other tenant or workspace. The seal is made of the content (as in RFC 5297, with HMAC for the cipher), so
that the same place has the same cursor and no nonce can be used twice.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from functools import lru_cache
from hashlib import sha256

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.state import web

#: Bytes of a seal, and the most of a cursor within.
SEAL, MOST = 16, 32


def seal(cursor: str | None) -> str | None:
    """The cursor as the caller of this request may have it; None stays None.

    :raises ValueError: it is longer than what can be sealed: a list's fault.
    """
    if cursor is None:
        return None
    plain = cursor.encode("ascii")
    if len(plain) > MOST:
        raise ValueError(f"a cursor of {len(plain)} bytes, more than {MOST}")
    mark = _mark(plain)
    return base64.urlsafe_b64encode(mark + _masked(plain, mark)).decode().rstrip("=")


def unseal(sealed: str) -> str:
    """The cursor within. :raises InvalidInput: it was not sealed for this caller."""
    try:
        raw = base64.b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    mark = raw[:SEAL]
    plain = _masked(raw[SEAL:], mark)
    if len(raw) > SEAL + MOST or not hmac.compare_digest(mark, _mark(plain)):
        raise InvalidInput("cursor must be one that a list returned", field="cursor")
    return plain.decode("ascii")


def _mark(plain: bytes) -> bytes:
    who = caller()
    return _digest(b"\n".join((b"mark", who.tenant_id.encode(), (who.workspace_id or "").encode(), plain)))[:SEAL]


def _masked(text: bytes, mark: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(text, _digest(b"mask\n" + mark), strict=False))


def _digest(message: bytes) -> bytes:
    return hmac.digest(_key(web().cell.secret()), message, "sha256")


@lru_cache(maxsize=8)
def _key(secret: str) -> bytes:
    return sha256(f"pipeline-jobs.cursor\n{secret}".encode()).digest()
