"""Plain commands by the names of the table of keys: what needs no script, because it reads, or because it may be lost or doubled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis

from pipeline_jobs.store.connection import raise_as_ours, store_errors
from pipeline_jobs.store.keys import Keys
from pipeline_jobs.store.wire import Wire

#: Members of a large set that are asked for at once.
CHUNK = 500


class Reader:
    """Looks into the store of a cell. Every method raises `StoreUnavailable` when the server cannot be asked."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client, self.wire, self.keys = client, Wire(client), Keys(prefix)

    def close(self) -> None:
        """Close the connections of the client, and this thread's own; used again it connects anew."""
        self.wire.close()
        self.client.close()

    def pools(self) -> list[str]:
        """The names of all pools that there ever were, `default` (the empty one) first."""
        return ["", *(self.text("pools") or "").split()]

    def keys_of_pools(self) -> list[Keys]:
        """The keys of each."""
        return [Keys(self.keys.prefix, pool) for pool in self.pools()]

    def now(self) -> int:
        """The server's clock, in ms."""
        seconds, micros = self._call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def exists(self, key: str, *parts: str) -> bool:
        return bool(self._call("EXISTS", self.keys(key, *parts)))

    def any_exists(self, *keys: str) -> bool:
        """Whether one of these is there: keys that have no parts."""
        return bool(self._call("EXISTS", *map(self.keys, keys)))

    def text(self, key: str, *parts: str) -> str | None:
        """A string; None: it is not set."""
        found = self._call("GET", self.keys(key, *parts))
        return None if found is None else str(found)

    def set_text(self, value: str, key: str, *parts: str, once: bool = False) -> None:
        """:param once: only if it is not set yet."""
        self._call("SET", self.keys(key, *parts), value, *(("NX",) if once else ()))

    def record(self, key: str, *parts: str) -> dict[str, str]:
        """A hash; empty: there is none."""
        return mapping(self._call("HGETALL", self.keys(key, *parts)))

    def records(self, key: str, ids: Iterable[Sequence[str]]) -> list[dict[str, str]]:
        """Several, each by the parts of its key, in one round trip; empty where there is none."""
        return self._together([("HGETALL", self.keys(key, *parts)) for parts in ids])

    def fields(self, names: Sequence[str], key: str, *parts: str) -> list[str | None]:
        """Some fields of a hash."""
        return list(self._call("HMGET", self.keys(key, *parts), *names))

    def fields_of_each(self, names: Sequence[str], key: str, ids: Iterable[str]) -> list[list[str | None]]:
        """Some fields of several hashes, in one round trip."""
        return self._together([("HMGET", self.keys(key, one), *names) for one in ids])

    def lines(self, key: str, *parts: str, most: int = 0) -> list[str]:
        """A list from its beginning. :param most: so many; 0: all."""
        return list(self._call("LRANGE", self.keys(key, *parts), 0, most - 1))

    def drop_line(self, line: str, key: str, *parts: str) -> None:
        """Take the first line that is this one out of a list."""
        self._call("LREM", self.keys(key, *parts), 1, line)

    def lists(self, key: str, ids: Iterable[str]) -> list[list[str]]:
        """Several, in one round trip."""
        return self._together([("LRANGE", self.keys(key, one), 0, -1) for one in ids])

    def members(self, key: str, *parts: str) -> list[str]:
        """A sorted set, the lowest score first."""
        return list(self._call("ZRANGE", self.keys(key, *parts), 0, -1))

    def members_from(self, lowest: float, key: str, *parts: str) -> dict[str, int]:
        """The members of a sorted set from a score on, the lowest first, each with its score."""
        flat = self._call("ZRANGEBYSCORE", self.keys(key, *parts), f"{lowest:.0f}", "+inf", "WITHSCORES")
        return {member: int(float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)}

    def top(self, most: int, key: str, *parts: str) -> dict[str, int]:
        """The members of a sorted set with the highest scores, the highest first."""
        flat = self._call("ZREVRANGE", self.keys(key, *parts), 0, most - 1, "WITHSCORES")
        return {member: int(float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)}

    def due(self, now: int, most: int, key: str, *parts: str) -> list[str]:
        """The members of a sorted set of times (ms) whose time has come."""
        return list(self._call("ZRANGEBYSCORE", self.keys(key, *parts), "-inf", now, "LIMIT", 0, most))

    def walk(self, key: str, *parts: str) -> Iterator[str]:
        """The members of a sorted set of orders, the lowest first, chunk by chunk; it may change meanwhile."""
        after = "-inf"
        while flat := self._call("ZRANGEBYSCORE", self.keys(key, *parts), after, "+inf", "WITHSCORES", "LIMIT", 0, CHUNK):
            yield from flat[::2]
            after = f"({float(flat[-1]):.0f}"

    def is_member(self, member: str, key: str, *parts: str) -> bool:
        """Of a sorted set."""
        return self._call("ZSCORE", self.keys(key, *parts), member) is not None

    def sizes(self, indexes: Sequence[Sequence[str]]) -> list[int]:
        """How many members sorted sets have, each by the name and the parts of its key."""
        return self._together([("ZCARD", self.keys(*index)) for index in indexes])

    def names(self, key: str, *parts: str) -> set[str]:
        """A set."""
        return set(self._call("SMEMBERS", self.keys(key, *parts)))

    def streams(self, most: int, indexes: Sequence[Sequence[str]], *, before: str | None = None) -> list[list[tuple[str, dict[str, str]]]]:
        """The newest entries of streams, each by the name and the parts of its key, the newest first.

        :param before: those before this id.
        """
        highest = "+" if before is None else f"({before}"
        return self._together([("XREVRANGE", self.keys(*index), highest, "-", "COUNT", most) for index in indexes])

    def spans(self, spans: Sequence[tuple[Sequence[str], str, str]]) -> list[list[tuple[str, dict[str, str]]]]:
        """Entries of streams, each by the name and the parts of its key, from an id up to another one."""
        return self._together([("XRANGE", self.keys(*index), lowest, highest) for index, lowest, highest in spans])

    def texts_below(self, highest: str, most: int, key: str, *parts: str) -> list[str]:
        """The members of a sorted set that are sorted as texts, the highest first."""
        return list(self._call("ZRANGE", self.keys(key, *parts), highest, "-", "BYLEX", "REV", "LIMIT", 0, most))

    def info(self, section: str) -> dict[str, Any]:
        """What the server says of itself."""
        with store_errors():
            return dict(self.client.info(section))

    def memory(self) -> dict[str, str]:
        """What the server says of its memory, as texts: submits ask ten times a second, and redis-py takes longer to read the lines than
        the server to write them."""
        with store_errors():
            told: str = self.wire.call("INFO", "memory")
        return dict(line.split(":", 1) for line in told.splitlines() if ":" in line)

    def setting(self, name: str) -> str | None:
        """A setting of the server; None: it does not tell, as a hosted one."""
        with store_errors():
            try:
                value = dict(self.client.config_get(name)).get(name)
            except redis.ResponseError:
                return None
        return value if value is None else str(value)

    def _call(self, *command: Any) -> Any:
        try:
            return self.wire.call(*command)
        except Exception as error:
            raise_as_ours(error)
            raise

    def _together(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """In one round trip."""
        with store_errors(), self.client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return list(pipe.execute())


def mapping(flat: Sequence[str]) -> dict[str, str]:
    """Field, value, field, value, ... as a mapping."""
    each = iter(flat)
    return dict(zip(each, each, strict=True))
