"""What a figure is made of: contenders measured in turn, their samples, and the bars these are held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.kit.bench import Bench


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some samples, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Row:
    """One contender's samples, one a round."""

    name: str
    unit: str
    values: Sequence[float]

    @property
    def spread(self) -> Spread:
        return Spread.of(self.values)


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio (or a figure with a unit) of each round, and what it must be."""

    number: int
    what: str
    #: `>=` or `<=`.
    must: str
    limit: float
    values: Sequence[float]
    unit: str = "x"

    @property
    def spread(self) -> Spread:
        return Spread.of(self.values)

    @property
    def reached(self) -> bool:
        median = self.spread.median
        return median >= self.limit if self.must == ">=" else median <= self.limit


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a plot: `(x, y)`."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of lines, x on a logarithmic scale."""

    name: str
    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_y: bool = False


@dataclass(slots=True)
class Outcome:
    """What a figure gives."""

    rows: list[Row] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    #: What is compared with what, and how.
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Outcome:
        """What `to_dict` gave, after JSON."""
        return cls(
            [Row(**row) for row in found["rows"]],
            [Bar(**bar) for bar in found["bars"]],
            [Plot(**{**plot, "lines": [Line(**line) for line in plot["lines"]]}) for plot in found["plots"]],
            list(found["notes"]),
        )


@dataclass(frozen=True, slots=True)
class Figure:
    """One file's figure."""

    name: str
    title: str
    run: Callable[[Bench], Outcome]
    #: Part of the short form that CI runs.
    quick: bool = False


def alternate(rounds: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure each contender once a round, every other round in the opposite order: what drifts on the machine hits all alike."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders)
        for name in names if number % 2 == 0 else reversed(names):
            samples[name].append(contenders[name]())
    return samples


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours by theirs, round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]
