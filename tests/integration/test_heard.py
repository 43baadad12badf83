"""What is published is heard whole, and once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.heard import heard
from tests.servers import Server

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("pattern", ["*", "told:*"])
def test_what_was_published_is_all_there_whenever_one_asks(server: Server, pattern: str) -> None:
    with server.client() as client, server.client() as other, heard(client, pattern) as since:
        assert since() == []
        for number in range(500):
            other.publish(f"told:{number}", number)
            other.publish("aside", number)
        messages = [message["channel"] for message in since() if message["channel"] != "aside"]
        assert messages == [f"told:{number}" for number in range(500)]
        assert since() == []
        other.publish("told:last", "")
        assert [message["channel"] for message in since()] == ["told:last"]


def test_nobody_looks_at_a_subscription_for_a_moment_to_see_it_begin() -> None:
    """A `get_message` with less than the patience of a test, whose answer is thrown away, waits for the confirmation and may miss it."""
    asked = [
        (path.relative_to(TESTS).as_posix(), node.value)
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func).endswith(".get_message")
    ]
    assert [(path, ast.unparse(call)) for path, call in asked if [ast.unparse(word) for word in call.keywords] != ["timeout=60"]] == []
