"""Pages by cursor, newest first: the one way in which lists are read, whatever is in them."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.store.cursors import read_cursor, write_cursor
from pipeline_jobs.store.readable import readable
from pipeline_jobs.store.reader import Reader, mapping
from pipeline_jobs.store.runner import Runner

#: A cursor of a stream: the id of an entry.
_STREAM_CURSOR = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")
#: Maximum number of records that one page looks at where some are passed over; it may be short for that and still have a next one.
BUDGET = 1_000
#: Entries of a stream that are read at once.
_CHUNK = 25

Item = TypeVar("Item")
#: An entry of a stream: its id and its fields.
Entry = tuple[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Items, newest first, and the cursor of the next page (None: the end)."""

    items: tuple[Item, ...]
    next_cursor: str | None
    #: Records that were looked at for it, as far as its script tells.
    looked_at: int = field(default=0, compare=False)

    @classmethod
    def of(cls, reply: Any, make: Callable[[Mapping[str, str]], Item], *, kind: str) -> Page[Item]:
        """Of what a script replied: `next`, the order where the next page begins, and `records`. Those that cannot be read are left out.

        :param kind: what they are (`job`), for the log.
        """
        items = tuple(readable(map(mapping, reply.records), make, kind=kind))
        return cls(items, write_cursor(int(reply.next)) if reply.next else None, getattr(reply, "looked_at", 0))


def highest_order(cursor: str | None) -> str:
    """Where a page begins, as a script takes it. :raises InvalidInput: the cursor is not one of ours."""
    below = read_cursor(cursor)
    return "+inf" if below is None else f"({below}"


def page(
    store: Runner,
    kind: str,
    index: str,
    cursor: str | None,
    limit: int,
    make: Callable[[Mapping[str, str]], Item],
    *,
    workspace_id: str | None = None,
) -> Page[Item]:
    """Records of an index of orders.

    :param kind: the name of their key, which has one part.
    :param make: of a record.
    :param workspace_id: only those of this one, where its index is not the workspace's own: others are passed over.
    :raises InvalidInput: the cursor is not one of ours.
    """
    reply = store.run(
        "page", keys=[index], highest=highest_order(cursor), limit=limit, budget=BUDGET, record=store.keys(kind, ""), workspace=workspace_id
    )
    return Page.of(reply, make, kind=kind)


def stream_entries(store: Reader, indexes: Sequence[Sequence[str]], cursor: str | None) -> Iterator[Entry]:
    """Entries of streams that are read as one, newest first, as they are asked for: of any number of streams only a few each are held.

    :param indexes: of each stream the name and the parts of its key.
    :raises InvalidInput: the cursor is not one of ours.
    """
    entry_order(cursor)
    heads = store.streams(1, indexes, before=cursor)
    return heapq.merge(
        *(_rest(store, index, head) for index, head in zip(indexes, heads, strict=True)),
        key=lambda entry: entry_order(entry[0]),
        reverse=True,
    )


def stream_page(entries: Iterator[Entry], limit: int, make: Callable[[Entry], Item], *, kind: str) -> Page[Item]:
    """A page of those entries."""
    found = list(islice(entries, limit + 1))
    return Page(tuple(readable(found[:limit], make, kind=kind)), found[limit - 1][0] if len(found) > limit else None)


def entry_order(entry_id: str | None) -> str:
    """A text that sorts as the ids of entries do; none: empty. :raises InvalidInput: it is not one of ours."""
    if entry_id is None:
        return ""
    if not _STREAM_CURSOR.fullmatch(entry_id):
        raise InvalidInput("cursor must be one that a list returned", field="cursor")
    return "-".join(part.zfill(15) for part in entry_id.split("-"))


def by_id(entry: Entry) -> str:
    """What entries are sorted by."""
    return entry_order(entry[0])


def _rest(store: Reader, index: Sequence[str], chunk: Sequence[Entry]) -> Iterator[Entry]:
    while chunk:
        yield from chunk
        (chunk,) = store.streams(_CHUNK, [index], before=chunk[-1][0])
