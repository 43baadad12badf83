"""A pipeline's parameters as fields of a form, made from its schema: choices, numbers, yes or no, texts; anything else is typed as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from werkzeug.datastructures import MultiDict

from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.web.problems import Refused

#: What the name of such a field begins with in the form.
PREFIX = "p."


@dataclass(frozen=True, slots=True)
class Parameter:
    """A field of the form. One that is left empty is not sent, so the pipeline's own default holds."""

    name: str
    #: `choice`, `several` (of the choices), `flag`, `whole`, `number`, `text` or `json`.
    kind: str
    help: str
    #: The default as it would be typed; None: it must be given.
    default: str | None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None

    @property
    def field(self) -> str:
        """Its name in the form."""
        return PREFIX + self.name

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").capitalize()


def parameters(pipeline: Pipeline) -> list[Parameter]:
    """All that a pipeline takes, in its own order."""
    schema = pipeline.params.model_json_schema()
    required = schema.get("required", ())
    return [_parameter(name, about, name in required) for name, about in schema.get("properties", {}).items()]


def _parameter(name: str, about: Mapping[str, Any], required: bool) -> Parameter:
    shape = _shape(about)
    kind, choices = _kind(shape)
    default = None if required else _typed(kind, about.get("default"))
    least, most = (_bound(shape, *names) for names in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")))
    return Parameter(name, kind, about.get("description", ""), default, choices, least, most)


def _shape(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a parameter that may be null, what it is else: empty says null."""
    others = [one for one in about.get("anyOf", ()) if one.get("type") != "null"]
    return others[0] if len(others) == 1 else about


def _kind(shape: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    items = shape.get("items", {})
    if texts := _texts(shape):
        return "choice", texts
    if shape.get("type") == "array" and (texts := _texts(items)):
        return "several", texts
    plain = {"boolean": "flag", "integer": "whole", "number": "number", "string": "text"}
    return plain.get(str(shape.get("type")), "json"), ()


def _texts(shape: Mapping[str, Any]) -> tuple[str, ...]:
    """The choices, if all are texts: others are not what a form sends."""
    found = shape.get("enum", ())
    return tuple(found) if all(isinstance(one, str) for one in found) else ()


def _bound(shape: Mapping[str, Any], *names: str) -> float | None:
    return next((shape[name] for name in names if name in shape), None)


def _typed(kind: str, value: Any) -> str:
    if value is None:
        return ""
    if kind == "several":
        return ", ".join(map(str, value))
    if isinstance(value, str):
        return value
    return ("yes" if value else "no") if kind == "flag" else json.dumps(value, ensure_ascii=False)


def read_parameters(pipeline: Pipeline, form: MultiDict[str, str]) -> dict[str, Any]:
    """What was given; what a text cannot be read as is left for the pipeline's own check to refuse.

    :raises Refused: 422, what must be JSON is none; names the parameter.
    """
    return {one.name: value for one in parameters(pipeline) for value in _given(one, form.getlist(one.field))}


def _given(one: Parameter, texts: list[str]) -> Iterator[Any]:
    texts = [text.strip() for text in texts if text.strip()]
    if not texts:
        return
    if one.kind == "several":
        yield texts
    elif one.kind in ("choice", "text"):
        yield texts[0]
    elif one.kind == "flag":
        yield {"yes": True, "no": False}.get(texts[0], texts[0])
    else:
        yield _read(one, texts[0])


def _read(one: Parameter, text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if one.kind != "json":
            # "seven": the check says what it must be.
            return text
        raise Refused(422, "invalid_input", f"this is not JSON: {error}", field=f"params.{one.name}") from None


def fill(pipeline: Pipeline, params: Mapping[str, Any]) -> dict[str, list[str]]:
    """The fields of the form for these parameters, as of another job; what has its default is left empty."""
    known = {one.name: one for one in parameters(pipeline)}
    return {
        known[name].field: list(map(str, value)) if known[name].kind == "several" and isinstance(value, list | tuple) else [text]
        for name, value in params.items()
        if name in known and (text := _typed(known[name].kind, value)) not in ("", known[name].default)
    }
