"""Which parameters of a pipeline are secret, as its model marks them: alone, in lists and dicts, and in models in the model.

One word for logs and for the history: what one of them leaves out the other must not show.

What pydantic hides (`SecretStr`, `SecretBytes`, `Secret`) is apart from the other parameters in a record, so that whoever shows or sends
these has its asterisks, in whichever process, and whether or not that knows the pipeline. Only what is given to stages has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from enum import Enum
from functools import lru_cache
from itertools import takewhile
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.runlog.masking import SHORTEST

#: Types of pydantic's that it writes as asterisks.
_HIDING = (Secret, SecretStr, SecretBytes)
#: What hides nothing, and has nothing in it that does.
_PLAIN = frozenset({str, int, float, bool, type(None)})
#: Their values are of the types in their brackets.
_HOLDING = frozenset({Union, UnionType, list, tuple, dict, set, frozenset, Sequence, Mapping})
#: In the place of a value all of which is secret.
_GONE = object()
#: Most that may be hidden in the parameters of a job, in characters: values, asterisks, and the ways there, which many may have in common.
MAX_HIDDEN = 65_536


def dumped(params: BaseModel) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """As JSON values, with asterisks for what pydantic hides; and that: `{"at": the way there, "shown": "***", "value": JSON}` each.

    :raises InvalidInput: asterisks were given as what is hidden: they stand for it where it is shown, and nobody's secret is that.
    """
    shown, found = params.model_dump(mode="json"), list[dict[str, Any]]()
    if may_hide(type(params)):
        _look(shown, params.model_dump(), (), found)
    return shown, found


@lru_cache(maxsize=256)
def may_hide(model: type[BaseModel]) -> bool:
    """Values of this model may hold what pydantic hides. False, as for most models: they are texts, numbers and the like."""
    return model.model_config.get("extra") == "allow" or not all(_is_plain(info.annotation) for info in model.model_fields.values())


def _is_plain(annotation: Any) -> bool:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is None:
        return annotation in _PLAIN or annotation is JsonValue or (isinstance(annotation, type) and issubclass(annotation, Enum))
    if origin is Annotated:
        return _is_plain(inner[0])
    return origin is Literal or (origin in _HOLDING and all(one is Ellipsis or _is_plain(one) for one in inner))


def revealed(shown: Mapping[str, Any], hidden: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Parameters with what `dumped` has hidden in its place, as far as the asterisks stand there still."""
    if not hidden:
        return shown
    whole = deepcopy(dict(shown))
    for one in hidden:
        *way, last = one["at"]
        place = _there(whole, way)
        if _there(place, [last]) == one["shown"]:
            place[last] = one["value"]
    return whole


def sent_back(sent: Mapping[str, Any], before: Mapping[str, Any], hidden: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Parameters of somebody who was shown `before`, with what is hidden in the place of the asterisks that were sent back.

    :raises InvalidInput: some are in a list that does not begin as it was shown: nobody knows which stands where now.
    """
    for way, stars in {(*takewhile(_is_name, one["at"]),): one["shown"] for one in hidden}.items():
        was, now = _there(before, way), _there(sent, way)
        if isinstance(was, list) and isinstance(now, list) and now[: len(was)] != was and stars in str(now):
            path = _path(way)
            raise InvalidInput(f"{path}: it does not begin as it was shown, so send what is hidden in it, too", field=path)
    return revealed(sent, hidden)


def stay_hidden(sent: Mapping[str, Any], hidden: Sequence[Mapping[str, Any]], made: Mapping[str, Any]) -> None:
    """What stands for asterisks that were sent back must be hidden in what the pipeline made of it: of several models another may have
    been taken, and whoever is shown that may not know the secret.

    :param hidden: of what was shown. :param made: `params` and `secret_params`.
    :raises InvalidInput: names the field in which it would be shown.
    """
    hides, new = {(*one["at"],) for one in made["secret_params"]}, {*_texts(made["params"])} - {*_texts(sent)}
    for one in hidden:
        way, value = (*one["at"],), {text for text in _texts(one["value"]) if len(text) >= SHORTEST}
        there = way not in hides and _there(made["params"], way) is not None
        if _there(sent, way) == one["shown"] and (there or not value.isdisjoint(new)):
            path = _path(way)
            raise InvalidInput(f"{path}: it was hidden and would not be any more, so send its value", field=path)


def _path(way: Iterable[str | int]) -> str:
    return ".".join(["params", *map(str, way)])


def _is_name(step: str | int) -> bool:
    return isinstance(step, str)


def texts_of(hidden: Iterable[Mapping[str, Any]]) -> list[str]:
    """The texts of what `dumped` has hidden, also where the type of a field does not say so: in a dataclass, a `TypedDict`, an alias."""
    return [text for one in hidden for text in _texts(one["value"])]


def size_of(hidden: Iterable[Mapping[str, Any]]) -> int:
    """How much `dumped` has hidden, in characters, about."""
    return sum(len(str(part)) for one in hidden for part in (*one["at"], one["shown"], one["value"]))


def _there(value: Any, way: Iterable[str | int]) -> Any:
    """What stands at the end of this way into the value; None: nothing."""
    for step in way:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _look(shown: Any, values: Any, way: tuple[str | int, ...], found: list[dict[str, Any]]) -> None:
    """:param values: the same as `shown`, as Python has it. :param found: is told what pydantic has hidden."""
    if isinstance(values, _HIDING):
        value = to_jsonable_python(values.get_secret_value())
        if value == shown and isinstance(value, str) and value and not value.strip("*"):
            raise InvalidInput(f"{_path(way)}: asterisks stand for what is hidden, so send its value", field=_path(way))
        if value != shown:
            found.append({"at": [*way], "shown": shown, "value": value})
        return
    if isinstance(values, Mapping) and isinstance(shown, Mapping):
        # By their places: JSON may write a name otherwise.
        inside: Iterable[Any] = zip(shown.items(), values.values(), strict=False)
        if len(shown) != len(values):
            # The model has a serializer for JSON, which leaves some out.
            inside = [((name, shown[name]), value) for name, value in values.items() if name in shown]
    elif isinstance(values, Collection) and isinstance(shown, list):
        inside = zip(enumerate(shown), values, strict=False)
    else:
        return
    for (name, one), value in inside:
        # Most are: every request looks through its parameters.
        if type(value) not in _PLAIN:
            _look(one, value, (*way, name), found)


def is_secret(info: FieldInfo) -> bool:
    """A parameter that is marked as secret in one of the two ways of JSON Schema and OpenAPI:
    `json_schema_extra={"format": "password"}` or `{"writeOnly": True}`."""
    extra = info.json_schema_extra
    return isinstance(extra, dict) and (extra.get("format") == "password" or extra.get("writeOnly") is True)


def secrets_in(model: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """The texts of these parameters that are secret."""
    found: list[str] = []
    _fields(model, values, found)
    return found


def without_secrets(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """These parameters without those that are secret."""
    return _fields(model, values, [])


def _fields(model: type[BaseModel], values: Mapping[str, Any], found: list[str]) -> dict[str, Any]:
    """What is not secret. :param found: is told the texts of what is."""
    fields = model.model_fields
    # They are stored by the names of fields, or by their aliases (`serialize_by_alias`).
    infos = {name: one for field, one in fields.items() for name in (field, one.alias, one.serialization_alias) if name}
    shown = {name: _field(infos[name], value, found) if name in infos else value for name, value in values.items()}
    return {name: value for name, value in shown.items() if value is not _GONE}


def _field(info: FieldInfo, value: Any, found: list[str]) -> Any:
    if is_secret(info):
        found += _texts(value)
        return _GONE
    return _shown(info.annotation, value, found)


def _shown(annotation: Any, value: Any, found: list[str]) -> Any:
    """A value of this type without what is secret in it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(kind := origin or annotation, type) and issubclass(kind, _HIDING):
        found += _texts(value)
        return _GONE
    if origin is None:
        is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        return _fields(annotation, value, found) if is_model and isinstance(value, Mapping) else value
    if origin is Annotated and any(isinstance(one, FieldInfo) and is_secret(one) for one in inner[1:]):
        found += _texts(value)
        return _GONE
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        shown = {name: _shown(inner[-1], one, found) for name, one in value.items()}
        return {name: one for name, one in shown.items() if one is not _GONE}
    if isinstance(origin, type) and issubclass(origin, Iterable) and isinstance(value, list | tuple):
        return [one for one in (_of_any(inner, each, found) for each in value) if one is not _GONE]
    return _of_any(inner, value, found)


def _of_any(annotations: Iterable[Any], value: Any, found: list[str]) -> Any:
    """Of one of these types, nobody knows which."""
    for one in annotations:
        value = value if value is _GONE else _shown(one, value, found)
    return value


def _texts(value: Any) -> Iterator[str]:
    """The texts of a secret, which may be a list of them, or an object; a number as it is written."""
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        yield from (text for one in value for text in _texts(one))
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield str(value)
