"""The Lua scripts as text: their contract headers, and that every key is built from the one table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline_jobs import keys, scripts

FOLDER = Path(scripts.__file__).parent / "lua"


@pytest.mark.parametrize("name", scripts.NAMES)
def test_a_script_opens_with_its_contract(name: str) -> None:
    lines = (FOLDER / f"{name}.lua").read_text("utf-8").splitlines()
    assert re.fullmatch(r"#!lua( flags=(allow-oom|no-writes))?", lines[0])
    header = "\n".join(line for line in lines[1:12] if line.startswith("--"))
    assert "KEYS: prefix" in header
    assert "ARGV: " in header
    assert "Returns " in header


def test_only_what_must_go_on_in_a_full_server_may_write_there() -> None:
    allowed = {name for name in scripts.NAMES if "allow-oom" in scripts.source(name).partition("\n")[0]}
    assert allowed == {
        "announce", "beat", "cancel", "delete", "finish", "progress", "purge", "reconcile", "requeue", "rescue", "schedule_remove", "tick",
    }  # fmt: skip


def test_no_script_types_a_key_itself() -> None:
    for path in FOLDER.rglob("*.lua"):
        for call in re.findall(r"redis\.call\('[A-Z]+', *([^,)]+)", path.read_text("utf-8")):
            assert re.match(r"K\.\w+\(|KEYS\[2\]|QUEUE|key$|day$|'celery-task-meta-' \.\. id", call), (path.name, call)


def test_every_script_is_known_and_every_known_one_is_there() -> None:
    assert {path.stem for path in FOLDER.glob("*.lua")} == set(scripts.NAMES)
    assert {path.stem for path in (FOLDER / "lib").glob("*.lua")} == set(scripts.LIBRARY)


def test_lua_and_python_build_the_same_keys() -> None:
    built = keys.Keys("p:")
    assert built("tenant_status", "acme", "queued") == "p:tenant:acme:status:queued"
    assert "function K.tenant_status(a0, a1) return P .. 'tenant:' .. a0 .. ':status:' .. a1 end" in keys.lua_builder()
    assert "function K.ring() return P .. 'ring' end" in keys.lua_builder()
