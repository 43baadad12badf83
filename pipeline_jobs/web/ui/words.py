"""How the page formats times, durations, sizes and reasons."""

from __future__ import annotations

import json
import time
from typing import Any
from zlib import crc32

from markupsafe import Markup, escape

from pipeline_jobs.job import rfc3339
from pipeline_jobs.operation.waits import briefly, frees, reason


def sentence(text: str) -> str:
    """With a capital at the beginning; the rest is somebody's own."""
    return text[:1].upper() + text[1:]


def span(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return "-"
    seconds = max(0.0, float(seconds))
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for size, unit, small, lesser in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit} {rest} {lesser}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def ago(milliseconds: int | None) -> str:
    """A moment as people say it: `now`, `12 s ago`, `in 5 min`."""
    if milliseconds is None:
        return "-"
    age = time.time() - milliseconds / 1000
    if abs(age) < 1.5:
        return "now"
    size = next(size for size in (86_400, 3600, 60, 1) if abs(age) >= size)
    about = span(round(abs(age) / size) * size)
    return f"{about} ago" if age > 0 else f"in {about}"


def utc(milliseconds: int | None) -> str:
    """A moment in full: `2025-01-03 12:00:00 UTC`."""
    if milliseconds is None:
        return "-"
    return f"{rfc3339(milliseconds) or ''}"[:19].replace("T", " ") + " UTC"


def iso(milliseconds: int | None) -> str:
    """A moment for programs, such as the page's script, which writes it in the reader's zone."""
    return rfc3339(milliseconds) or ""


def colour(name: str) -> str:
    """The class of a tenant's or a speaker's colour: one of six, the same each time. The name always stands beside it."""
    return f"t{crc32(name.encode()) % 6 + 1}"


def size(count: float | None) -> str:
    """Bytes: `512 B`, `1.5 MB`."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def clock(seconds: Any) -> str:
    """A place in a film: `0:07`, `1:02:03`."""
    whole = int(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e9 else 0
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def coded(text: str) -> Markup:
    """A text of ours, or of a pipeline's author, with what stands between backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts))


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def number(value: float | int | None) -> str:
    """`12,345`, `0.5`; nothing: a dash."""
    return "-" if value is None else f"{value:,.10g}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


FILTERS = (reason, briefly, frees, sentence, span, ago, utc, iso, colour, size, clock, coded, pretty, number, percent)
