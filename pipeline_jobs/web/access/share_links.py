"""Links that show one job's film and transcript to whoever has them, until a moment: signed, and good as long as the key that made them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer

MAX_LENGTH = 512
_SALT = "pipeline-jobs.share"


@dataclass(frozen=True, slots=True)
class Share:
    """What a link says."""

    #: Whose it is; empty: no key was needed when it was made.
    key_id: str
    job_id: str
    #: Of the job: another one may get its id, which is not shared by that.
    order: int
    #: Its end, in Unix seconds.
    until: int


def write_share(share: Share, secret: str) -> str:
    return str(_signer(secret).dumps([share.key_id, share.job_id, share.order, share.until]))


def read_share(text: str, secret: str) -> Share | None:
    """None: we did not sign it, or its time is over."""
    if len(text) > MAX_LENGTH:
        return None
    try:
        key_id, job_id, order, until = _signer(secret).loads(text)
        found = Share(str(key_id), str(job_id), int(order), int(until))
    except (BadData, ValueError, TypeError, UnicodeError):
        return None
    return found if time.time() < found.until else None


def _signer(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt=_SALT)
