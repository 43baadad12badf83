"""What werkzeug compiles of a route is kept for all apps of a process.

More than a thousand tests have an app of their own, and for each of its 145 routes werkzeug compiles two functions that make an address:
0.08 of the 0.12 s of a processor that such a test took. What comes of a route depends on its text alone, unless it has defaults; the
converters are the rule's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule

Builder = Callable[..., tuple[str, str]]
_compile: Callable[[Rule, bool], Builder] = Rule._compile_builder
_kept: dict[Any, Builder] = {}


def keep() -> None:
    """From now on, in this process."""
    Rule._compile_builder = _compiled_once  # type: ignore[assignment,method-assign]


def _compiled_once(rule: Rule, append_unknown: bool = True) -> Builder:
    if rule.defaults:
        return _compile(rule, append_unknown)
    key = (rule.rule, *rule._trace, append_unknown)
    if key not in _kept:
        _kept[key] = _compile(rule, append_unknown)
    return _kept[key]
