"""`docs/recipes.md`: each step names a place that there is, and a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cases import each
from tests.unit.test_failures_doc import named_in

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {
    part.splitlines()[0]: re.findall(r"^\d+\. .*$", part, re.MULTILINE)
    for part in (ROOT / "docs/recipes.md").read_text("utf-8").split("\n## ")[1:]
}
STEP = re.compile(r"\d+\. `([\w/.]+)`.*: .+\. Forgotten: `(tests/[\w/]+\.py)::(\w+)`")
#: The thirteen, and a route.
WANTED = (
    "field of a job",
    "stage",
    "media output",
    "quality",
    "limit",
    "webhook event",
    "command",
    "setting",
    "metric",
    "page",
    "role",
    "script",
    "pipeline",
    "route",
)


def test_there_is_a_recipe_for_each() -> None:
    assert list(RECIPES) == [f"A {thing}" for thing in WANTED]


@each("step", [step for steps in RECIPES.values() for step in steps])
def test_a_step_names_its_place_and_the_test_that_misses_it(step: str) -> None:
    found = STEP.fullmatch(step)
    assert found, step
    place, file, test = found.groups()
    assert (ROOT / place).exists(), place
    assert test in named_in(ROOT / file), f"{file} has no {test}"
