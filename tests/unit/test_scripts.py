"""The Lua scripts as text: their contract headers, and that every key is built from the one table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline_jobs.store import keys, scripts

FOLDER = Path(scripts.__file__).parents[1] / "lua"
NAMES = sorted(scripts.places())


@pytest.mark.parametrize("name", NAMES)
def test_a_script_opens_with_its_contract(name: str) -> None:
    lines = scripts.places()[name].read_text("utf-8").splitlines()
    assert re.fullmatch(r"#!lua( flags=(allow-oom|no-writes))?", lines[0])
    header = "\n".join(line for line in lines[1:12] if line.startswith("--"))
    assert "KEYS: prefix" in header
    assert "ARGV: " in header
    assert "Returns " in header


def test_only_what_must_go_on_in_a_full_server_may_write_there() -> None:
    allowed = {name for name in NAMES if "allow-oom" in scripts.source(name).partition("\n")[0]}
    assert allowed == {
        "announce", "beat", "cancel", "cancel_page", "delete", "finish", "keep_outputs", "progress", "purge", "reconcile", "requeue",
        "rescue", "schedule_remove", "settle", "tick", "upload_remove", "upload_sweep",
        "webhooks_claim", "webhooks_erase", "webhooks_purge", "webhooks_settle",
    }  # fmt: skip


def test_no_script_types_a_key_itself() -> None:
    for path in FOLDER.rglob("*.lua"):
        for call in re.findall(r"redis\.call\('[A-Z]+', *([^,)]+)", path.read_text("utf-8")):
            built = r"K\.\w+\(|new\.key|KEYS\[2\]|QUEUE|key$|unpack\(keys$|day$|lane$|'celery-task-meta-' \.\. id"
            assert re.match(built, call), (path.name, call)


def test_every_script_is_known_and_every_known_one_is_there() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*/*.lua") if path.parent.name != "lib") == NAMES
    assert sorted(path.suffix for path in FOLDER.rglob("*.*")) == [".lua"] * len([*FOLDER.glob("*/*")])
    assert {path.stem for path in (FOLDER / "lib").glob("*.lua")} == set(scripts.LIBRARY)


def test_lua_and_python_build_the_same_keys() -> None:
    built = keys.Keys("p:")
    assert built("tenant_status", "acme", "queued") == "p:tenant:acme:status:queued"
    assert keys.built_in_place("f(K.tenant_status(t, to), K.ring())") == "f((P .. 'tenant:' .. t .. ':status:' .. to), (P .. 'ring'))"
    assert keys.built_in_place("K.usage_day(t, int(f(a, b)))") == "(P .. 'usage:' .. t .. ':' .. int(f(a, b)))"


@pytest.mark.parametrize("wrong", ["K.nothing(id)", "K.job()", "K.ring(id)", "K.job(id"])
def test_a_key_that_is_none_is_refused_when_the_script_is_made(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"key|bracket"):
        keys.built_in_place(wrong)


SHARED = """\
local A = 1
-- Says nothing of C.
local function f(x)
  return x + A
end

local B, C = 2, {
  'c'}
local function g() return 1 end
"""


def test_a_script_holds_what_it_refers_to_and_no_more() -> None:
    held = scripts.compose("#!lua", [SHARED], "return f(1)").splitlines()
    assert held == ["#!lua", "local P = KEYS[1]", "local A = 1", "local function f(x)", "  return x + A", "end", "return f(1)"]
    assert scripts.compose("#!lua", [SHARED], "return C").splitlines()[2:] == ["local B, C = 2, {", "  'c'}", "return C"]


def test_what_does_not_dispatch_carries_no_dispatch() -> None:
    assert "local function admit(" in scripts.source("finish")
    assert "local function admit(" not in scripts.source("claim")
