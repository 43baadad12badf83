"""Plots as SVG, made by hand: bars with their spread, and lines over a logarithmic x."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from benchmarks.kit.figure import Plot, Row

OURS, THEIRS, GREY, TEXT = "#2f6fde", "#9aa5b1", "#cbd2d9", "#52606d"
COLOURS = ("#2f6fde", "#d6453d", "#2a9d8f", "#e9a23b", "#8e5bd0", "#5f6b7a")
WIDTH = 900


def _svg(height: float, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" font-size="12"'
        f' fill="{TEXT}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def bars(title: str, rows: Sequence[Row]) -> str:
    """A bar for the median of each row, a thin line from its lowest sample to its highest; rows of one unit."""
    left, step, top = 330, 22, 40
    most = max(row.spread.high for row in rows) or 1.0
    scale = (WIDTH - left - 110) / most
    parts = [f'<text x="20" y="22" font-weight="bold">{escape(title)} ({escape(rows[0].unit)})</text>']
    for number, row in enumerate(rows):
        y, found = top + number * step, row.spread
        colour = OURS if row.name.startswith("ours") else GREY if row.name.startswith(("limit", "hello")) else THEIRS
        parts += [
            f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect x="{left}" y="{y}" width="{max(found.median * scale, 0.5):.1f}" height="15" fill="{colour}"/>',
            f'<line x1="{left + found.low * scale:.1f}" x2="{left + found.high * scale:.1f}"'
            f' y1="{y + 7.5}" y2="{y + 7.5}" stroke="{TEXT}"/>',
            f'<text x="{left + found.high * scale + 6:.1f}" y="{y + 12}">{_number(found.median)}</text>',
        ]
    return _svg(top + len(rows) * step + 12, parts)


def lines(plot: Plot) -> str:
    """A line for each name; both axes logarithmic where told."""
    left, top, right, bottom = 80, 50, 180, 50
    width, height = WIDTH - left - right, 260
    xs = sorted({x for line in plot.lines for x, _ in line.points})
    ys = [y for line in plot.lines for _, y in line.points]
    low_x, high_x = math.log10(xs[0]), math.log10(xs[-1]) if xs[-1] > xs[0] else math.log10(xs[0]) + 1
    low_y, high_y = (math.floor(math.log10(max(min(ys), 1e-9))), math.ceil(math.log10(max(ys)))) if plot.log_y else (0.0, max(ys) * 1.08)

    def place(x: float, y: float) -> tuple[float, float]:
        share = (math.log10(max(y, 1e-9)) if plot.log_y else y) - low_y
        return left + (math.log10(x) - low_x) / (high_x - low_x) * width, top + height * (1 - share / (high_y - low_y or 1))

    parts = [f'<text x="20" y="22" font-weight="bold">{escape(plot.title)}</text>']
    for x in xs:
        at = place(x, ys[0])[0]
        parts += [
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + height}" stroke="{GREY}"/>',
            f'<text x="{at:.1f}" y="{top + height + 18}" text-anchor="middle">{x:,.0f}</text>',
        ]
    ticks = [10.0**n for n in range(int(low_y), int(high_y) + 1)] if plot.log_y else [high_y * n / 4 for n in range(5)]
    for y in ticks:
        at = place(xs[0], y)[1]
        parts += [
            f'<line x1="{left}" x2="{left + width}" y1="{at:.1f}" y2="{at:.1f}" stroke="{GREY}"/>',
            f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{_number(y)}</text>',
        ]
    ends: list[float] = []
    for number, line in enumerate(plot.lines):
        colour = COLOURS[number % len(COLOURS)]
        points = [place(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        # Labels at the end of their line, kept apart.
        at = points[-1][1] + 4
        while any(abs(at - other) < 14 for other in ends):
            at += 14
        ends.append(at)
        parts.append(f'<text x="{points[-1][0] + 8:.1f}" y="{at:.1f}" fill="{colour}">{escape(line.name)}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 38}" text-anchor="middle">{escape(plot.x)}</text>')
    parts.append(f'<text x="{left - 8}" y="{top - 12}" text-anchor="end">{escape(plot.y)}</text>')
    return _svg(top + height + bottom, parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
