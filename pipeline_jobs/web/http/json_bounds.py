"""How many parts the JSON of a body may have. Each costs time in the parser, in the validation and in the list of what is wrong with it:
a megabyte of unknown keys held the process for a second."""

from __future__ import annotations

from typing import Any

#: Most values in a body, and most keys of one object. A model of a body says so if it may have more (`max_elements`).
MAX_ELEMENTS, MAX_KEYS = 10_000, 1_000
_STARTS = (b",", b"[", b"{")


def elements(data: bytes) -> int:
    """How many commas and containers the JSON has outside of its texts: about its values, and never less than half of them."""
    outside = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    return sum(map(outside.count, _STARTS))


def has_too_many(data: bytes, most: int) -> bool:
    """It has more than `most` elements. The usual body is shorter than that."""
    if len(data) <= most or sum(map(data.count, _STARTS)) <= most:
        return False
    # An element has two texts at most, its key and itself: counting quotes is much quicker than taking the texts out.
    return data.count(b'"') - data.count(b'\\"') > 4 * most or elements(data) > most


def has_too_many_keys(value: Any) -> bool:
    """An object in it, however deep, has more than `MAX_KEYS` keys."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if len(one) > MAX_KEYS:
                return True
            one = one.values()
        elif not isinstance(one, list):
            continue
        todo.extend(child for child in one if isinstance(child, dict | list))
    return False
