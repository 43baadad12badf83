"""The Lua scripts, loaded once: each is its own file behind the key builder and the shared functions of `lua/lib/`."""

from __future__ import annotations

from importlib.resources import files

from pipeline_jobs.keys import lua_builder

NAMES = (
    "submit", "claim", "progress", "finish", "cancel", "requeue", "announce", "rescue", "reconcile", "delete", "purge", "list",
    "tick", "beat", "why", "set_limits", "set_pipeline_cap", "change",
    "schedule_put", "schedule_plan", "schedule_fire", "schedule_remove",
)  # fmt: skip

#: The shared functions, each file leaning on those before it.
LIBRARY = ("base", "fair", "queue", "ending", "accept", "schedules", "admission")


def source(name: str) -> str:
    """The whole text of a script: its `#!lua` line first, then key builder, shared functions and its own body."""
    folder = files("pipeline_jobs") / "lua"
    own = (folder / f"{name}.lua").read_text("utf-8")
    shebang, _, body = own.partition("\n")
    library = [] if name == "list" else [(folder / "lib" / f"{part}.lua").read_text("utf-8") for part in LIBRARY]
    return "\n".join([shebang, lua_builder(), *library, body])
