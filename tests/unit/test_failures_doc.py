"""`docs/failures.md`: each row of its tables names a test that there is."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from pipeline_jobs.settings import env_names
from tests.cases import each

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/failures.md").read_text("utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(?:Test\w+::)?(\w+)`")
ROWS = [line for line in TEXT.splitlines() if line.startswith("|") and not line.startswith(("|---", "| what dies"))]


@cache
def named_in(path: Path) -> frozenset[str]:
    """Names of the test functions of a file, those of its classes too. Many rows name the same file: it is read once."""
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def test_there_are_rows() -> None:
    assert len(ROWS) > 30


@each("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_each_row_says_all_and_names_a_test_that_there_is(row: str) -> None:
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == 4
    assert all(cells)
    found = NAMED.fullmatch(cells[3])
    assert found, cells[3]
    path = ROOT / found[1]
    assert path.is_file(), found[1]
    assert found[2] in named_in(path), f"{found[1]} has no {found[2]}"


def test_every_setting_it_names_is_one() -> None:
    named = set(re.findall(r"\b(?:ENABLE_)?PIPELINE_[A-Z_]+", TEXT))
    assert named
    assert named <= set(env_names())


def test_every_file_it_names_is_there() -> None:
    for name in re.findall(r"`((?:tests/heavy/)?bar_\w+\.py)`", TEXT):
        assert (ROOT / "tests/heavy" / Path(name).name).is_file(), name
