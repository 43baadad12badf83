"""Which parameters of a pipeline are secret, as its model marks them: alone, in lists and dicts, and in models in the model.

One word for logs and for the history: what one of them leaves out the other must not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

#: In the place of a value all of which is secret.
_GONE = object()


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
