"""The audit log: what admins, operators and the command line did. A capped stream in the store, newest first when read.

Who writes a row gives words and numbers, never a secret; what looks like an API key is struck out all the same.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import dumps, rfc3339
from pipeline_jobs.keys import Key
from pipeline_jobs.readable import readable
from pipeline_jobs.store import Store, store_errors

#: Families of keys beside those of `keys.KEYS`.
KEYS: dict[str, Key] = {
    "audit": Key("audit", "stream actor, action, target, detail", "The audit log; its oldest rows go when it is longer than `MAX_ROWS`."),
}

#: About so many rows are kept.
MAX_ROWS = 10_000
#: Longest text of one field, in characters.
MAX_TEXT = 2_000

#: Part of a script, `P` is the prefix. (`~`: the server trims whole blocks, which costs nothing.)
ADD = """redis.call('xadd', P .. 'audit', 'maxlen', '~', {max},
  '*', 'actor', {actor}, 'action', {action}, 'target', {target}, 'detail', {detail})"""
_VALUES = {"max": MAX_ROWS, "actor": "ARGV[1]", "action": "ARGV[2]", "target": "ARGV[3]", "detail": "ARGV[4]"}
#: Written at a full server too: what was done must leave its trace.
_RECORD = "#!lua flags=allow-oom\nlocal P = KEYS[1]\nreturn " + ADD.format(**_VALUES)

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


def record(store: Store, actor: str, action: str, target: str, detail: Mapping[str, Any] | None = None) -> None:
    """Write a row. A reply that was lost may double it.

    :raises StoreUnavailable: it could not be written, as far as is known.
    """
    with store_errors():
        store.client.eval(_RECORD, 1, store.keys.prefix, *texts(actor, action, target, detail))


def page(store: Store, cursor: str | None = None, limit: int = 25) -> tuple[list[Row], str | None]:
    """Rows, newest first, and the cursor of the next page (None: the end).

    :raises InvalidInput: the cursor is not one of ours.
    """
    if cursor is not None and not _CURSOR.fullmatch(cursor):
        raise InvalidInput("cursor is not one that a list gave", field="cursor")
    highest = "+" if cursor is None else f"({cursor}"
    with store_errors():
        found: Any = store.client.xrevrange(store.keys.prefix + KEYS["audit"].pattern, highest, "-", count=limit + 1)
    return list(readable(found[:limit], _row, kind="audit row")), found[limit - 1][0] if len(found) > limit else None


def _row(found: tuple[str, Mapping[str, str]]) -> Row:
    row_id, row = found
    return Row(row_id, row["actor"], row["action"], row["target"], json.loads(row["detail"]))


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
