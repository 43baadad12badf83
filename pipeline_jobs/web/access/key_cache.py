"""A cache of valid API keys: a key costs the store one lookup a second, however many requests use it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from pipeline_jobs.access.api_keys import USED_MS, ApiKey, KeyStore, split
from pipeline_jobs.exceptions import StoreUnavailable

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

    def __init__(self, keys: KeyStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._seen: dict[bytes, _Seen] = {}
        self._lock = threading.Lock()

    def find(self, text: str) -> ApiKey | None:
        """The key with this text, if it is good now.

        :raises StoreUnavailable: it must be looked up and cannot be.
        """
        mark = _mark(text)
        seen = self._seen.get(mark)
        # Expiry is by the clock of each request, so that it needs no look.
        key = seen.key if seen is not None and self._clock() < seen.until else self._look_up(mark, text)
        return key if key is not None and key.is_good(time.time() * 1000) else None

    def by_id(self, key_id: str) -> ApiKey | None:
        """The key with this id, if it is good now: for what was opened with its text before.

        :raises StoreUnavailable: it must be looked up and cannot be.
        """
        mark = key_id.encode()
        seen = self._seen.get(mark)
        if seen is not None and self._clock() < seen.until:
            key: ApiKey | None = seen.key
        else:
            until = self._clock() + CACHE_SECONDS
            key = self._keys.get(key_id)
            self._remember(mark, key, until)
        return key if key is not None and key.is_good(time.time() * 1000) else None

    def has_seen(self, text: str) -> bool:
        """It was a good key's when this process last looked."""
        return _mark(text) in self._seen

    def _look_up(self, mark: bytes, text: str) -> ApiKey | None:
        # The age of the answer counts from before the question.
        until = self._clock() + CACHE_SECONDS
        parts = split(text)
        key = self._keys.get(parts[0]) if parts else None
        now = int(time.time() * 1000)
        if parts is None or key is None or not key.opens_with(parts[1]) or not key.is_good(now):
            with self._lock:
                self._seen.pop(mark, None)
            return None
        if now - (key.last_used_at or 0) >= USED_MS:
            key = self._touch(key, now)
        self._remember(mark, key, until)
        return key

    def _remember(self, mark: bytes, key: ApiKey | None, until: float) -> None:
        with self._lock:
            if key is None:
                self._seen.pop(mark, None)
                return
            if len(self._seen) >= MAX_REMEMBERED and mark not in self._seen:
                del self._seen[next(iter(self._seen))]
            self._seen[mark] = _Seen(key, until)

    def _touch(self, key: ApiKey, now: int) -> ApiKey:
        try:
            self._keys.touch(key.key_id, now)
        except StoreUnavailable:
            # A full server: the key is good, when it was used is a courtesy.
            pass
        return replace(key, last_used_at=now)


def _mark(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()
