"""Pages of an index by `order`, newest first, with an opaque cursor."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.store import Store, store_errors


class Ordered(Protocol):
    """What has its place in an index."""

    @property
    def order(self) -> int: ...


Item = TypeVar("Item", bound=Ordered)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Items, newest first, and the cursor of the next page (None: the end)."""

    items: tuple[Item, ...]
    next_cursor: str | None


def page(store: Store, index: str, cursor: str | None, limit: int, load: Callable[[Sequence[str]], Sequence[Item]]) -> Page[Item]:
    """:raises InvalidInput: the cursor is not one of ours."""
    highest = "+inf" if cursor is None else f"({_read(cursor)}"
    with store_errors():
        ids: Any = store.client.zrevrangebyscore(index, highest, "-inf", 0, limit + 1)
    items = load(ids[:limit])
    more = len(ids) > limit and len(items) > 0
    return Page(tuple(items), _cursor(items[-1].order) if more else None)


def _cursor(order: int) -> str:
    return base64.urlsafe_b64encode(order.to_bytes(8, "big")).decode().rstrip("=")


def _read(cursor: str) -> int:
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != 8:
        raise InvalidInput("cursor is not one that a list gave", field="cursor")
    return int.from_bytes(raw, "big")
