"""A browser's session on the page: a signed cookie that names an API key. It says who one is, never what one may.

The key itself is not in it, and it opens nothing but the page: the API reads no cookies, so no other site's page can use it there.
The key's record is looked up for each request, as if the key had been shown: whoever revokes the key ends its sessions.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import cached_property
from hashlib import sha256

from itsdangerous import BadData, URLSafeTimedSerializer

from pipeline_jobs.access.api_keys import ApiKey
from pipeline_jobs.web.access.key_cache import KeyRing

#: Name of the cookie.
COOKIE = "pipeline_jobs"
_SALT = "pipeline-jobs.session"


class Sessions:
    """Makes and reads cookies."""

    def __init__(self, ring: KeyRing, secret: Callable[[], str], seconds: int) -> None:
        """
        :param secret: gives the key that signs; asked at first use, for it may be in the store.
        :param seconds: how long a session lasts.
        """
        self._ring, self._secret, self._seconds = ring, secret, seconds

    def cookie(self, key: ApiKey) -> str:
        """The value of the cookie for a session with this key.

        :raises StoreUnavailable:
        """
        # With the mark a leaked signing secret alone forges no session: that takes the key's record too.
        return str(self._signed.dumps([key.key_id, session_mark(key)]))

    def key(self, cookie: str) -> ApiKey | None:
        """The key of a session, if that is ours, lasts still and its key is good now.

        :raises StoreUnavailable: it must be looked up and cannot be.
        """
        try:
            key_id, mark = self._signed.loads(cookie, max_age=self._seconds)
        except (BadData, ValueError, TypeError):
            return None
        key = self._ring.by_id(str(key_id))
        return key if key is not None and hmac.compare_digest(session_mark(key), str(mark)) else None

    @cached_property
    def _signed(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._secret(), salt=_SALT)


def session_mark(key: ApiKey) -> str:
    """Tells this key from any other that might get its id; nothing that opens it."""
    return sha256(f"session:{key.hash}".encode()).hexdigest()[:32]
