"""How records are described: dataclasses whose fields say by their type how they are stored and shown, and by their metadata whether."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any

from pipeline_jobs.exceptions import InvalidInput

#: Unix milliseconds; shown as RFC 3339.
Moment = int
#: Metadata of a field that the API does not show.
HIDDEN = {"shown": False}
#: Of one that is shown and not stored, because it is made when it is asked for.
NOT_STORED = {"stored": None}
#: Of one that is neither: another field has it in it, or is made of it.
APART = {"stored": None, "shown": False}

#: Dates that a client may send are from the epoch to this, 9999-12-31T23:59:59.999Z (Unix milliseconds): RFC 3339 has no later ones.
MAX_MOMENT = 253_402_300_799_999
#: 0001-01-01T00:00:00.000Z: nothing earlier can be written.
_MIN_MOMENT = -62_135_596_800_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _no_json(value: Any) -> Any:
    raise TypeError(f"a value of type {type(value).__name__}")


#: The encoder in C that `JSONEncoder.encode` makes anew at each call, made once: a third of the time. It looks for no circles; what is too
#: deep raises RecursionError.
_CHUNKS: Callable[[Any, int], tuple[str, ...]] = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, _no_json, json.encoder.encode_basestring, None, ":", ",", False, False, False
)


def rfc3339(milliseconds: int | None) -> str | None:
    """Unix milliseconds as RFC 3339 in UTC with `Z` and millisecond digits; None stays None.

    A moment outside the years 1 to 9999 is shown as the nearest one inside: a record that has it (none can be made any more) is shown.
    """
    if milliseconds is None:
        return None
    if not _MIN_MOMENT <= milliseconds <= MAX_MOMENT:
        milliseconds = min(max(milliseconds, _MIN_MOMENT), MAX_MOMENT)
    minute, rest = divmod(milliseconds, 60_000)
    return f"{_minute(minute)}:{rest // 1000:02}.{rest % 1000:03}Z"


@lru_cache(maxsize=4096)
def _minute(minutes: int) -> str:
    """Minutes since the epoch, as `2025-01-03T12:00`. Remembered: most times that are shown are of the last hours, many of one minute."""
    # Not `fromtimestamp`: it takes no moment before the year 1 in some zones, and none after 9999.
    return (_EPOCH + timedelta(minutes=minutes)).isoformat(timespec="minutes").removesuffix("+00:00")


def unix_milliseconds(moment: datetime) -> int:
    """A moment with a time zone as Unix milliseconds, rounded down.

    :raises ValueError: in UTC it is not of the years 1970 to 9999, whatever its own zone says.
    """
    # Exact, where a float of seconds is not: 9999-12-31T23:59:59.9999999Z would be of the year 10000.
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    if not 0 <= milliseconds <= MAX_MOMENT:
        raise ValueError("must be from 1970-01-01T00:00:00Z to 9999-12-31T23:59:59.999Z, in UTC")
    return milliseconds


def dumps(value: Any) -> str:
    """Compact JSON, UTF-8 left as it is.

    :raises InvalidInput: the value is not JSON (NaN, a set, ...).
    """
    try:
        return "".join(_CHUNKS(value, 0))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"not a JSON value: {error}") from None


def in_order(value: Any) -> Any:
    """The same JSON value with the members of its objects in one order: that in which a client wrote them does not matter."""
    if isinstance(value, dict):
        return {name: in_order(value[name]) for name in sorted(value)}
    return [in_order(one) for one in value] if isinstance(value, list | tuple) else value


def unicode(text: str) -> str:
    """A text as the store can take it: `?` for each half of a surrogate pair, which no encoding of Unicode has."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def default_of(one: Field[Any]) -> Any:
    """The default of a dataclass's field; MISSING: it has none."""
    return one.default if one.default_factory is MISSING else one.default_factory()


@cache
def _defaults(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((f.name, default_of(f)) for f in fields(cls))


def given_only(*made: str) -> Callable[..., None]:
    """An `__init__` for a dataclass of named fields, in a third of the time: what is not given is the default, and not in its dict.

    :param made: the fields whose default is an empty dict, which no two may share.
    """

    def init(self: Any, **given: Any) -> None:
        if not given.keys() <= _names(self.__class__):
            raise TypeError(f"{self.__class__.__name__} has no {', '.join(sorted(given.keys() - _names(self.__class__)))}")
        own = self.__dict__
        for name in made:
            own[name] = {}
        own.update(given)

    return init


@cache
def _names(cls: type[Any]) -> frozenset[str]:
    return frozenset(f.name for f in fields(cls))


def differing(one: Any) -> dict[str, Any]:
    """Of a dataclass's instance the fields that are not their default."""
    own = getattr(one, "__dict__", None)
    if own is None:
        own = {name: getattr(one, name) for name, _ in _defaults(one.__class__)}
    # In the order of the class.
    return {
        name: value
        for name, default in _defaults(one.__class__)
        if name in own and (value := own[name]) is not default and value != default
    }


def _tuple(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value


def _maybe(text: str) -> str | None:
    return text or None


def _flag(text: str) -> bool:
    return text == "1"


def _value(word: StrEnum) -> str:
    return word.value


def _filled(value: Mapping[str, Any]) -> dict[str, Any] | None:
    return dict(value) if value else None


#: How a field is written into the record, how read from there, and how it is shown (None: as it is).
Kind = tuple[Callable[[Any], str], Callable[[str], Any], Callable[[Any], Any] | None]
#: Of a field: its name in the store, its default, and how it is written.
Write = tuple[str, Any, Callable[[Any], str]]
#: By the type of a field.
_TYPES: dict[str, Kind] = {
    "str": (str, str, None),
    "str | None": (str, _maybe, None),
    "int": (str, int, None),
    "float": (str, float, None),
    "float | None": (str, float, None),
    "bool": (lambda value: "1" if value else "", _flag, None),
    "Moment": (str, int, rfc3339),
    "Moment | None": (str, int, rfc3339),
    "tuple[str, ...]": (dumps, _tuple, list),
    "Mapping[str, Any]": (dumps, _object, dict),
    "Mapping[str, Any] | None": (dumps, _object, _filled),
    "Any": (dumps, json.loads, None),
    "Mapping[str, str]": (dumps, _object, dict),
    "tuple[Mapping[str, Any], ...]": (dumps, _tuple, list),
}


class Layout:
    """How the records of a class are stored and shown. Made once for each class, after it."""

    def __init__(self, cls: type[Any], *words: type[StrEnum]) -> None:
        """:param words: the types of its fields that are words of a list."""
        types: dict[str, Kind] = {**_TYPES, **{word.__name__: (str, word, _value) for word in words}}
        # What the class itself declares comes first: of a job its id and state, then what was asked.
        known = sorted(fields(cls), key=lambda f: f.name not in cls.__annotations__)
        stored = {f.name: f.metadata.get("stored", f.name) for f in known}
        seen = [f for f in known if f.metadata.get("shown", True)]
        self.names = frozenset(stored)
        self.factories = tuple((f.name, f.default_factory) for f in known if f.default_factory is not MISSING)
        self.writes: dict[str, Write] = {f.name: (stored[f.name], default_of(f), types[str(f.type)][0]) for f in known if stored[f.name]}
        self._reads = {stored[f.name]: (f.name, types[str(f.type)][1]) for f in known if stored[f.name]}
        needed = [f for f in known if default_of(f) is MISSING and stored[f.name]]
        self._required = frozenset(stored[f.name] for f in needed if not str(f.type).endswith("None"))
        self._absent: dict[str, Any] = {f.name: None for f in needed if str(f.type).endswith("None")}
        self._shows = {f.name: types[str(f.type)][2] for f in seen}
        # What is shown of a field that has its default: what could be changed, is made anew each time.
        self._plain = {name: _shown_as(show, default_of(cls.__dataclass_fields__[name])) for name, show in self._shows.items()}
        self._anew = tuple((name, value) for name, value in self._plain.items() if isinstance(value, list | dict))

    def write(self, values: Mapping[str, Any], writes: Mapping[str, Write] | None = None) -> dict[str, str]:
        """The flat mapping for the store: absent means None or the default.

        :param writes: some of the fields, as `writes` has them; None: all.
        """
        known, flat = (self.writes if writes is None else writes).get, {}
        for name, value in values.items():
            if value is not None and (how := known(name)) is not None and value != how[1]:
                flat[how[0]] = how[2](value)
        return flat

    def read(self, flat: Mapping[str, str]) -> dict[str, Any]:
        """The fields by name from what `HGETALL` gave. Unknown fields of the store's own are left alone.

        :raises KeyError: a required field is missing. :raises TypeError, ValueError: one cannot be read.
        """
        if missing := self._required - flat.keys():
            raise KeyError(min(missing))
        values = self._absent.copy()
        for stored, text in flat.items():
            if (known := self._reads.get(stored)) is not None:
                name, read = known
                values[name] = text if read is str else read(text)
        return values

    def show(self, one: Any) -> dict[str, Any]:
        """The fields as the API shows them, in order. A job's dict has less than half of them: to ask it for each takes twice as long."""
        own = getattr(one, "__dict__", None) or {name: getattr(one, name) for name in self._plain}
        body, shows = self._plain.copy(), self._shows
        for name, value in self._anew:
            body[name] = value.copy()
        for name, value in own.items():
            if name in shows:
                body[name] = value if value is None or (show := shows[name]) is None else show(value)
        return body


def _shown_as(show: Callable[[Any], Any] | None, value: Any) -> Any:
    """A value as it is shown; None: one without a default."""
    if value is MISSING or value is None:
        return None
    return value if show is None else show(value)
