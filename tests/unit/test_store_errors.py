"""A server that is away, or cannot answer now, is `StoreUnavailable` wherever it is asked, and no error of the client library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.settings import Settings
from pipeline_jobs.store import guard
from pipeline_jobs.store.store import Store, connect
from tests.cases import each

PACKAGE = Path(__file__).resolve().parents[2] / "pipeline_jobs"
#: What asks the server; `pubsub` and `register_script` only make something here.
COMMANDS = {name for name in dir(redis.Redis) if not name.startswith("_")} - {"pubsub", "register_script", "close", "connection_pool"}
#: Callers of these methods translate the errors: `Reader._call`, `Runner`.
TRANSLATED_OUTSIDE = {"wire.py"}


def unguarded(tree: ast.AST, inside: bool = False) -> Iterator[str]:
    """Commands on a `.client` of a store that are sent outside of `with store_errors()`."""
    for node in ast.iter_child_nodes(tree):
        now = inside or (isinstance(node, ast.With) and "store_errors()" in map(ast.unparse, (item.context_expr for item in node.items)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not now:
            owner = ast.unparse(node.func.value)
            if node.func.attr in COMMANDS and (owner in ("self.client", "self._client") or owner.endswith("store.client")):
                yield f"{node.lineno}: {owner}.{node.func.attr}"
        yield from unguarded(node, now)


@each("path", [path for path in sorted(PACKAGE.glob("store/*.py")) if path.name not in TRANSLATED_OUTSIDE], ids=lambda path: path.name)
def test_every_command_of_the_store_is_sent_where_its_errors_are_translated(path: Path) -> None:
    assert list(unguarded(ast.parse(path.read_text("utf-8")))) == []


def test_nobody_outside_of_store_sends_commands_without_it() -> None:
    strays = {
        path.name: found
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "store"
        and (found := [one for one in unguarded(ast.parse(path.read_text("utf-8"))) if "store.client" in one])
    }
    assert strays == {}


def test_the_look_finds_what_it_should() -> None:
    text = (
        "with a, store_errors():\n    self.client.get(1)\nself.client.get(2)\nx.store.client.info()\n"
        "with b:\n    self.client.pubsub()\n    store.client.set(1)"
    )
    assert list(unguarded(ast.parse(text))) == ["3: self.client.get", "4: x.store.client.info", "7: store.client.set"]


def test_a_server_that_goes_away_between_two_questions_of_the_guard_is_away() -> None:
    with pytest.raises(StoreUnavailable):
        guard.writes_before_it_answers(Store(connect("redis://127.0.0.1:1/0"), Settings()))
