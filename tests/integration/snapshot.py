"""What a cell's store holds, read in two round trips: a recount asks for hundreds of values, after each step of a random history."""

from __future__ import annotations

from typing import Any

from pipeline_jobs.store.store import Store

#: Of each key its type and value, by the commands that read them. A stream (events, logs) is nothing that is counted, nor is a list.
_READ = """
local read = {hash = 'HGETALL', set = 'SMEMBERS', string = 'GET'}
local found = {}
for n, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  local value = false
  if kind == 'zset' then
    value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif read[kind] then
    value = redis.call(read[kind], key)
  elseif ARGV[1] == 'all' and kind == 'list' then
    value = redis.call('LRANGE', key, 0, -1)
  elseif ARGV[1] == 'all' then
    value = redis.call('XRANGE', key, '-', '+')
  end
  found[n] = {kind, value}
end
return found
"""
#: Of a large store, keys that one script reads.
FEW = 2000


class Snapshot:
    """Answers some of the commands of a client, by the values of one moment (of a large store: of a few)."""

    def __init__(self, store: Store, *, of_all: bool = False) -> None:
        """:param of_all: with other programs' keys on the server, and with streams and lists."""
        self.kinds: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        # A key may be scanned twice.
        names = list(dict.fromkeys(store.client.scan_iter("*" if of_all else store.keys.prefix + "*", count=10_000)))
        for start in range(0, len(names), FEW):
            some = names[start : start + FEW]
            for name, (kind, value) in zip(some, store.client.eval(_READ, len(some), *some, "all" if of_all else ""), strict=True):
                self.kinds[name] = kind
                pairs = dict(zip(value[::2], value[1::2], strict=True)) if kind in ("hash", "zset") else None
                self._values[name] = value if pairs is None else pairs

    def everything(self) -> dict[str, Any]:
        """The values of all keys: hashes and sorted sets as dicts of strings, the rest as lists or strings."""
        return self._values

    def after(self, prefix: str, kind: str) -> dict[str, Any]:
        """The values of a type under all keys with this prefix, by what follows it."""
        return {
            name.removeprefix(prefix): self._values[name] for name in self.kinds if name.startswith(prefix) and self.kinds[name] == kind
        }

    def hash(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self._of("hash", name, {})
        return found

    def zset(self, name: str) -> dict[str, str]:
        """Its members with their scores."""
        found: dict[str, str] = self._of("zset", name, {})
        return found

    def set(self, name: str) -> list[str]:
        found: list[str] = self._of("set", name, [])
        return found

    def text(self, name: str) -> str:
        return str(self._of("string", name, ""))

    def number(self, name: str) -> int:
        return int(self._of("string", name, "0"))

    def _of(self, kind: str, name: str, nothing: Any) -> Any:
        """As the server has it: a key that is not there is empty, and one of another type is an error."""
        assert self.kinds.get(name, kind) == kind, f"{name} is a {self.kinds[name]}"
        return self._values.get(name, nothing)
