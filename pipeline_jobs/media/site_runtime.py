"""What sites need whose pages must be computed by JavaScript: the extra `[sites]` (deno, by its path only, and yt-dlp's own scripts)."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

#: Memory of the child, in bytes, and of the JavaScript engine that it starts: V8 does not begin with less.
MEMORY_BYTES = 1024**3
EXTRA = "pipeline-jobs[sites]"


def program() -> str | None:
    """The only program that a site's child may start, or None: the extra is not installed."""
    deno = Path(sysconfig.get_path("scripts"), "deno")
    return str(deno) if importlib.util.find_spec("yt_dlp_ejs") is not None and deno.is_file() else None


def runtimes() -> dict[str, Any]:
    """As yt-dlp's parameter `js_runtimes`. Empty: none, and nothing is looked for on PATH."""
    path = program()
    return {"deno": {"path": path}} if path else {}
