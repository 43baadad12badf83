"""The Lua scripts, loaded once: each is its own file behind the key builder and the shared functions of `lua/lib.lua`."""

from __future__ import annotations

from importlib.resources import files

from pipeline_jobs.keys import lua_builder

NAMES = (
    "submit", "claim", "progress", "finish", "cancel", "requeue", "announce", "rescue", "reconcile", "delete", "purge", "list",
)  # fmt: skip


def source(name: str) -> str:
    """The whole text of a script: its `#!lua` line first, then key builder, shared functions and its own body."""
    folder = files("pipeline_jobs") / "lua"
    own = (folder / f"{name}.lua").read_text("utf-8")
    shebang, _, body = own.partition("\n")
    library = "" if "no-writes" in shebang else (folder / "lib.lua").read_text("utf-8")
    return "\n".join([shebang, lua_builder(), library, body])
