"""The Lua scripts: each is its own file in its domain's folder; behind its `#!lua` line goes what it needs of `lua/lib/`, and no more.

What a script is called with and what it replies stands in its header (`store/contract.py`). The message of a hint is the same for all jobs
but for a few names, and a kilobyte: it does not travel with each call, it stands in the text of the scripts that push it. So processes
whose messages differ (another version of Celery, another queue) have scripts of their own, side by side, as two versions of a script are.

Each is made in two forms that do the same. As a *script* (EVALSHA) its whole text runs at each call: every shared function costs a
fifth of a microsecond even if nobody calls it, so only the definitions that it refers to are put before it, and keys are built in
place. As a *function* (FCALL) the definitions are made once, when the server loads it, and Lua's own functions are looked up once. But a
server that is full, or somebody else's, may refuse to load one; then the script does (`store/wire.py`;
docs/decisions/0003-what-a-script-costs.md has the figures).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from pipeline_jobs.store.contract import GROUPS, Contract
from pipeline_jobs.store.keys import POOL, built_in_place

#: Where the scripts are: a folder for each domain, and `lib` with what they share. A script is known by its file's name, which stands once.
LUA = files("pipeline_jobs") / "lua"

#: Where a message is pushed, and which, in the scripts that push it.
_TEMPLATE = "local QUEUE, TEMPLATE = '@QUEUE@', '@TEMPLATE@'\n"

#: The shared functions, each file leaning on those before it.
LIBRARY = (
    "base", "memory", "outputs", "reuse", "uploads", "folders", "outbox", "events", "telling", "logs", "pages", "batches",
    "indexes", "known", "classes", "reserve", "fair", "reasons", "places", "rates", "pace", "dependencies", "hints", "signals", "queue",
    "usage", "starting", "parts", "ending", "cancel", "requeueing", "history", "apart", "worker_lost", "waking", "dispatch",
    "dependents", "submit_limits", "idempotency", "accept", "schedules", "audit", "once", "clock",
)  # fmt: skip

_DEFINES = re.compile(r"local (?:function )?([\w, ]+)")
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_]\w*")
_STRING = re.compile(r"'[^']*'")
#: What stands in a text is no function, and neither is a field.
_LIBRARY_FUNCTION = re.compile(
    r"(?<![\w.'])(?:(?:cjson|math|redis|string|table)\.\w+|(?:ipairs|next|pairs|setmetatable|tonumber|tostring|unpack)(?=\())"
)
_CONSTANT = re.compile(r"local ([A-Z_]+) = (-?[\d.e]+|'[^'\\]*'|SETTINGS\[\d+\])")


#: What the server keeps of each version, until maintenance clears it away, begins so.
FUNCTION_PREFIX = "pipeline_jobs_"


@dataclass(frozen=True, slots=True)
class Function:
    """A script in its other form."""

    #: Of the function and of its library: it ends with a hash of the text, so that two versions live side by side.
    name: str
    library: str


@dataclass(frozen=True, slots=True)
class HintTemplate:
    """How the scripts push a hint themselves."""

    #: Redis list that the broker's queue is.
    queue: str
    #: The whole message as kombu writes it, with @ID@, @FENCE@, @TAG@, @TENANT@, @WORKSPACE@ and @PIPELINE@ to fill in.
    message: str


#: A broker that is another server: the scripts return the hints.
NO_TEMPLATE = HintTemplate("", "")


@cache
def source(name: str, template: HintTemplate = NO_TEMPLATE) -> str:
    """The whole text of a script: its `#!lua` line first, then the shared definitions it needs and its own body."""
    return compose(*_texts(name), template)


@cache
def function(name: str, template: HintTemplate = NO_TEMPLATE) -> Function:
    """The same as a function."""
    return compose_function(name, *_texts(name), template)


@cache
def contract(name: str) -> Contract:
    """What the script's header declares. :raises ValueError: it is no header, or says something that the script does not keep to."""
    made = Contract(name, places()[name].read_text("utf-8"), (LUA / "lib" / "accept.lua").read_text("utf-8"))
    if shared := {word for text in _library() for word in _defined(text)}.intersection(made.names):
        raise ValueError(f"{name}: an argument has the name of a shared definition: {shared}")
    return made


@cache
def places() -> dict[str, Traversable]:
    """The file of each script, by the script's name."""
    found = [file for folder in LUA.iterdir() if folder.is_dir() and folder.name != "lib" for file in folder.iterdir()]
    return {file.name.removesuffix(".lua"): file for file in sorted(found, key=lambda file: file.name)}


def _texts(name: str) -> tuple[str, list[str], str]:
    """Its `#!lua` line, the definitions that it may refer to, and its body."""
    declared = contract(name)
    shebang, _, body = places()[name].read_text("utf-8").partition("\n")
    shared = [declared.groups_text(), *_library()]
    if "admits" in declared.groups:
        shared.insert(0, _TEMPLATE)
    body = declared.arguments_line() + _COMMENT.sub("", body)
    if "once" in declared.groups:
        body = f"return once(function()\n{body}end)\n"
    # A name that nothing defines would be found out by the first call that comes to it.
    words = {word for definition in _needed(shared, body) for word in definition.words} | set(_WORD.findall(body))
    needed = {group for group, names in (*GROUPS.items(), ("admits", ("TEMPLATE",))) if words.intersection(names)}
    if needed != set(declared.groups):
        raise ValueError(f"{name}: its header must declare of the groups: {sorted(needed)}")
    return shebang, shared, body


@cache
def _library() -> list[str]:
    return [(LUA / "lib" / f"{part}.lua").read_text("utf-8") for part in LIBRARY]


def compose(shebang: str, shared: list[str], body: str, template: HintTemplate = NO_TEMPLATE) -> str:
    """One text: of the definitions in `shared` only those that the body refers to, directly or through others. The body's own names are
    those of a function, since Lua allows each 200."""
    *definitions, body = _constants_in_place(_needed(shared, body), _COMMENT.sub("", body))
    head = f"local P, POOL, redis_call = KEYS[1], '{POOL}', redis.call"
    text = "\n".join([shebang, head, *map(_built, definitions), "local function run()", _built(body), "end\nreturn run()"])
    return _filled(text, template)


def compose_function(name: str, shebang: str, shared: list[str], body: str, template: HintTemplate = NO_TEMPLATE) -> Function:
    """Functions and constants are made once; what holds the state of a call is declared there and set anew at each call."""
    made, set_anew = [], []
    *definitions, body = _constants_in_place(_needed(shared, body), _COMMENT.sub("", body))
    for definition in definitions:
        names, _, value = definition.removeprefix("local ").partition(" = ")
        if definition.startswith("local function") or _is_constant(value):
            made.append(definition)
        else:
            made.append(f"local {names}")
            set_anew.append(f"{names} = {value or 'nil'}")
    flags = "".join(f"'{flag}'" for flag in shebang.partition("flags=")[2].split(",") if flag)
    parts = [
        *made,
        f"local function begin(keys, argv)\nif not redis_call then look_up() end\nKEYS, ARGV, P, POOL = keys, argv, keys[1], '{POOL}'",
        *set_anew,
        "end\nlocal function run(keys, argv)\nbegin(keys, argv)",
        body,
        "end",
    ]
    text = _filled(_with_libraries([_built(part) for part in parts]), template)
    unique = f"{FUNCTION_PREFIX}{name}_{hashlib.sha256(f'{flags}{text}'.encode()).hexdigest()[:12]}"
    register = f"redis.register_function{{function_name = '{unique}', callback = make(), flags = {{{flags}}}}}"
    return Function(unique, f"#!lua name={unique}\n{text}\n{register}")


def _with_libraries(parts: list[str]) -> str:
    """What they use of Lua's libraries is looked up at the first call: it is not there before, and each look goes through an empty table
    that protects it. The parts become a function of their own: Lua allows each 200 names."""
    used = sorted({"redis.call"}.union(*map(_library_functions, parts)))
    names = ", ".join(map(_own_name, used))
    return "\n".join(
        [
            f"local P, POOL, KEYS, ARGV, {names}\nlocal function look_up() {names} = {', '.join(used)} end",
            "local function make()",
            *map(_with_own_names, parts),
            "return run\nend",
        ]
    )


@cache
def _library_functions(text: str) -> frozenset[str]:
    return frozenset(_LIBRARY_FUNCTION.findall(text))


@cache
def _with_own_names(text: str) -> str:
    return _LIBRARY_FUNCTION.sub(lambda found: _own_name(found[0]), text)


def _own_name(function: str) -> str:
    """`string_format`, `lua_ipairs`."""
    return function.replace(".", "_") if "." in function else f"lua_{function}"


def _constants_in_place(definitions: list[_Definition], body: str) -> list[str]:
    """The definitions and then the body. A number, text or setting stands where its name was: Lua allows a text 200 names."""
    known = {found[1]: found[2] for one in definitions if (found := _CONSTANT.fullmatch(one.text))}
    others = [one for one in definitions if not _CONSTANT.fullmatch(one.text)]
    return [*(_with_constants(one.text, _chosen(known, one.words)) for one in others), _with_constants(body, tuple(known.items()))]


def _chosen(known: dict[str, str], words: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Those that these words name, in an order of their own: most definitions name none, and the others the same in each script."""
    return tuple((word, known[word]) for word in sorted(words & known.keys()))


# What a definition becomes is the same in each script that needs it, and all processes make their scripts as they start: to make it anew
# for each took up to 35 ms of a processor a script, and takes 5.


@cache
def _with_constants(text: str, known: tuple[tuple[str, str], ...]) -> str:
    values = dict(known)
    return _WORD.sub(lambda word: values.get(word[0], word[0]), text) if values else text


@cache
def _built(text: str) -> str:
    """With its keys built in place. `redis.call` is looked up in two tables at each command: once a call does."""
    return built_in_place(text).replace("redis.call(", "redis_call(")


def _filled(text: str, template: HintTemplate) -> str:
    """With the template as constants."""
    return text.replace("'@QUEUE@'", _quoted(template.queue)).replace("'@TEMPLATE@'", _quoted(template.message))


def _quoted(text: str) -> str:
    """As Lua writes a string."""
    return "'" + re.sub(r"[\\'\x00-\x1f]", lambda found: f"\\{ord(found[0]):03d}", text) + "'"


def _is_constant(value: str) -> bool:
    """Numbers and strings, or a table of them: nothing changes it. An empty table is there to be filled."""
    return bool(value) and value != "{}" and not _WORD.search(_STRING.sub("", value))


class _Definition(NamedTuple):
    """A piece of a library file."""

    text: str
    #: Those that it defines, and all words in it.
    names: tuple[str, ...]
    words: frozenset[str]


def _needed(shared: list[str], body: str) -> list[_Definition]:
    """The definitions that a body refers to, in their order."""
    needed: list[_Definition] = []
    wanted = set(_WORD.findall(_COMMENT.sub("", body)))
    for definition in reversed([one for text in shared for one in _parsed(text)]):
        if not wanted.isdisjoint(definition.names):
            needed.append(definition)
            wanted.update(definition.words)
    return needed[::-1]


@cache
def _defined(text: str) -> frozenset[str]:
    """The names that a library file defines."""
    return frozenset(word for definition in _parsed(text) for word in definition.names)


@cache
def _parsed(text: str) -> tuple[_Definition, ...]:
    """The definitions of a library file."""
    parsed = []
    for definition in _definitions(text):
        defines = _DEFINES.match(definition)
        if defines is None:
            raise ValueError(f"not a local definition: {definition.splitlines()[0]}")
        parsed.append(_Definition(definition, tuple(_WORD.findall(defines[1])), frozenset(_WORD.findall(definition))))
    return tuple(parsed)


def _definitions(text: str) -> Iterator[str]:
    """The pieces of a library file: each starts at the margin with `local`, what follows is indented or closes it."""
    piece: list[str] = []
    for line in _COMMENT.sub("", text).splitlines():
        if line[:1] not in ("", " ", "e", "}") and piece:
            yield "\n".join(piece)
            piece = []
        if line:
            piece.append(line)
    if piece:
        yield "\n".join(piece)
