"""The server's clock, set by a test: every stored time is made older or newer. (`chaos/clock.py` sets a real one.)"""

from __future__ import annotations

import re

from pipeline_jobs.store.keys import KEYS, POOL
from pipeline_jobs.store.store import Store

_MS = re.compile(r"\b1\d{12}\b")


def set_clock(store: Store, ms: int) -> None:
    """As if the server's clock had been set forward by so much (negative: back), or the server had stood still so long.

    Every time in the store is so much older afterwards: scores of the sets that the table of keys says are of ms, and text that is a time.
    """
    client = store.client
    for name, key in KEYS.items():
        for found in client.scan_iter(store.keys.prefix + key.pattern.replace("@", POOL).replace("{}", "*"), count=1000):
            kind = client.type(found)
            if key.type.startswith("zset ms") and kind == "zset":
                for member, score in client.zrange(found, 0, -1, withscores=True):
                    client.zadd(found, {_older(member, ms): score - ms})
            elif name in ("job", "share", "pace", "upload", "schedule", "delivery") and kind == "hash":
                client.hset(found, mapping={field: _older(value, ms) for field, value in client.hgetall(found).items()})
            elif name in ("seen", "server", "heartbeat", "rate", "sender_rate") and kind == "string":
                client.set(found, _older(client.get(found), ms))


def _older(text: str, ms: int) -> str:
    return _MS.sub(lambda time: str(int(time[0]) - ms), text)
