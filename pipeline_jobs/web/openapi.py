"""Builds the OpenAPI document's answers: every status of every operation, with its headers and error body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_openapi.models.schema import Schema
from flask_openapi.openapi import OpenAPI
from flask_openapi.types import ResponseDict
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipeline_jobs.web.bodies import PUBLIC
from pipeline_jobs.web.problems import CONTENT_TYPE

_SCHEMAS = "#/components/schemas/"

_TEXTS: Mapping[int, str] = {
    400: "Malformed: not JSON, or an unknown or repeated parameter.",
    403: "A browser's request that comes from another site, or for a host that is not ours.",
    404: "There is no such thing, or a feature flag is off (`code` says which; `detail` names the flag).",
    413: "The body is larger than PIPELINE_MAX_BODY_BYTES.",
    415: "The body is not `application/json`.",
    416: "The file has no such range of bytes.",
    422: "A field has a value that is not allowed; `field` and `errors` name it.",
    500: "A fault of the server; its log has the details under the `request_id`.",
    429: "Too many: of this tenant's jobs wait already. Try again after `Retry-After`.",
    503: "The store cannot be reached or cannot write: nothing was done. Try again after `Retry-After`.",
}

_HEADERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": ("The request's own, if it sent a usable one, or a new one.", {"type": "string"}),
    "Location": ("Where the job is.", {"type": "string"}),
    "ETag": ("Changes with every change of the job; for `If-None-Match`.", {"type": "string"}),
    "Retry-After": ("When to ask again, in seconds.", {"type": "integer", "minimum": 1}),
    "Preference-Applied": ("`wait=n` when the request was allowed to wait.", {"type": "string"}),
    "Accept-Ranges": ("bytes", {"type": "string"}),
    "Content-Range": ("Which bytes these are.", {"type": "string"}),
}


def answer(text: str, model: type[BaseModel] | None, *headers: str, media_type: str = "application/json") -> dict[str, Any]:
    """A good answer, as an OpenAPI Response. Without a model it has no JSON body."""
    described = {name: _header(name) for name in ("X-Request-Id", *headers)}
    found: dict[str, Any] = {"description": text, "headers": described}
    if model is not None:
        found["content"] = {media_type: {"schema": {"$ref": _SCHEMAS + model.__name__}}}
    return found


def file_answer(text: str, *headers: str, media_type: str = "*/*", binary: bool = True) -> dict[str, Any]:
    """An answer that is no JSON."""
    found = answer(text, None, *headers)
    found["content"] = {media_type: {"schema": {"type": "string", "format": "binary"} if binary else {"type": "string"}}}
    return found


def responses(good: Mapping[int, Mapping[str, Any]], *errors: int) -> ResponseDict:
    """All answers of an operation: the good ones, these errors, and the errors that any operation may give (403, 500)."""
    found: ResponseDict = {status: dict(body) for status, body in good.items()}
    for status in sorted({403, 500, *errors} - set(good)):
        headers = ["X-Request-Id", *(["Retry-After"] if status in (429, 503) else []), *(["Content-Range"] if status == 416 else [])]
        found[status] = {
            "description": _TEXTS[status],
            "headers": {name: _header(name) for name in headers},
            "content": {CONTENT_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}}},
        }
    return found


def complete(app: OpenAPI) -> dict[str, Any]:
    """The whole document of an app whose blueprints are registered."""
    _, found = models_json_schema([(model, "serialization") for model in PUBLIC], ref_template=_SCHEMAS + "{model}")
    app.components_schemas.update({name: Schema(**schema) for name, schema in found["$defs"].items()})
    return app.api_doc


def _header(name: str) -> dict[str, Any]:
    text, schema = _HEADERS[name]
    return {"description": text, "schema": schema}
