"""The Lua scripts, loaded once: each is its own file behind the key builder and the shared functions of `lua/lib/`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from pipeline_jobs.keys import lua_builder

NAMES = (
    "submit", "claim", "progress", "finish", "cancel", "requeue", "announce", "rescue", "reconcile", "delete", "purge", "list",
    "tick", "beat", "why", "set_limits", "set_pipeline_cap", "change", "submit_batch", "cancel_page", "list_batches",
)  # fmt: skip

#: The shared functions, each file leaning on those before it.
LIBRARY = (
    "base", "pages", "batches", "indexes", "fair", "dependencies", "queue", "ending", "settling", "accept", "admission",
)  # fmt: skip

_COMMENT = re.compile(r"(^|\s)--.*$", re.MULTILINE)
_NAMES = re.compile(r"local (?:function )?(\w+(?:, *\w+)*)")
_WORD = re.compile(r"\w+")
_KEY = re.compile(r"\bK\.(\w+)")


def source(name: str) -> str:
    """The whole text of a script: its `#!lua` line first, then of the key builder and the shared functions what it needs, and its own body.

    A server runs all of a script's text at each call and makes every function anew: what is not needed would cost each call some 0.1 µs.
    """
    own = (_folder() / f"{name}.lua").read_text("utf-8")
    shebang, _, body = own.partition("\n")
    needed = "\n".join([*_needed(body), body])
    return "\n".join([shebang, lua_builder(set(_KEY.findall(needed))), needed])


def _needed(body: str) -> list[str]:
    """The definitions of the library that a script's body leans on, directly or through others, in their order."""
    words, kept = set(_WORD.findall(_COMMENT.sub("", body))), list[str]()
    for names, text in reversed(definitions()):
        if not words.isdisjoint(names):
            words.update(_WORD.findall(text))
            kept.append(text)
    return kept[::-1]


@cache
def definitions() -> tuple[tuple[frozenset[str], str], ...]:
    """Everything that the library defines, in its order: names and text. Each definition begins with `local` at the start of a line."""
    whole = "\n".join((_folder() / "lib" / f"{part}.lua").read_text("utf-8") for part in LIBRARY)
    parts = re.split(r"^(?=local )", _COMMENT.sub("", whole), flags=re.MULTILINE)[1:]
    return tuple((frozenset(_NAMES.match(part)[1].replace(" ", "").split(",")), part) for part in parts)  # type: ignore[index]


def _folder() -> Traversable:
    return files("pipeline_jobs") / "lua"
