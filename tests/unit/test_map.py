"""`docs/map.md`: one row for each of the forty questions, and each place that a row names exists and defines what the row says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.cases import each

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pipeline_jobs"
ROWS = [line for line in (ROOT / "docs/map.md").read_text("utf-8").splitlines() if re.match(r"\| (?!question)[^-]", line)]
QUESTIONS = re.findall(r"^\d+\. (.+)$", (ROOT / "docs/evidence/first_guess.md").read_text("utf-8"), re.MULTILINE)[:40]
PLACE = re.compile(r"`([\w/.]+\.(?:py|lua|js))(?:::([\w.]+))?`")
LUA = re.compile(r"^local function (\w+)", re.MULTILINE)


def defined_in(path: Path) -> set[str]:
    """Functions, classes, `Class.method` and constants of a Python file; functions of a Lua file."""
    text = path.read_text("utf-8")
    return set(LUA.findall(text)) if path.suffix == ".lua" else set(names_of(ast.parse(text).body))


def names_of(body: list[ast.stmt], prefix: str = "") -> list[str]:
    found: list[str] = []
    for node in body:
        if isinstance(node, ast.FunctionDef):
            found.append(prefix + node.name)
        elif isinstance(node, ast.ClassDef):
            found += [node.name, *names_of(node.body, f"{node.name}.")]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [prefix + target.id for target in targets if isinstance(target, ast.Name)]
    return found


def test_there_is_a_row_for_each_question_in_its_order() -> None:
    assert len(QUESTIONS) == 40
    assert [row.strip("|").split(" | ")[0].strip() for row in ROWS] == QUESTIONS


@each("row", ROWS, ids=lambda row: row[2:62])
def test_each_row_names_a_place_that_there_is_or_two(row: str) -> None:
    _, where, note = (cell.strip() for cell in row.strip("|").split(" | "))
    places = PLACE.findall(where)
    assert where == ", ".join(f"`{file}::{name}`" if name else f"`{file}`" for file, name in places)
    assert len(places) in (1, 2)
    for file, name in places:
        assert (PACKAGE / file).is_file(), file
        # A Python file is too large an answer; a script and a page's program are one thing.
        assert name or not file.endswith(".py"), file
        assert not name or name in defined_in(PACKAGE / file), f"{file} has no {name}"
    for file, _ in PLACE.findall(note):
        assert any(PACKAGE.rglob(Path(file).name)) or (ROOT / file).is_file(), file
