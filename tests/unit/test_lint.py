"""The linter, the type checker and bandit, as tests, so that `make test` is the one command."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


SHIPPED = ("pipeline_jobs", "celery_app.py", "wsgi.py", "flowerconfig.py")
BANDIT = ("bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", *SHIPPED)


@pytest.mark.parametrize("command", [("ruff", "check", "."), ("mypy",), BANDIT], ids=["ruff", "mypy", "bandit"])
def test_it_is_clean(command: tuple[str, ...]) -> None:
    found = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_ruff_and_bandit_are_told_the_same() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    of_ruff = {f"B{rule[1:]}" for rule in tools["ruff"]["lint"]["ignore"] if re.match(r"S\d", rule)}
    assert set(tools["bandit"]["skips"]) == of_ruff | {"B404"}


def test_what_bandit_is_to_pass_over_has_a_reason() -> None:
    files = [file for name in SHIPPED for file in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))]
    marked = [line for file in files for line in file.read_text("utf-8").splitlines() if "# nosec" in line]
    assert marked
    assert [line for line in marked if not re.search(r"# noqa: S(\d+) - \w.+  # nosec B\1$", line)] == []
