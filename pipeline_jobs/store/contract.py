"""What the header of a script declares: its arguments by name, the settings that it is given besides, the shape of its replies.

`--@args id adopt:flag deadline:ms? fields:pairs` names what the script is called with, in order. From it Lua gets the line that gives the
arguments their names, and Python the names to call it by. A type says what Python gives, and what Lua gets:

- none: text; `flag`: a bool; `int`: a whole number; `real`: any number; `ms`: seconds, which Lua gets as whole milliseconds;
- `digits`, `decimal`: a whole number, any number, which Lua gets as text, to be compared with a record's field or written into one;
- `list`, `pairs` (of a mapping, or of pairs): a flat list. There is at most one, the last of all.

An argument with a `?` may be left out or None: in Lua text is '' then, and a number nil.

`--@settings events kept` names groups of settings (`GROUPS`), `--@once` is one by itself. `--@keys` says that the script is called with
keys besides the prefix.

`--@reply status hints` names the parts of a reply. Where replies differ, each form has a line that begins with the word it is known by
(`--@reply 'full' what retry_after`), which is the reply's `became`. `records*` is the rest as a list. `--@text` declares the one form that
comes as a text, with spaces between its parts, of which only the last may have some itself: to the server each part of a list is as dear
as a command that reads. An empty reply is None. A script without such a line replies with one word, number or list. `--@refuses`: it may
reply what `lua/lib/accept.lua` declares.
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

#: Of each type: what Python gives, and how Lua reads it from its place.
TYPES: dict[str, tuple[tuple[type[Any], ...], str]] = {
    "text": ((str,), "{}"),
    "flag": ((bool,), "{} == '1'"),
    "int": ((int,), "tonumber({})"),
    "ms": ((float, int), "tonumber({})"),
    "real": ((float, int), "tonumber({})"),
    "digits": ((int,), "{}"),
    "decimal": ((float, int), "{}"),
}
LISTS = ("list", "pairs")

#: Settings that some scripts are given, and what Lua calls them, in order.
GROUPS: dict[str, tuple[str, ...]] = {
    # The maximum number of events that a job's log and that a tenant's feed keep.
    "events": ("LOG_MOST", "FEED_MOST"),
    # How long a hint may lie unclaimed, the cap over all workers where the store has none, and how many slots are kept from any one tenant
    # (-1: one, from four on).
    "admits": ("HINT_MS", "CAP", "RESERVED"),
    # The maximum number of tenants that have metrics by name, of workspaces of each, and of workspaces of all together.
    "names": ("NAMED_TENANTS", "NAMED_WORKSPACES", "NAMED_OF_ALL"),
    # The maximum number of bytes that a tenant without a limit of its own keeps (0: any).
    "storage": ("STORAGE_MOST",),
    # The maximum number of queued jobs, of a tenant without a limit of its own and of all; how many a second a sender may send (0: any).
    "queue": ("QUEUE_MOST", "QUEUE_MOST_OF_ALL", "SENDER_RATE"),
    # The maximum number of parked jobs of a tenant without a limit of its own.
    "parks": ("PARKS_MOST",),
    # How long the record of a job that has ended is kept, and whether (1) it goes into the history before.
    "kept": ("TTL_MS", "HISTORY"),
    # How long the artifacts of a job that says nothing of it are kept.
    "files": ("FILES_TTL_MS",),
    # How long a lease is good.
    "leases": ("LEASE_MS",),
    # How long a worker's announcement is good, and how much time may pass between two looks at the clock.
    "looks": ("ALIVE_MS", "GAP_MS"),
    # The crash of a job that is its last.
    "crashes": ("MAX_CRASHES",),
    # A number that is drawn for each call: sent again, it is given the answer that it was given before (`lua/lib/once.lua`). The last one.
    "once": ("CALL",),
}

#: Settings come as one text, nearly always the same one: a function reads it once. Behind it are its numbers.
_READ_SETTINGS = """\
local LAST_SETTINGS = {''}
local function read_settings(text)
  if LAST_SETTINGS[1] == text then return LAST_SETTINGS end
  local n = 1
  for number in string.gmatch(text, '%S+') do
    n = n + 1
    LAST_SETTINGS[n] = tonumber(number)
  end
  LAST_SETTINGS[1] = text
  return LAST_SETTINGS
end
"""

_DECLARED = re.compile(r"^--@(\w+)[ \t]*(.*)$", re.MULTILINE)
_ARGUMENT = re.compile(r"(\w+)(?::(\w+))?(\?)?")

#: Makes a reply with names of what the server sent.
Shape = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a script."""

    script: str
    name: str
    kind: str
    optional: bool

    @classmethod
    def parse(cls, script: str, text: str) -> Argument:
        """:raises ValueError: it is no argument."""
        found = _ARGUMENT.fullmatch(text)
        kind = found[2] or "text" if found else ""
        if found is None or (kind not in TYPES and (kind not in LISTS or found[3])):
            raise ValueError(f"{script}: {text} is no argument")
        return cls(script, found[1], kind, bool(found[3]))

    @property
    def plain(self) -> type | None:
        """Values of this very type are sent as they are; None: none are."""
        return None if self.kind in ("flag", "ms") else TYPES[self.kind][0][0]

    def written(self, value: Any) -> Any:
        """A value that is not plain as it is sent. :raises TypeError: it is missing, or of another type."""
        if value is None:
            raise TypeError(f"{self.script}: the argument {self.name} is missing")
        if self.kind == "flag" and isinstance(value, bool):
            return "1" if value else ""
        if isinstance(value, bool) or not isinstance(value, TYPES[self.kind][0]):
            raise TypeError(f"{self.script}: the argument {self.name} is {self.kind}, not {type(value).__name__}")
        return ms(value) if self.kind == "ms" else value

    def flat(self, value: Any) -> Iterable[Any]:
        """The same of a list."""
        # First what a record's fields are: whether something is another mapping takes long to answer.
        if type(value) is dict and self.kind == "pairs":
            return chain.from_iterable(value.items())
        if value is None or isinstance(value, str):
            raise TypeError(f"{self.script}: the argument {self.name} is {'missing' if value is None else 'no list'}")
        if self.kind == "list" or not value:
            return list(value)
        return chain.from_iterable(value.items() if isinstance(value, Mapping) else value)


class Contract:
    """A header, read. `encode` and `decode` are what a call costs, so what they need is made once."""

    def __init__(self, name: str, header: str, refusals: str = "") -> None:
        """:param refusals: the header that declares what a script may reply that refuses. :raises ValueError: it is no header."""
        self.name = name
        declared = _DECLARED.findall(header)
        words = {word for word, _ in declared}
        groups = {group for word, line in declared if word == "settings" for group in line.split()} | words & {"once"}
        if unknown := words - {"args", "reply", "text", "keys", "once", "refuses", "settings"} | groups - GROUPS.keys():
            raise ValueError(f"{name}: unknown in a header: {', '.join(sorted(unknown))}")
        arguments = [Argument.parse(name, text) for word, line in declared if word == "args" for text in line.split()]
        self.names = tuple(one.name for one in arguments)
        self.rest = arguments.pop() if arguments and arguments[-1].kind in LISTS else None
        if any(one.kind in LISTS for one in arguments) or len(set(self.names)) != len(self.names):
            raise ValueError(f"{name}: one list, the last of all; each name once")
        self.fixed = tuple(arguments)
        self.groups = tuple(group for group in GROUPS if group in groups)
        self.takes_keys = "keys" in words
        replies = [line for word, line in declared if word == "reply"]
        text = next((line for word, line in declared if word == "text"), None)
        if "refuses" in words:
            replies += [line for word, line in _DECLARED.findall(refusals) if word == "reply"]
        self.gives_hints = any("hints" in line.split() for line in replies)
        self._names = tuple(one.name for one in arguments)
        #: By the types of all arguments, which of them are sent as an empty text and which are written: the types are nearly always the
        #: same, and what is sent as it is needs no look then.
        self._places: dict[tuple[type, ...], tuple[list[int], list[int]]] = {}
        self._shapes = dict(_shape(name, line) for line in replies)
        self._only = self._shapes.get(None)
        self._text: Any
        self._text, self._spaces = (_named(name, text)[1], len(text.split()) - 1) if text else (None, 0)

    # -- for Lua

    def groups_text(self) -> str:
        """Definitions of the groups' settings, as a file of the library would have them."""
        names = [name for group in self.groups if group != "once" for name in GROUPS[group]]
        text = "".join([f"local {name} = SETTINGS[{number}]\n" for number, name in enumerate(names, 2)])
        if names:
            text = f"{_READ_SETTINGS}local SETTINGS = read_settings(ARGV[{len(self.fixed) + 1}])\n{text}"
        return f"{text}local CALL = tonumber(ARGV[{self._before_rest}])\n" if "once" in self.groups else text

    @property
    def _before_rest(self) -> int:
        """The number of arguments before the list: with the settings as one, and the number that is drawn as another."""
        return len(self.fixed) + any(group != "once" for group in self.groups) + ("once" in self.groups)

    def arguments_line(self) -> str:
        """`local id, adopt, fields = ARGV[1], ARGV[2] == '1', rest(5)`; empty: there are none."""
        if not self.names:
            return ""
        values = [TYPES[one.kind][1].format(f"ARGV[{i + 1}]") for i, one in enumerate(self.fixed)]
        if self.rest:
            values.append(f"rest({self._before_rest + 1})")
        return f"local {', '.join(self.names)} = {', '.join(values)}\n"

    # -- for Python

    def encode(self, given: dict[str, Any], settings: Sequence[Any]) -> list[Any]:
        """The arguments as they are sent. Takes `given` apart.

        :param settings: the values of the groups (`as_sent`), and the number that is drawn, if it needs one.
        :raises TypeError: one is missing, unknown or of another type; names the script and the argument.
        """
        sent = [*map(given.pop, self._names, repeat(None))]
        types = tuple(map(type, sent))
        empty, changed = self._places.get(types) or self._places_of(types)
        for place in empty:
            sent[place] = ""
        for place in changed:
            sent[place] = self.fixed[place].written(sent[place])
        sent += settings
        if self.rest is not None:
            sent += self.rest.flat(given.pop(self.rest.name, None))
        if given:
            raise TypeError(f"{self.name}: there is no argument {min(given)}")
        return sent

    def _places_of(self, types: tuple[type, ...]) -> tuple[list[int], list[int]]:
        others = [(place, one) for place, (one, kind) in enumerate(zip(self.fixed, types, strict=True)) if kind is not one.plain]
        empty = [place for place, one in others if one.optional and types[place] is type(None)]
        changed = [place for place, _ in others if place not in empty]
        self._places[types] = empty, changed
        return empty, changed

    def decode(self, reply: Any) -> Any:
        """A reply with names."""
        if not self._shapes:
            return reply
        if not reply:
            return None
        if self._text and reply.__class__ is str:
            return self._text(*reply.split(" ", self._spaces))
        shape = self._only or self._shapes[reply[0]]
        return shape(reply)


def as_sent(settings: Sequence[float]) -> tuple[str, ...]:
    """Settings as a script gets them: one text, or none."""
    return (" ".join(map(str, settings)),) if settings else ()


def ms(seconds: float) -> int:
    """Whole milliseconds."""
    return int(seconds * 1000)


def _shape(script: str, line: str) -> tuple[str | None, Shape]:
    """The word by which a form of a reply is known (None: it is the only one), and what makes a reply of it."""
    known_by, made = _named(script, line)
    if not line.endswith("*"):
        return known_by, made._make
    n = len(made._fields) - 1
    return known_by, lambda reply: made._make((*reply[:n], reply[n:]))


def _named(script: str, line: str) -> tuple[str | None, Any]:
    """That word, and a class with a name for each part."""
    first, *names = line.split()
    known_by = first.strip("'") if first.startswith("'") else None
    names = ["became", *names] if known_by else [first, *names]
    return known_by, namedtuple(f"{script}_{known_by or 'reply'}", [name.rstrip("*") for name in names])
