"""Pages of an index by `order`, newest first, with an opaque cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipeline_jobs.store.cursors import read_cursor, write_cursor
from pipeline_jobs.store.store import Store, store_errors

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Items, newest first, and the cursor of the next page (None: the end)."""

    items: tuple[Item, ...]
    next_cursor: str | None


def page(store: Store, index: str, cursor: str | None, limit: int, load: Callable[[Sequence[str]], Sequence[Item]]) -> Page[Item]:
    """:raises InvalidInput: the cursor is not one of ours."""
    below = read_cursor(cursor)
    highest = "+inf" if below is None else f"({below}"
    with store_errors():
        members: Any = store.client.zrevrangebyscore(index, highest, "-inf", 0, limit + 1, withscores=True)
    items = load([name for name, _ in members[:limit]])
    return Page(tuple(items), write_cursor(int(members[limit - 1][1])) if len(members) > limit else None)
