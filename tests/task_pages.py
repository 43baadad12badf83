"""The pages of an operator's tasks as the tests read them: of each task when it is due, its steps, how it is seen that it worked, how it is
undone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.stack import ROOT

PAGES = ("sizing", "deploy", "upgrade", "backup", "disaster", "scale-out")
#: What is said beside tasks.
NO_TASKS = frozenset(("When SCHEMA is raised",))
PARTS = ("When.", "Steps.", "It worked", "Undo.")
_SECTION = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_PART = re.compile(rf"^\*\*({'|'.join(map(re.escape, PARTS))})\*\*", re.MULTILINE)
_COMMANDS = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Task:
    """The blocks of commands of each part."""

    #: The names of its parts, in their order.
    parts: tuple[str, ...]
    steps: tuple[str, ...]
    worked: tuple[str, ...]
    undo: tuple[str, ...]


def tasks(page: str) -> dict[str, Task]:
    """Those of a page, by their headings."""
    text = (ROOT / f"docs/howto/{page}.md").read_text("utf-8")
    return {title: _task(body) for title, body in _SECTION.findall(text) if title not in NO_TASKS}


def task(page: str, title: str) -> Task:
    return tasks(page)[title]


def _task(body: str) -> Task:
    _, *found = _PART.split(body)
    said = dict(zip(found[::2], found[1::2], strict=True))
    steps, worked, undo = (tuple(_COMMANDS.findall(said.get(name, ""))) for name in PARTS[1:])
    return Task(tuple(found[::2]), steps, worked, undo)
