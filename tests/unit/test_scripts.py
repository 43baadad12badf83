"""The Lua scripts as text: what their headers declare, and that every key is built from the one table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.store import keys, scripts
from pipeline_jobs.store.contract import GROUPS, Contract, as_sent
from tests.cases import each

FOLDER = Path(scripts.__file__).parents[1] / "lua"
NAMES = sorted(scripts.places())
#: Lua's limit of names that are local to one text; how near we let it come.
MOST_LOCALS = 200


@each("name", NAMES)
def test_a_script_opens_with_what_it_is_for_and_what_it_replies(name: str) -> None:
    lines = scripts.places()[name].read_text("utf-8").splitlines()
    assert re.fullmatch(r"#!lua( flags=(allow-oom|no-writes))?", lines[0])
    header = [line for line in lines[1:25] if line.startswith("--")]
    assert re.match(r"-- [A-Z]", header[0])
    assert any(line.startswith(("--@reply", "-- Returns ")) for line in header)


@each("name", NAMES)
def test_a_script_uses_each_argument_that_it_declares(name: str) -> None:
    body = scripts._COMMENT.sub("", scripts.places()[name].read_text("utf-8"))
    assert [one for one in scripts.contract(name).names if not re.search(rf"\b{one}\b", body)] == []


@each("name", NAMES)
def test_a_script_reads_its_arguments_by_their_names_only(name: str) -> None:
    assert "ARGV" not in scripts.places()[name].read_text("utf-8")


def locals_of(text: str) -> int:
    """Names that are local to the whole text: each stands at the margin. Most of a function's text, and each script's own body, are within
    functions of their own."""
    parts = re.split(r"^local function (?:make|run)\(.*\)\n", text, flags=re.MULTILINE)
    return max(sum(len(names.split(",")) for names in _LOCALS.findall(part)) for part in parts)


_LOCALS = re.compile(r"^local (?:function )?([\w, ]+)", re.MULTILINE)


@each("name", NAMES)
def test_a_script_stays_below_the_names_that_lua_allows(name: str) -> None:
    assert locals_of(scripts.source(name)) < MOST_LOCALS
    assert locals_of(scripts.function(name).library) < MOST_LOCALS


def test_local_names_are_counted() -> None:
    assert locals_of("local P = KEYS[1]\nlocal a, b\nlocal function f(x)\n  local y = 1\nend\n") == 4


def test_a_function_looks_up_what_it_uses_of_libraries_once() -> None:
    body = "local at = string.find('next(x)', ARGV[1])\nreturn tonumber(at or redis.call('GET', KEYS[1]))\n"
    text = scripts.compose_function("test", "#!lua", [], body).library
    assert text.splitlines()[1:3] == [
        "local P, POOL, KEYS, ARGV, redis_call, string_find, lua_tonumber",
        "local function look_up() redis_call, string_find, lua_tonumber = redis.call, string.find, tonumber end",
    ]
    assert "local at = string_find('next(x)', ARGV[1])\nreturn lua_tonumber(at or redis_call('GET', KEYS[1]))\n" in text


def test_only_what_must_go_on_in_a_full_server_may_write_there() -> None:
    allowed = {name for name in NAMES if "allow-oom" in scripts.source(name).partition("\n")[0]}
    assert allowed == {
        "advance",
        "announce",
        "announce_process",
        "audit",
        "audit_order",
        "audit_sweep",
        "beat",
        "cancel_job",
        "cancel_page",
        "continue",
        "continued",
        "copy_done",
        "delete",
        "drop_kept",
        "drop_reused",
        "finish",
        "forget_tenant",
        "history_moved",
        "history_page",
        "keep_outputs",
        "key_erase",
        "key_revoke",
        "park",
        "process_lost",
        "progress",
        "purge",
        "purge_kept",
        "rank_tenants",
        "reconcile",
        "recount",
        "requeue",
        "rescue",
        "schedule_remove",
        "session_begin",
        "session_end",
        "settle",
        "tick",
        "trim",
        "try_artifacts",
        "upload_remove",
        "upload_sweep",
        "webhooks_claim",
        "webhooks_erase",
        "webhooks_purge",
        "webhooks_settle",
    }


def test_no_script_types_a_key_itself() -> None:
    for path in FOLDER.rglob("*.lua"):
        for call in re.findall(r"redis\.call\('[A-Z]+', *([^,)]+)", path.read_text("utf-8")):
            built = r"K\.\w+\(|new\.key|KEYS\[2\]|queue_of\(|key$|unpack\(keys$|2$|day$|lane$|record \.\. id$|\(P == 'pj:' and '' or P"
            assert re.match(built, call), (path.name, call)


def test_a_script_lies_in_the_folder_of_its_domain_and_its_name_stands_once() -> None:
    found = [path for path in FOLDER.glob("*/*") if path.parent.name != "lib"]
    assert sorted(path.stem for path in found) == NAMES
    assert {path.parent.name for path in found} == {"jobs", "batches", "uploads", "schedules", "webhooks", "keys", "cell", "history"}
    assert sorted(FOLDER.rglob("*.lua")) == sorted(FOLDER.glob("*/*"))
    assert {path.stem for path in (FOLDER / "lib").glob("*.lua")} == set(scripts.LIBRARY)


def test_no_two_families_of_keys_have_one_shape() -> None:
    patterns = [key.pattern for key in keys.KEYS.values()]
    assert len(set(patterns)) == len(patterns)


def test_lua_and_python_build_the_same_keys() -> None:
    built = keys.Keys("p:")
    assert built("tenant_status", "acme", "queued") == "p:tenant:acme:status:queued"
    assert (
        keys.built_in_place("f(K.tenant_status(t, to), K.ring())") == "f((P .. 'tenant:' .. t .. ':status:' .. to), (P .. 'ring' .. POOL))"
    )
    assert keys.built_in_place("K.lanes(t, w)") == "(P .. 'lanes' .. POOL .. ':' .. t .. ':' .. w)"
    assert built("lanes", "t", "w") == "p:lanes:t:w", "the pool `default` has the keys that there were before pools"
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
    assert held == [
        "#!lua",
        "local P, POOL, redis_call = KEYS[1], '', redis.call",
        "local function f(x)",
        "  return x + 1",
        "end",
        "local function run()",
        "return f(1)",
        "end",
        "return run()",
    ]
    assert scripts.compose("#!lua", [SHARED], "return C").splitlines()[2:5] == ["local B, C = 2, {", "  'c'}", "local function run()"]


def test_what_does_not_dispatch_carries_no_dispatch() -> None:
    assert "local function admit(" in scripts.source("finish")
    assert "local function admit(" not in scripts.source("progress")


# -- what a header declares

HEADER = """\
#!lua
-- Says what it does.
--@args id adopt:flag deadline:ms? note? fence:digits rate:real fields:pairs
--@settings events admits
--@reply 'ok' order hints
--@reply 'full' rest*
"""
GOOD: dict[str, Any] = {"id": "a", "adopt": True, "deadline": 5, "note": "n", "fence": 3, "rate": 0.5, "fields": {"x": 1, "y": "2"}}
SETTINGS = as_sent((10, 20, 30, 40.5, 50))


def test_arguments_have_names_on_both_sides() -> None:
    contract = Contract("test", HEADER)
    assert contract.arguments_line() == (
        "local id, adopt, deadline, note, fence, rate, fields = "
        "ARGV[1], ARGV[2] == '1', tonumber(ARGV[3]), ARGV[4], ARGV[5], tonumber(ARGV[6]), rest(8)\n"
    )
    assert contract.groups_text().endswith(
        "local SETTINGS = read_settings(ARGV[7])\nlocal LOG_MOST = SETTINGS[2]\nlocal FEED_MOST = SETTINGS[3]\n"
        "local HINT_MS = SETTINGS[4]\nlocal CAP = SETTINGS[5]\nlocal RESERVED = SETTINGS[6]\n"
    )
    assert contract.encode(dict(GOOD), SETTINGS) == ["a", "1", 5000, "n", 3, 0.5, *SETTINGS, "x", 1, "y", "2"]


def test_what_is_optional_may_be_left_out_or_none() -> None:
    contract = Contract("test", HEADER)
    left_out = {name: value for name, value in GOOD.items() if name not in ("deadline", "note")}
    given_none = {**GOOD, "deadline": None, "note": None, "adopt": False, "fields": []}
    assert contract.encode(left_out, SETTINGS)[:6] == ["a", "1", "", "", 3, 0.5]
    assert contract.encode(given_none, SETTINGS) == ["a", "", "", "", 3, 0.5, *SETTINGS]


@pytest.mark.parametrize("name", ["id", "adopt", "fence", "rate", "fields"])
def test_a_missing_argument_is_named(name: str) -> None:
    with pytest.raises(TypeError, match=f"^test: the argument {name} is missing$"):
        Contract("test", HEADER).encode({one: value for one, value in GOOD.items() if one != name}, SETTINGS)


def test_an_unknown_argument_is_named() -> None:
    with pytest.raises(TypeError, match=r"^test: there is no argument fance$"):
        Contract("test", HEADER).encode({**GOOD, "fance": 1}, SETTINGS)


@each(
    ("name", "value"),
    [
        ("id", 1),
        ("id", b"a"),
        ("adopt", "1"),
        ("adopt", 1),
        ("fence", 1.5),
        ("deadline", "5"),
        ("fence", True),
        ("rate", "0.5"),
        ("note", 3),
        ("fields", "xy"),
    ],
)
def test_an_argument_of_another_type_is_named(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"^test: the argument {name} is "):
        Contract("test", HEADER).encode({**GOOD, name: value}, SETTINGS)


def test_a_whole_number_is_a_real_one_too() -> None:
    assert Contract("test", HEADER).encode({**GOOD, "rate": 2}, SETTINGS)[5] == 2


def test_replies_have_names() -> None:
    contract = Contract("test", HEADER)
    reply = contract.decode(["ok", "7", []])
    assert (reply.became, reply.order, reply.hints) == ("ok", "7", [])
    assert contract.decode(["full", "a", "b"]).rest == ["a", "b"]
    assert contract.decode([]) is None
    assert Contract("plain", "--@args id").decode(3) == 3
    text = Contract("text", "--@reply 'ok' order\n--@text 'waits' order rates\n")
    assert tuple(text.decode("waits 7 a 1 b 2")) == ("waits", "7", "a 1 b 2")
    assert text.decode("waits 7 ").rates == ""
    assert text.decode(["ok", "7"]).became == "ok"
    one = Contract("one", "--@reply status hints").decode(["queued", []])
    assert (one.status, one.hints) == ("queued", [])


@each(
    "header",
    [
        "--@arg id",
        "--@args id:nothing",
        "--@args id:",
        "--@args a:list b",
        "--@args a:list b:pairs",
        "--@args a a",
        "--@args a:list?",
        "--@hints",
        "--@settings hints",
    ],
)
def test_a_header_that_cannot_be_meant_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match=r"^test: "):
        Contract("test", header)


def test_a_group_of_settings_goes_to_those_who_need_it_only() -> None:
    has = {group: {name for name in NAMES if group in scripts.contract(name).groups} for group in GROUPS}
    assert {"submit", "finish", "progress"} <= has["events"]
    assert {"submit", "finish", "queue_position", "set_limits"} <= has["admits"]
    assert has["admits"].isdisjoint({"progress", "events", "beat", "schedule_plan"})


def test_a_group_that_is_needed_and_not_declared_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts.contract.cache_clear()
    monkeypatch.setitem(GROUPS, "events", ())
    try:
        with pytest.raises(ValueError, match=r"^progress: its header must declare of the groups"):
            scripts._texts("progress")
    finally:
        scripts.contract.cache_clear()


def test_a_hint_stands_in_the_text_of_what_pushes_it_and_travels_with_no_call() -> None:
    template = scripts.HintTemplate("jobs", """{"it's": "@ID@\\n", "back\\\\slash": 1}""")
    for name in ("submit", "finish", "cancel_job"):
        for text in (scripts.source(name, template), scripts.function(name, template).library):
            assert """local QUEUE, TEMPLATE = 'jobs', '{"it\\039s": "@ID@\\092n", "back\\092\\092slash": 1}'""" in text
    assert scripts.function("submit", template).name != scripts.function("submit").name
    assert scripts.function("progress", template).name == scripts.function("progress").name
