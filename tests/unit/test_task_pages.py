"""The pages of an operator's tasks have all that a task has, and a test does each."""

from __future__ import annotations

import re

from tests.cases import each
from tests.stack import ROOT
from tests.task_pages import PAGES, PARTS, Task, tasks

TASKS = {(page, title): one for page in PAGES for title, one in tasks(page).items()}
#: Those of containers and of Kubernetes are in the tests that have them.
DONE_BY = (
    "tests/acceptance/test_tasks.py", "tests/acceptance/bar_tasks.py", "tests/docker/bar_docker.py", "tests/chart/bar_chart.py",
)  # fmt: skip
DOES = re.compile(r"\btask\(\"([^\"]+)\", \"([^\"]+)\"\)")


@each(("page", "title"), TASKS)
def test_a_task_says_when_how_whether_it_worked_and_how_it_is_undone(page: str, title: str) -> None:
    one: Task = TASKS[page, title]
    assert one.parts == PARTS
    assert one.steps
    assert one.worked


def test_a_test_does_each_task_and_the_index_has_each_page() -> None:
    done = {found for file in DONE_BY for found in DOES.findall((ROOT / file).read_text("utf-8"))}
    assert done == set(TASKS)
    index = (ROOT / "docs/operations.md").read_text("utf-8")
    assert [page for page in PAGES if f"](howto/{page}.md)" not in index] == []


def test_the_figures_are_those_of_the_pages_that_they_are_from() -> None:
    rows = re.findall(
        r"^\| [^|]+ \| ([\d,]+)(?: B)? \| \[\w+\]\(\.\./(\w+\.md)", (ROOT / "docs/howto/sizing.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) == 7
    assert [
        (figure, page) for figure, page in rows if not re.search(rf"(?<![\d,]){figure}(?![\d,])", (ROOT / "docs" / page).read_text("utf-8"))
    ] == []
