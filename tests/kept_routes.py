"""What werkzeug compiles of a route is kept for all apps of a process.

More than a thousand tests have an app of their own, and each app has 145 routes. Of each werkzeug reads the text, and compiles two
functions that make an address: 0.1 of the 0.12 s of a processor that such a test took. What comes of a route depends on its text alone,
unless it has defaults, a host, or converters of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.routing.rules import RulePart

_compile: Callable[[Rule], None] = Rule.compile


class _Compiled(NamedTuple):
    """What `Rule.compile` gives a rule."""

    parts: list[RulePart]
    trace: list[tuple[bool, str]]
    #: None of werkzeug's own looks at the map that it was made for.
    converters: dict[str, BaseConverter]
    #: Functions of the rule.
    build: Any
    build_unknown: Any


_kept: dict[tuple[str, bool | None], _Compiled] = {}


def keep() -> None:
    """From now on, in this process."""
    Rule.compile = _compiled_once  # type: ignore[assignment,method-assign]


def _compiled_once(rule: Rule) -> None:
    if not _by_its_text(rule):
        return _compile(rule)
    key = (rule.rule, rule.merge_slashes)
    if key not in _kept:
        _compile(rule)
        made: Any = rule
        _kept[key] = _Compiled(rule._parts, rule._trace, rule._converters, made._build.__func__, made._build_unknown.__func__)
    _give(rule, _kept[key])
    return None


def _by_its_text(rule: Rule) -> bool:
    of: Map | None = rule.map
    return of is not None and not (rule.defaults or rule.subdomain or of.host_matching) and of.converters == Map.default_converters


def _give(rule: Rule, kept: _Compiled) -> None:
    rule._parts, rule._trace, rule._converters = list(kept.parts), list(kept.trace), dict(kept.converters)
    rule.arguments |= rule._converters.keys()
    rule._build, rule._build_unknown = kept.build.__get__(rule), kept.build_unknown.__get__(rule)
