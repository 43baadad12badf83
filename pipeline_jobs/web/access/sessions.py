"""A browser's session on the page: a signed cookie that names an API key. It says who one is, never what one may.

The key itself is not in it, and it opens nothing but the page: the API reads no cookies, so no other site's page can use it there.
The key's record is looked up for each request, as if the key had been shown: whoever revokes the key ends its sessions. The session is
looked up too: whoever signs out ends it, for all who have a copy of the cookie.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from functools import cached_property
from hashlib import sha256

from itsdangerous import BadData, URLSafeTimedSerializer

from pipeline_jobs.access.api_keys import ApiKey, KeyStore
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.web.access import key_cache
from pipeline_jobs.web.access.key_cache import KeyRing

#: Name of the cookie.
COOKIE = "pipeline_jobs"
_SALT = "pipeline-jobs.session"
#: After which part of its time a session that is used is renewed: a write in the store each time would be too much.
RENEWED_AFTER = 0.25
#: Maximum number of sessions that a process remembers.
MOST_SEEN = 10_000


class Sessions:
    """Makes and reads cookies."""

    def __init__(self, keys: KeyStore, ring: KeyRing, secret: Callable[[], str], seconds: int) -> None:
        """
        :param secret: gives the key that signs; asked at first use, for it may be in the store.
        :param seconds: how long a session lasts.
        """
        self._keys, self._ring, self._secret, self._seconds = keys, ring, secret, seconds
        #: Sessions that were found, and until when that is good enough while the store is away.
        self._seen: dict[str, float] = {}

    def cookie(self, key: ApiKey) -> str:
        """Begin a session with this key. :return: the value of its cookie.

        :raises StoreUnavailable:
        """
        # With the mark a leaked signing secret alone forges no session: that takes the key's record too.
        session_id = self._keys.begin_session(key.key_id, self._seconds)
        return str(self._signed.dumps([key.key_id, session_mark(key), session_id]))

    def renewed(self, cookie: str) -> str | None:
        """The cookie of a session that was just used, good for the whole time again; None: the one there is does for a while yet.

        The session stays the same one, so signing out ends the older cookies with it. A sign-out that comes between the look at the session
        and this loses: its own answer deletes the cookie, and only a copy of this one would go on, until the key is revoked.

        :raises StoreUnavailable:
        """
        try:
            (key_id, mark, session_id), made = self._signed.loads(cookie, max_age=self._seconds, return_timestamp=True)
        except (BadData, ValueError, TypeError):
            return None
        if time.time() - made.timestamp() < self._seconds * RENEWED_AFTER:
            return None
        self._keys.begin_session(key_id, self._seconds, session_id)
        return str(self._signed.dumps([key_id, mark, session_id]))

    def key(self, cookie: str) -> ApiKey | None:
        """The key of a session, if that is ours, lasts still, nobody signed out of it, and its key is good now.

        :raises StoreUnavailable: it must be looked up and cannot be.
        """
        found = self._read(cookie)
        if found is None:
            return None
        key_id, mark, session_id = found
        key = self._ring.by_id(key_id)
        if key is None or not hmac.compare_digest(session_mark(key), mark):
            return None
        return key if self._lasts(key_id, session_id) else None

    def end(self, cookie: str) -> None:
        """End the session of a cookie, if that is ours. :raises StoreUnavailable:"""
        if (found := self._read(cookie)) is not None:
            self._keys.end_session(found[0], found[2])

    def _lasts(self, key_id: str, session_id: str) -> bool:
        try:
            found = self._keys.has_session(key_id, session_id)
        except StoreUnavailable:
            # As long as a key is: so a form that cannot be sent now is given back as it was filled in.
            if self._seen.get(session_id, 0.0) < time.monotonic():
                raise
            return True
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()
        self._seen[session_id] = time.monotonic() + key_cache.CACHE_SECONDS if found else 0.0
        return found

    def _read(self, cookie: str) -> tuple[str, str, str] | None:
        """The id of the key, its mark, the id of the session; None: it is not ours, is too old, or names no session, as those of the
        versions before."""
        try:
            key_id, mark, session_id = self._signed.loads(cookie, max_age=self._seconds)
        except (BadData, ValueError, TypeError):
            return None
        return str(key_id), str(mark), str(session_id)

    @cached_property
    def _signed(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._secret(), salt=_SALT)


def session_mark(key: ApiKey) -> str:
    """Tells this key from any other that might get its id; nothing that opens it."""
    return sha256(f"session:{key.hash}".encode()).hexdigest()[:32]
