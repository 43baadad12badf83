"""What Jinja compiles of a template is kept for all apps of a process, as what werkzeug compiles of a route is (`kept_routes.py`).

Hundreds of tests ask an app of their own for a page, and each such app read, parsed and compiled all templates of that page. What comes of
a template depends on its text, its name and how the environment is set; what is compiled runs in the environment that asks for it.
"""

from __future__ import annotations

from types import CodeType
from typing import Any

from jinja2 import Environment

_compile: Any = Environment.compile
_kept: dict[tuple[Any, ...], CodeType] = {}
#: What the compiler asks an environment for. Filters and tests it calls with what is written in the template itself.
ASKED = (
    "block_start_string", "block_end_string", "variable_start_string", "variable_end_string", "comment_start_string",
    "comment_end_string", "line_statement_prefix", "line_comment_prefix", "trim_blocks", "lstrip_blocks", "newline_sequence",
    "keep_trailing_newline", "optimized", "sandboxed", "undefined", "is_async",
)  # fmt: skip


def keep() -> None:
    """From now on, in this process."""
    Environment.compile = _compiled_once  # type: ignore[method-assign,assignment]


def _compiled_once(
    environment: Environment, source: Any, name: str | None = None, filename: str | None = None, raw: bool = False, defer_init: bool = False
) -> Any:
    if raw or defer_init or not isinstance(source, str):
        return _compile(environment, source, name, filename, raw, defer_init)
    key = (source, name, filename, *_of(environment, name))
    if key not in _kept:
        _kept[key] = _compile(environment, source, name, filename)
    return _kept[key]


def _of(environment: Environment, name: str | None) -> tuple[Any, ...]:
    escapes = environment.autoescape
    return (
        type(environment), *(getattr(environment, asked) for asked in ASKED), escapes(name) if callable(escapes) else escapes,
        frozenset(environment.extensions), frozenset(environment.filters.items()), frozenset(environment.tests.items()),
    )  # fmt: skip
