"""The Lua scripts: each is its own file; behind its `#!lua` line goes what it needs of `lua/lib/`, and no more.

A script's whole text runs at each call, so that each shared function costs a fifth of a microsecond even if nobody calls it, and a function
that builds a key the same again. Therefore only the definitions that a script refers to are put before it, and keys are built in place
(docs/decisions/0003-what-a-script-costs.md has the figures).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from pipeline_jobs.keys import built_in_place

NAMES = (
    "submit", "claim", "progress", "finish", "cancel", "requeue", "announce", "rescue", "reconcile", "delete", "purge", "list",
    "tick", "beat", "why", "set_limits", "set_pipeline_cap", "change", "submit_batch", "cancel_page", "list_batches", "settle",
    "upload_create", "upload_lock", "upload_advance", "upload_remove", "upload_sweep",
    "keep_outputs", "events", "feed",
    "schedule_put", "schedule_plan", "schedule_fire", "schedule_remove",
    "webhooks_claim", "webhooks_settle", "webhooks_redeliver", "webhooks_purge", "webhooks_erase",
    "webhooks_create", "webhooks_update", "webhooks_rotate", "webhooks_test",
)  # fmt: skip

#: The shared functions, each file leaning on those before it.
LIBRARY = (
    "base", "uploads", "outbox", "events", "telling", "outputs", "pages", "batches", "indexes", "known", "fair",
    "rates", "pace", "dependencies", "queue", "ending", "admission", "settling", "accept", "schedules",
)  # fmt: skip

_DEFINES = re.compile(r"local (?:function )?([\w, ]+)")
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_]\w*")


def source(name: str) -> str:
    """The whole text of a script: its `#!lua` line first, then the shared definitions it needs and its own body."""
    folder = files("pipeline_jobs") / "lua"
    shebang, _, body = (folder / f"{name}.lua").read_text("utf-8").partition("\n")
    shared = [(folder / "lib" / f"{part}.lua").read_text("utf-8") for part in LIBRARY]
    return compose(shebang, shared, body)


def compose(shebang: str, shared: list[str], body: str) -> str:
    """One text: of the definitions in `shared` only those that the body refers to, directly or through others."""
    needed = [_COMMENT.sub("", body)]
    wanted = set(_WORD.findall(needed[0]))
    for definition in reversed([one for text in shared for one in _definitions(text)]):
        defines = _DEFINES.match(definition)
        if defines is None:
            raise ValueError(f"not a local definition: {definition.splitlines()[0]}")
        if wanted.intersection(_WORD.findall(defines[1])):
            needed.append(definition)
            wanted.update(_WORD.findall(definition))
    return "\n".join([shebang, "local P = KEYS[1]", *(built_in_place(text) for text in reversed(needed))])


def _definitions(text: str) -> Iterator[str]:
    """The pieces of a library file: each starts at the margin with `local`, what follows is indented or closes it."""
    piece: list[str] = []
    for line in _COMMENT.sub("", text).splitlines():
        if line[:1] not in ("", " ", "e", "}") and piece:
            yield "\n".join(piece)
            piece = []
        if line:
            piece.append(line)
    if piece:
        yield "\n".join(piece)
