"""Tests wait for events, however slow the machine is: what races with the clock is found here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.cases import each

TESTS = Path(__file__).resolve().parents[1]
#: Not these: bars that measure (`tests/heavy` is no part of `make test`), and what is run beside them.
FILES = sorted(path for path in TESTS.rglob("test_*.py") if "heavy" not in path.parts)
#: A body may take a moment, if nothing depends on it, or longer than any test; in between it races with the test (`bodies.py`).
MOMENT, FOR_EVER = 1, 600
#: The least that a test waits for what must come.
PATIENCE = 60
CLOCKS = {"time.monotonic()", "time.perf_counter()", "time.time()"}


def number(node: ast.AST | None) -> float | None:
    return float(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) else None


def hasty(source: str) -> Iterator[str]:
    """What in a test's text depends on how fast the machine is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            given = {word.arg: word.value for word in node.keywords}
            if name in ("until", "until_status"):
                waits = number(given.get("seconds") or (node.args[2] if name == "until" and len(node.args) > 2 else None))
                if waits is not None and waits < PATIENCE:
                    yield f"line {node.lineno}: it waits only {waits:g} s"
            timeout = given.get("timeout") or given.get("shutdown_timeout")
            if timeout is None and name in ("join", "result", "stop", "wait") and node.args and isinstance(node.func, ast.Attribute):
                timeout = node.args[-1]
            if MOMENT < (limit := number(timeout) or 0) < PATIENCE:
                yield f"line {node.lineno}: it waits only {limit:g} s"
            if name == "config_resetstat" or (name == "info" and node.args and ast.unparse(node.args[0]) == "'commandstats'"):
                yield f"line {node.lineno}: it counts what others do at the server: tests.commands"
            if name in ("submit", "create") and isinstance(params := given.get("params"), ast.Dict):
                for key, value in zip(params.keys, params.values, strict=True):
                    seconds = number(value)
                    if isinstance(key, ast.Constant) and key.value == "seconds" and seconds is not None and MOMENT <= seconds < FOR_EVER:
                        yield f"line {node.lineno}: a body of {seconds:g} s: hold it (Stack.hold) and tell it when to end"
            if name == "sleep":
                yield f"line {node.lineno}: it sleeps: wait for an event (tests.waiting.until)"
        if isinstance(node, ast.Assert):
            differences = [one for one in ast.walk(node) if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Sub)]
            if any(ast.unparse(one.left) in CLOCKS for one in differences):
                yield f"line {node.lineno}: it asserts how long something took"


@each("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_races_with_the_clock(path: Path) -> None:
    assert list(hasty(path.read_text("utf-8"))) == []


@each(
    "source",
    [
        "until(lambda: x, 'x', 5)",
        "stack.until_status(j, COMPLETED, seconds=20)",
        "stack.submit(params={'seconds': 6, 'steps': 60})",
        "requests.get(url, timeout=30)",
        "thread.join(10)",
        "client.wait(job_id, 30)",
        "client.info('commandstats')",
        "client.config_resetstat()",
        "time.sleep(1)",
        "assert time.monotonic() - began < 5",
    ],
)
def test_what_does_is_found(source: str) -> None:
    assert list(hasty(source))
