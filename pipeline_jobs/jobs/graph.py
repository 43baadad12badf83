"""The graph of a workflow: what its jobs are called and which of them need which, checked, and drawn as Mermaid text or as SVG."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pipeline_jobs.job import dumps
from pipeline_jobs.states import JobStatus

#: The name of a job in its workflow.
NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Dependencies of all jobs of a workflow.
MAX_EDGES = 3_000
#: Most names of a circle that its error has.
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Links:
    """What makes a workflow of a batch. Jobs are named by their numbers; each comes after those that it needs."""

    names: Sequence[str]
    #: Of each job those of the batch that it needs.
    needs: Sequence[Sequence[int]]
    #: For the fingerprint of its Idempotency-Key.
    form: str
    #: Of each job the ids of others that it needs, and more fields of its record; none: no job has any.
    kept: Sequence[Sequence[str]] = ()
    fields: Sequence[Sequence[str]] = ()
    retry_of: str | None = None
    #: Batches of those others: what they gave is kept until this one has ended.
    needed: Sequence[str] = ()

    def own(self, number: int, ids: Sequence[str]) -> list[str]:
        """The fields of a job's record. :param ids: of all jobs."""
        needs = [*(ids[need] for need in self.needs[number]), *(self.kept[number] if self.kept else ())]
        after = ["depends_on", dumps(needs)] if needs else []
        return ["name", self.names[number], *after, *(self.fields[number] if self.fields else ())]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one of the names."""

    #: Which job of the request.
    number: int
    field: str
    message: str


def faults(names: Sequence[str], needs: Sequence[Sequence[str]]) -> list[Fault]:
    """What is wrong with the names of jobs, and with those that each job needs."""
    first: dict[str, int] = {}
    found = []
    for number, name in enumerate(names):
        if not NODE_NAME.fullmatch(name):
            found.append(Fault(number, "name", f"must match {NODE_NAME.pattern}"))
        elif first.setdefault(name, number) != number:
            found.append(Fault(number, "name", f"{name} is the name of jobs.{first[name]}, too"))
    for number, needed in enumerate(needs):
        for place, name in enumerate(needed):
            if name not in first:
                found.append(Fault(number, f"depends_on.{place}", f"there is no job {name} in this workflow"))
    return found or _circle(first, names, needs)


def _circle(first: Mapping[str, int], names: Sequence[str], needs: Sequence[Sequence[str]]) -> list[Fault]:
    try:
        graphlib.TopologicalSorter(dict(zip(names, needs, strict=True))).prepare()
    except graphlib.CycleError as error:
        ring = error.args[1][:-1]
        begin = min(range(len(ring)), key=lambda place: first[ring[place]])
        circle = [*ring[begin:], *ring[: begin + 1]]
        shown = circle if len(circle) <= MOST_NAMED else [*circle[: MOST_NAMED - 1], "...", circle[-1]]
        return [Fault(first[circle[-1]], "depends_on", f"the jobs depend on each other in a circle: {' -> '.join(shown)}")]
    return []


def in_order(needs: Sequence[Collection[int]]) -> list[int]:
    """The numbers of jobs so that each comes after those that it needs, else as they are. There is no circle."""
    level = levels(needs)
    return sorted(range(len(needs)), key=lambda number: (level[number], number))


def levels(needs: Sequence[Collection[int]]) -> list[int]:
    """How many jobs, at most, come one after the other before each. There is no circle."""
    found = [0] * len(needs)
    for number in graphlib.TopologicalSorter(dict(enumerate(needs))).static_order():
        found[number] = max((found[need] + 1 for need in needs[number]), default=0)
    return found


def behind(needs: Sequence[Collection[int]], starts: Collection[int]) -> set[int]:
    """Those, and all that need one of them, directly or not."""
    found = set(starts)
    for number in in_order(needs):
        if not found.isdisjoint(needs[number]):
            found.add(number)
    return found


@dataclass(frozen=True, slots=True)
class Drawn:
    """A job as it is drawn."""

    name: str
    job_id: str
    #: None: its record is gone.
    status: JobStatus | None
    needs: tuple[int, ...]


#: Colours that can be read on a light and on a dark ground: of the border, and of the word for the status.
_COLOURS: Mapping[str, str] = {
    "queued": "#6b7480", "running": "#2f6fb3", "completed": "#2f7d5b", "failed": "#b5423c", "cancelled": "#8d949d", "gone": "#8d949d",
}  # fmt: skip


def _state(node: Drawn) -> str:
    return node.status.value if node.status else "gone"


def mermaid(nodes: Sequence[Drawn]) -> str:
    """A flowchart from left to right, each job with the class of its status."""
    lines = ["flowchart LR"]
    lines += [f'  n{number}["{node.name}"]:::{_state(node)}' for number, node in enumerate(nodes)]
    lines += [f"  n{need} --> n{number}" for number, node in enumerate(nodes) for need in node.needs]
    lines += [f"  classDef {state} stroke:{colour},stroke-width:2px" for state, colour in _COLOURS.items()]
    return "\n".join(lines) + "\n"


#: Of a box, and from one to the next, in pixels; how much of a name is shown.
_WIDTH, _HEIGHT, _RIGHT, _DOWN, _EDGE = 168, 42, 232, 58, 12
_SHOWN = 20


def svg(nodes: Sequence[Drawn], link: Callable[[Drawn], str]) -> str:
    """The same as a picture: a column a level, lines from each job to those that need it.

    Colours are attributes, so that the file stands alone, and classes, so that a page may give its own. It is a group: a picture
    (role `img`) has no links for whoever hears it.

    :param link: the address that a job's box leads to.
    """
    places = _places(nodes)
    width = max((x for x, _ in places), default=0) + _WIDTH + _EDGE
    height = max((y for _, y in places), default=0) + _HEIGHT + _EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="group" aria-label="{len(nodes)} jobs and what they depend on" font-family="sans-serif" font-size="13">'
    ]
    parts += _lines(nodes, places)
    parts += [_box(node, place, link(node)) for node, place in zip(nodes, places, strict=True)]
    return "\n".join([*parts, "</svg>\n"])


def _places(nodes: Sequence[Drawn]) -> list[tuple[int, int]]:
    """The upper left corner of each box. Within its column a job stands near those that it needs: fewer lines cross."""
    columns: dict[int, list[int]] = {}
    for number, level in enumerate(levels([node.needs for node in nodes])):
        columns.setdefault(level, []).append(number)
    rows: dict[int, int] = {}
    for _, column in sorted(columns.items()):
        column.sort(key=lambda number: (sum(rows[need] for need in nodes[number].needs) / max(1, len(nodes[number].needs)), number))
        rows.update({number: row for row, number in enumerate(column)})
    column_of = {number: level for level, column in columns.items() for number in column}
    return [(_EDGE + _RIGHT * column_of[number], _EDGE + _DOWN * rows[number]) for number in range(len(nodes))]


def _lines(nodes: Sequence[Drawn], places: Sequence[tuple[int, int]]) -> Iterator[str]:
    middle, half = _HEIGHT // 2, (_RIGHT - _WIDTH) // 2
    for node, (x, y) in zip(nodes, places, strict=True):
        for need in node.needs:
            left, top = places[need][0] + _WIDTH, places[need][1] + middle
            curve = f"M{left} {top} C{left + half} {top} {x - half} {y + middle} {x} {y + middle}"
            yield f'<path class="edge" d="{curve}" fill="none" stroke="#8a929c" stroke-width="1.5"/>'


def _box(node: Drawn, place: tuple[int, int], link: str) -> str:
    (x, y), state = place, _state(node)
    colour, shown = _COLOURS[state], node.name if len(node.name) <= _SHOWN else node.name[: _SHOWN - 1] + "…"
    return (
        f'<a href="{escape(link)}"><g class="node {state}"><title>{escape(node.name)}: {state}</title>'
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#fff" stroke="{colour}" stroke-width="2"/>'
        f'<text class="name" x="{x + 10}" y="{y + 18}" fill="#2b3038">{escape(shown)}</text>'
        f'<text class="state" x="{x + 10}" y="{y + 34}" fill="{colour}" font-size="11">{state}</text></g></a>'
    )
