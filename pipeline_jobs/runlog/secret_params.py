"""Which parameters of a pipeline are secret, as its model marks them: alone, in a list, and in models in the model.

One word for logs and for the history: what one of them leaves out the other must not show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def is_secret(info: FieldInfo) -> bool:
    """A parameter that is marked as secret in one of the two ways of JSON Schema and OpenAPI:
    `json_schema_extra={"format": "password"}` or `{"writeOnly": True}`."""
    extra = info.json_schema_extra
    return isinstance(extra, dict) and (extra.get("format") == "password" or extra.get("writeOnly") is True)


def secrets_in(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[str]:
    """The texts of these parameters that are secret."""
    for name, info in model.model_fields.items():
        value = values.get(info.alias or name)
        if is_secret(info):
            yield from _texts(value)
        else:
            yield from (text for inner, part in _within(info.annotation, value) for text in secrets_in(inner, part))


def without_secrets(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """These parameters without those that are secret."""
    infos = {info.alias or name: info for name, info in model.model_fields.items()}
    return {name: _shown(infos.get(name), value) for name, value in values.items() if name not in infos or not is_secret(infos[name])}


def _shown(info: FieldInfo | None, value: Any) -> Any:
    """A value without what is secret in it."""
    if info is None:
        return value
    if isinstance(value, list | tuple):
        return [_shown(info, one) for one in value]
    for inner, _ in _within(info.annotation, value):
        value = without_secrets(inner, value)
    return value


def _within(annotation: Any, value: Any) -> Iterator[tuple[type[BaseModel], Mapping[str, Any]]]:
    """The objects of a value that are of models, alone or in a list, each with each model that it may be of."""
    if get_origin(annotation) is None:
        models = [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
        parts = value if isinstance(value, list | tuple) else [value]
        yield from ((model, part) for model in models for part in parts if isinstance(part, Mapping))
    else:
        yield from (found for one in get_args(annotation) for found in _within(one, value))


def _texts(value: Any) -> Iterator[str]:
    """The texts of a secret, which may be a list of them."""
    if isinstance(value, list | tuple):
        yield from (text for one in value for text in _texts(one))
    elif isinstance(value, str):
        yield value
