"""The audit log: what admins, operators and the command line did. Two capped streams in the store, read as one, newest first.

What the daily work writes (schedules, cancels, retries) has a stream of its own, so that no number of such rows pushes out who made a key
or changed a limit.
Who writes a row gives words and numbers, never a secret; what looks like an API key is struck out all the same.
"""

from __future__ import annotations

import getpass
import heapq
import json
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import dumps, rfc3339
from pipeline_jobs.store.keys import Key
from pipeline_jobs.store.readable import readable
from pipeline_jobs.store.store import Store, store_errors

#: Families of keys beside those of `keys.KEYS`.
KEYS: dict[str, Key] = {
    "audit": Key(
        "audit",
        "stream actor, action, target, detail",
        "The audit log: keys, limits, webhooks, erasures; its oldest rows go when it is longer than `MAX_ROWS`.",
    ),
    "audit_work": Key("audit:work", "stream, likewise", "The audit log: schedules, jobs, batches; likewise, `MAX_WORK_ROWS`."),
}

#: What an action of the daily work begins with: whoever may submit jobs can write any number of them.
WORK = ("schedule.", "job.", "jobs.", "batch.", "delivery.")
#: About so many rows are kept, of those and of the others.
MAX_WORK_ROWS = 10_000
MAX_ROWS = 50_000
#: Longest text of one field, in characters.
MAX_TEXT = 2_000

#: Part of a script, `P` is the prefix. The id is later than any in either stream: one order over both, and a cursor is one id.
#: (`~`: the server trims whole blocks, which costs nothing.)
_ADD = """
do
  local t = redis.call('time')
  local ms, n = t[1] * 1000 + math.floor(t[2] / 1000), 0
  for _, stream in ipairs({{'audit', 'audit:work'}}) do
    for _, top in ipairs(redis.call('xrevrange', P .. stream, '+', '-', 'count', 1)) do
      local top_ms, top_n = string.match(top[1], '(%d+)-(%d+)')
      top_ms, top_n = tonumber(top_ms), tonumber(top_n)
      if top_ms > ms or (top_ms == ms and top_n >= n) then ms, n = top_ms, top_n + 1 end
    end
  end
  redis.call('xadd', P .. {stream}, 'maxlen', '~', {most}, string.format('%.0f-%.0f', ms, n),
    'actor', {actor}, 'action', {action}, 'target', {target}, 'detail', {detail})
end
"""
#: Written at a full server too: what was done must leave its trace.
_RECORD = "#!lua flags=allow-oom\nlocal P = KEYS[1]\n" + _ADD.format(
    stream="ARGV[5]", most="ARGV[6]", actor="ARGV[1]", action="ARGV[2]", target="ARGV[3]", detail="ARGV[4]"
)

_SECRET = re.compile(r"(pjk_[0-9a-f]{16})_[A-Za-z0-9_-]{16,}")
_CURSOR = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was done."""

    #: The stream's own id, `{ms}-{n}`: the order of the rows and the cursor of a page.
    row_id: str
    #: `key:{key_id}`, `cli:{user}@{host}`, `flower:...`, `code:...`, or `loopback` (no key was needed).
    actor: str
    #: `key.created`, `key.revoked`, `limits.changed`, `tenant.erased`, `job.cancelled`, ...
    action: str
    #: What it was done to: a key's, job's or tenant's id.
    target: str
    detail: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """`{"id", "at", "actor", "action", "target", "detail"}`."""
        return {
            "id": self.row_id,
            "at": rfc3339(int(self.row_id.partition("-")[0])),
            "actor": self.actor,
            "action": self.action,
            "target": self.target,
            "detail": dict(self.detail),
        }


def record(store: Store, actor: str | None, action: str, target: str, detail: Mapping[str, Any] | None = None) -> None:
    """Write a row. A reply that was lost may double it.

    :param actor: who did it; None: this process (`process_actor`).
    :raises StoreUnavailable: it could not be written, as far as is known.
    """
    stream, most = ("audit_work", MAX_WORK_ROWS) if action.startswith(WORK) else ("audit", MAX_ROWS)
    with store_errors():
        values = texts(actor or process_actor(), action, target, detail)
        store.client.eval(_RECORD, 1, store.keys.prefix, *values, KEYS[stream].pattern, most)


def part_of_script(actor: str, action: str, target: str, detail: str) -> str:
    """Lua that writes a row of the first stream, for a script that has the prefix in `P`; the other arguments are Lua expressions."""
    return _ADD.format(stream=f"'{KEYS['audit'].pattern}'", most=MAX_ROWS, actor=actor, action=f"'{action}'", target=target, detail=detail)


def page(store: Store, cursor: str | None = None, limit: int = 25) -> tuple[list[Row], str | None]:
    """Rows, newest first, and the cursor of the next page (None: the end).

    :raises InvalidInput: the cursor is not one of ours.
    """
    if cursor is not None and not _CURSOR.fullmatch(cursor):
        raise InvalidInput("cursor is not one that a list gave", field="cursor")
    highest = "+" if cursor is None else f"({cursor}"
    with store_errors(), store.client.pipeline(transaction=False) as pipe:
        for key in KEYS.values():
            pipe.xrevrange(store.keys.prefix + key.pattern, highest, "-", count=limit + 1)
        streams: Any = pipe.execute()
    found = list(islice(heapq.merge(*streams, key=lambda entry: _order(entry[0]), reverse=True), limit + 1))
    return list(readable(found[:limit], _row, kind="audit row")), found[limit - 1][0] if len(found) > limit else None


def _row(found: tuple[str, Mapping[str, str]]) -> Row:
    row_id, row = found
    return Row(row_id, row["actor"], row["action"], row["target"], json.loads(row["detail"]))


def _order(row_id: str) -> tuple[int, ...]:
    return tuple(map(int, row_id.split("-")))


def texts(actor: str, action: str, target: str, detail: Mapping[str, Any] | None) -> list[str]:
    """The fields of a row as they are stored: cut to `MAX_TEXT`, what looks like a key's secret struck out."""
    encoded = _clean(dumps(dict(detail or {})))
    if len(encoded) > MAX_TEXT:
        encoded = dumps({"cut": encoded[: MAX_TEXT // 2]})
    return [*(_clean(text)[:MAX_TEXT] for text in (actor, action, target)), encoded]


def process_actor(word: str | None = None) -> str:
    """Who this process acts for when it is not the API: `cli:{user}@{host}`, `flower:...` in Flower, `code:...` in a program of a team's.

    :param word: instead of what the command line says.
    """
    if word is None:
        program = Path(sys.argv[0])
        # `celery ...`, `python -m celery ...`
        of_celery = "celery" in (program.name, program.parent.name)
        word = "flower" if "flower" in sys.argv[1:] else "cli" if of_celery else "code"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        user = "unknown"
    return f"{word}:{user}@{socket.gethostname()}"


def _clean(text: str) -> str:
    return _SECRET.sub(r"\1_***", text)
