"""The graph of a workflow by itself: names, circles, levels, pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_jobs.jobs import graph
from pipeline_jobs.jobs.graph import Drawn
from pipeline_jobs.states import JobStatus

PATIENT = settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
SVG = "{http://www.w3.org/2000/svg}"


def test_good_names_and_edges_have_no_fault() -> None:
    assert graph.faults(["a", "b-1", "C.x_y"], [["b-1", "C.x_y"], [], ["b-1"]]) == []


@pytest.mark.parametrize(
    ("names", "needs", "expected"),
    [
        (["a", "b", "a"], [[], [], []], (2, "name", "a is the name of jobs.0, too")),
        (["a", "-b"], [[], []], (1, "name", "must match")),
        (["a", "b\n"], [[], []], (1, "name", "must match")),
        (["a", "x" * 65], [[], []], (1, "name", "must match")),
        (["a", "b"], [[], ["a", "ghost"]], (1, "depends_on.1", "there is no job ghost in this workflow")),
        (["a"], [["a"]], (0, "depends_on", "in a circle: a -> a")),
        (["a", "b", "c", "d"], [["c"], ["a"], ["b"], []], (0, "depends_on", "in a circle: a -> b -> c -> a")),
    ],
)
def test_a_fault_is_named(names: list[str], needs: list[list[str]], expected: tuple[int, str, str]) -> None:
    (found,) = graph.faults(names, needs)
    assert (found.number, found.field) == expected[:2]
    assert expected[2] in found.message


def test_a_large_circle_is_named_in_part() -> None:
    names = [f"n{i}" for i in range(1000)]
    (found,) = graph.faults(names, [[names[i - 1]] for i in range(1000)])
    assert "..." in found.message
    assert len(found.message) < 400


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """Edges that go to lower numbers, shuffled: there is no circle."""
    n = draw(st.integers(1, 12))
    places = draw(st.permutations(range(n)))
    needs: list[list[int]] = [[] for _ in range(n)]
    for i in range(1, n):
        needs[places[i]] = [places[j] for j in draw(st.sets(st.integers(0, i - 1), max_size=3))]
    return needs


@given(graphs(), st.data())
@PATIENT
def test_order_levels_and_what_is_behind(needs: list[list[int]], data: st.DataObject) -> None:
    n = len(needs)
    order, level = graph.in_order(needs), graph.levels(needs)
    assert sorted(order) == list(range(n))
    assert all(order.index(need) < order.index(one) and level[need] < level[one] for one in range(n) for need in needs[one])
    assert all(level[one] == 1 + max((level[need] for need in needs[one]), default=-1) for one in range(n))
    start = data.draw(st.integers(0, n - 1))

    def needs_it(one: int) -> bool:
        return one == start or any(map(needs_it, needs[one]))

    assert graph.behind(needs, [start]) == {one for one in range(n) if needs_it(one)}
    names = [f"n{one}" for one in range(n)]
    assert graph.faults(names, [[names[need] for need in one] for one in needs]) == []


@given(graphs())
@PATIENT
def test_each_job_is_drawn_once_and_no_two_in_one_place(needs: list[list[int]]) -> None:
    picture = ET.fromstring(graph.svg(drawn(needs), lambda node: f"/jobs/{node.job_id}?a=1&b=2"))
    boxes = [(box.get("x"), box.get("y")) for box in picture.iter(SVG + "rect")]
    assert len(boxes) == len(set(boxes)) == len(needs)
    assert len(list(picture.iter(SVG + "path"))) == sum(map(len, needs))
    assert [link.get("href") for link in picture.iter(SVG + "a")] == [f"/jobs/job_{i}?a=1&b=2" for i in range(len(needs))]


def drawn(needs: Sequence[Sequence[int]]) -> list[Drawn]:
    statuses = [*JobStatus, None]
    return [Drawn(f"n{i}", f"job_{i}", statuses[i % len(statuses)], tuple(one)) for i, one in enumerate(needs)]


def test_mermaid_text() -> None:
    text = graph.mermaid(drawn([[], [0], [0, 1]]))
    assert text.splitlines()[:7] == [
        "flowchart LR", '  n0["n0"]:::queued', '  n1["n1"]:::running', '  n2["n2"]:::completed',
        "  n0 --> n1", "  n0 --> n2", "  n1 --> n2",
    ]  # fmt: skip
    assert {line.split()[1] for line in text.splitlines() if "classDef" in line} == {*JobStatus, "gone"}


def test_a_long_name_is_cut_in_the_picture_and_whole_in_its_title() -> None:
    name = "x" * 64
    picture = ET.fromstring(graph.svg([Drawn(name, "job_1", JobStatus.FAILED, ())], lambda node: "/"))
    assert [one.text for one in picture.iter(SVG + "title")] == [f"{name}: failed"]
    assert max(len(str(one.text)) for one in picture.iter(SVG + "text")) <= 20
