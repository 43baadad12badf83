"""The audit log: what admins, operators and the command line did. Capped streams in the store, read as one, newest first.

Each tenant has streams of its own, and what the daily work writes (schedules, cancels, retries) has one of its own, so that no number of
such rows pushes out another tenant's, or who made a key or changed a limit (`lua/lib/audit.lua`).
Who writes a row gives words and numbers, never a secret; what looks like an API key is struck out all the same.
"""

from __future__ import annotations

import getpass
import json
import re
import secrets
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_jobs.exceptions import StoreFull
from pipeline_jobs.job import dumps, rfc3339
from pipeline_jobs.store.pages import Entry, Page, by_id, entry_order, stream_entries, stream_page
from pipeline_jobs.store.readable import readable
from pipeline_jobs.store.store import Store

#: What an action of the daily work begins with: whoever may submit jobs can write any number of them.
WORK = ("schedule.", "job.", "jobs.", "batch.", "delivery.")
#: Longest text of one field, in characters.
MAX_TEXT = 2_000
#: Whose the rows are that are no tenant's: what only admins of all tenants do.
INSTALLATION = "*"

_KIND = "audit row"
#: Streams that one script sweeps.
_SWEPT = 20
#: Rows that one script puts in order, and that an export reads at once.
_CHUNK = 100

_SECRET = re.compile(r"(pjk_[0-9a-f]{16})_[A-Za-z0-9_-]{16,}")


@dataclass(frozen=True, slots=True)
class Row:
    """One action in the audit log."""

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

    def to_line(self) -> str:
        """The same as a line of JSON."""
        return f"{dumps(self.to_dict())}\n"


def record(
    store: Store,
    actor: str | None,
    action: str,
    target: str,
    detail: Mapping[str, Any] | None = None,
    *,
    tenant_id: str = INSTALLATION,
) -> None:
    """Write a row.

    :param actor: who did it; None: this process (`process_actor`).
    :param tenant_id: whose row it is: it takes the place of this tenant's older rows. What a tenant's own admin cannot do is the
        installation's, so that no tenant can push it out.
    :raises StoreUnavailable: it could not be written, as far as is known.
    """
    by, what, whose, encoded = texts(actor or process_actor(), action, target, detail)
    kind = "work" if action.startswith(WORK) else "security"
    store.run("audit", kind=kind, tenant=tenant_id, actor=by, action=what, target=whose, detail=encoded)


def page(store: Store, cursor: str | None = None, limit: int = 25) -> Page[Row]:
    """Rows, newest first. It costs as many commands as it has rows and a few, however many tenants there are; but from an upgrade on until
    `order` has run, one or two for each tenant.

    :raises InvalidInput: the cursor is not one of ours.
    """
    return stream_page(_entries(store, cursor, limit + 1), limit, _row, kind=_KIND)


def page_of(store: Store, tenant_id: str, cursor: str | None = None, limit: int = 25) -> Page[Row]:
    """The same of a tenant's own rows alone (`*`: of the installation's).

    :raises InvalidInput: the cursor is not one of ours.
    """
    own = [_key(kind, tenant_id) for kind in ("security", "work")]
    return stream_page(stream_entries(store, own, cursor), limit, _row, kind=_KIND)


def rows(store: Store, cursor: str | None = None) -> Iterator[Row]:
    """All rows, newest first, read as they are asked for.

    :raises InvalidInput: the cursor is not one of ours.
    :raises StoreUnavailable: also while they are read.
    """
    return readable(_entries(store, cursor, _CHUNK), _row, kind=_KIND)


def of_installation(store: Store) -> Iterator[Row]:
    """What only admins of all tenants do, newest first, read as it is asked for. No tenant's own rows are among these, however many it has.

    :raises StoreUnavailable: also while they are read.
    """
    return readable(stream_entries(store, [_key("security", INSTALLATION)], None), _row, kind=_KIND)


def work_between(store: Store, tenant_ids: Sequence[str], since: int, until: int) -> list[Row]:
    """What was done in the daily work of these tenants, oldest first, between two moments in Unix ms."""
    spans = [(_key("work", tenant_id), str(since), str(until)) for tenant_id in tenant_ids]
    found = sorted((entry for part in store.spans(spans) for entry in part), key=by_id)
    return list(readable(found, _row, kind=_KIND))


def sweep(store: Store, kept_seconds: float) -> None:
    """Remove the rows that are older."""
    while store.run("audit_sweep", kept=kept_seconds, limit=_SWEPT) == _SWEPT:
        pass


def order(store: Store) -> None:
    """Add to the order of all rows those that processes of the version before wrote. On a full server a later call does it.

    :raises StoreUnavailable: the next call begins anew.
    """
    name = secrets.token_hex(8)
    if store.run("audit_order", named=name, ended=False):
        return
    try:
        for kind, tenant in [("security", INSTALLATION), ("work", INSTALLATION), *_named(store)]:
            after = "-"
            while after:
                after = store.run("audit_order_rows", kind=kind, tenant=tenant, after=after, limit=_CHUNK)
    except StoreFull:
        return
    store.run("audit_order", named=name, ended=True)


def _entries(store: Store, cursor: str | None, chunk: int) -> Iterator[Entry]:
    """:param chunk: so many are read at once. :raises InvalidInput: the cursor is not one of ours."""
    place = entry_order(cursor)
    if store.run("audit_order", named="", ended=False):
        return _ordered(store, f"({place}" if place else "+", chunk)
    return stream_entries(store, [("audit",), ("audit_work",), *(("tenant_audit", *one) for one in _named(store))], cursor)


def _ordered(store: Store, highest: str, chunk: int) -> Iterator[Entry]:
    """Chunk by chunk as the order of all names their streams. What is not in its stream any more is passed over."""
    while members := store.texts_below(highest, chunk, "audit_order"):
        ids: defaultdict[str, list[str]] = defaultdict(list)
        for member in members:
            place, _, stream = member.partition(":")
            ids[stream].append("-".join(str(int(part)) for part in place.split("-")))
        spans = [(_key(*stream.split(":", 1)), found[-1], found[0]) for stream, found in ids.items()]
        yield from sorted((entry for part in store.spans(spans) for entry in part), key=by_id, reverse=True)
        highest = f"({members[-1]}"


def _named(store: Store) -> list[tuple[str, str]]:
    """Class and tenant of each stream; the installation's own may have rows of a version that had no index, and are left out."""
    named = [name.partition(":")[::2] for name in store.members("audit_streams")]
    return [one for one in named if one[1] != INSTALLATION]


def _key(kind: str, tenant_id: str) -> Sequence[str]:
    """The name and the parts of a stream's key."""
    if tenant_id == INSTALLATION:
        return ("audit_work",) if kind == "work" else ("audit",)
    return ("tenant_audit", kind, tenant_id)


def _row(found: Entry) -> Row:
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
