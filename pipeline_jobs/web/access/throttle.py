"""Limits how many wrong keys an address may send, to protect the store. In this process only, in bounded memory: its part of the burst
is divided by the number of processes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

#: Wrong keys that an address may show at once, and how long each of them counts, in seconds.
BURST = 20
SECONDS_EACH = 3.0
#: Most addresses that are remembered; the ones that failed first are forgotten first.
MAX_ADDRESSES = 10_000


class Failures:
    """A leaking bucket for each address: one drop a failure, one leaks away in `SECONDS_EACH`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, share: Callable[[int], int] = lambda most: most) -> None:
        self._clock, self._share = clock, share
        #: When the bucket of an address will be empty.
        self._empty_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, address: str) -> int:
        """Seconds until the address may fail again; 0: now."""
        if not self._empty_at:
            return 0
        left = self._empty_at.get(group(address), 0.0) - self._clock() - (self._share(BURST) - 1) * SECONDS_EACH
        return math.ceil(left) if left > 0 else 0

    def add(self, address: str) -> bool:
        """Count a failure. :return: it was the last that the address may have for now."""
        name, now = group(address), self._clock()
        with self._lock:
            # Taken out and put back: the order of the dict is that of the last failures.
            empty_at = max(self._empty_at.pop(name, now), now) + SECONDS_EACH
            if len(self._empty_at) >= MAX_ADDRESSES:
                del self._empty_at[next(iter(self._empty_at))]
            self._empty_at[name] = empty_at
        return empty_at - now > (self._share(BURST) - 1) * SECONDS_EACH


def group(address: str) -> str:
    """An IPv6 client has 2^64 addresses to choose from: its network counts as one."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or IPv6Address(int(ip) >> 64 << 64))
    return str(ip)
