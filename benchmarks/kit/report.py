"""The page `docs/benchmarks.md`, with its plots, from the results; and the lines that a run prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.kit.figure import Bar, Outcome, Spread


def number(value: float) -> str:
    """Three significant digits, thousands grouped."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(found: Spread, unit: str) -> str:
    text = number(found.median) + (unit if unit == "x" else f" {unit}")
    return text if found.low == found.high else f"{text} ({number(found.low)}-{number(found.high)})"


def bar_text(bar: Bar) -> str:
    limit = number(bar.limit) + (bar.unit if bar.unit == "x" else f" {bar.unit}")
    return f"{bar.must} {limit}"


def text(outcome: Outcome) -> str:
    lines = [f"   {row.name:40} {spread(row.spread, row.unit)}" for row in outcome.rows]
    lines += [
        f"   bar {bar.number:2} {bar.what:50} {spread(bar.spread, bar.unit):28} {bar_text(bar):12} {'ok' if bar.reached else 'NOT REACHED'}"
        for bar in outcome.bars
    ]
    return "\n".join(lines)


def write(results: Mapping[str, Any], order: Sequence[str]) -> None:
    """Write the page."""
