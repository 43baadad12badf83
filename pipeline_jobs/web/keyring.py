"""The API keys that this process has seen lately: a good one costs the store one look a second, however many requests show it."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from pipeline_jobs.api_keys import USED_MS, ApiKey, split
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.web.ports import ApiKeys

#: How old an answer of the store may be, in seconds. Below 1 by the time that a request may take on its way: a revocation holds within 1 s.
CACHE_SECONDS = 0.9
#: Most keys that are remembered; the ones that came first are forgotten first.
MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Seen:
    key: ApiKey
    until: float


class KeyRing:
    """Finds the key of a text. Texts are kept as digests only, and only those of keys that were good."""

    def __init__(self, keys: ApiKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._seen: dict[bytes, _Seen] = {}
        self._lock = threading.Lock()

    def find(self, text: str) -> ApiKey | None:
        """The key with this text, if it is good now.

        :raises StoreUnavailable: it must be looked up and cannot be.
        """
        key_id, secret = split(text) or ("", "")
        return self._find(_mark(text), key_id, lambda key: key.opens_with(secret))

    def find_marked(self, key_id: str, mark: str) -> ApiKey | None:
        """The key that a session was made for, if it is good now: `mark` is its `session_mark`.

        :raises StoreUnavailable: it must be looked up and cannot be.
        """
        return self._find(_mark(f"session:{key_id}:{mark}"), key_id, lambda key: hmac.compare_digest(session_mark(key), mark))

    def has_seen(self, text: str) -> bool:
        """It was a good key's when this process last looked."""
        return _mark(text) in self._seen

    def _find(self, mark: bytes, key_id: str, opens: Callable[[ApiKey], bool]) -> ApiKey | None:
        seen = self._seen.get(mark)
        # Expiry is by the clock of each request, so that it needs no look.
        key = seen.key if seen is not None and self._clock() < seen.until else self._look_up(mark, key_id, opens)
        return key if key is not None and key.is_good(time.time() * 1000) else None

    def _look_up(self, mark: bytes, key_id: str, opens: Callable[[ApiKey], bool]) -> ApiKey | None:
        # The age of the answer counts from before the question.
        until = self._clock() + CACHE_SECONDS
        key = self._keys.get(key_id) if key_id else None
        now = int(time.time() * 1000)
        if key is None or not opens(key) or not key.is_good(now):
            with self._lock:
                self._seen.pop(mark, None)
            return None
        if now - (key.last_used_at or 0) >= USED_MS:
            key = self._touch(key, now)
        with self._lock:
            if len(self._seen) >= MAX_REMEMBERED and mark not in self._seen:
                del self._seen[next(iter(self._seen))]
            self._seen[mark] = _Seen(key, until)
        return key

    def _touch(self, key: ApiKey, now: int) -> ApiKey:
        try:
            self._keys.touch(key.key_id, now)
        except StoreUnavailable:
            # A full server: the key is good, when it was used is a courtesy.
            pass
        return replace(key, last_used_at=now)


def session_mark(key: ApiKey) -> str:
    """Tells this key from any other that might get its id; nothing that opens it."""
    return sha256(f"session:{key.hash}".encode()).hexdigest()[:32]


def _mark(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()
