"""Builds the OpenAPI document's answers: every status of every operation, with its headers and error body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask_openapi.models.schema import Schema
from flask_openapi.openapi import OpenAPI
from flask_openapi.types import ResponseDict
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipeline_jobs.pipelines import Registry
from pipeline_jobs.tenants import is_canary_pipeline
from pipeline_jobs.web.access.policy import POLICIES, Policy
from pipeline_jobs.web.http.operation_names import OPERATIONS
from pipeline_jobs.web.problems import CONTENT_TYPE
from pipeline_jobs.web.schemas.problem import Problem

_SCHEMAS = "#/components/schemas/"

#: The models of all answers: `answer` notes each.
_ANSWERED: set[type[BaseModel]] = {Problem}

_TEXTS: Mapping[int, str] = {
    400: "Malformed: not JSON, or an unknown or repeated parameter.",
    401: "No valid API key: it is missing, unknown, expired or revoked.",
    403: "The key does not permit this (`code` and `detail` say why), or the request came from a browser's page of another site, "
    "or is for a foreign host.",
    404: "There is no such thing, or a feature flag is off (`code` says which; `detail` names the flag).",
    409: "The state does not permit this (`code` says which: a job that has not ended or is not queued any more, a disabled "
    "endpoint, ...); or the Idempotency-Key belongs to a request that is still in progress, or whose job or schedule was "
    "deleted.",
    408: "The body arrived too slowly.",
    410: "The file with the result of a run that is repeated was lost.",
    412: "The tus version is not supported (see `Tus-Version`).",
    413: "The body is larger than PIPELINE_MAX_BODY_BYTES, or an upload is larger than PIPELINE_UPLOAD_MAX_BYTES or than its length.",
    415: "The media type of the body is not supported.",
    414: "The request line is longer than 8190 bytes.",
    431: "The headers are too large.",
    416: "The byte range is beyond the end of the file.",
    423: "Another request is writing to this upload.",
    460: "The body does not match `Upload-Checksum`; nothing was kept.",
    426: "This is the address of a WebSocket: connect with a WebSocket client.",
    422: "The value of a field is not permitted; `field` and `errors` name it.",
    500: "An error in the server; its log has the details under the `request_id`.",
    429: "A limit is reached (`code` says which). Try again after `Retry-After`.",
    503: "The store cannot be reached or cannot write; nothing was done. Try again after `Retry-After`.",
    507: "The disk of the server is nearly full (code `disk_full`). Free some space, or try again after `Retry-After`.",
}

_HEADERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": ("The id that the request sent, if it is valid, or a new one.", {"type": "string"}),
    "Location": ("The path of what was created.", {"type": "string"}),
    "ETag": ("Changes with every change of the job; for `If-None-Match`.", {"type": "string"}),
    "Retry-After": ("When to ask again, in seconds.", {"type": "integer", "minimum": 1}),
    "Idempotent-Replayed": ("`true` if this is the result of an earlier request with the same key.", {"type": "string"}),
    "Preference-Applied": ("`wait=n` if the request was permitted to wait.", {"type": "string"}),
    "RateLimit": (
        "For each rate (of the tenant, of the key or address): how many more jobs may be submitted now (`r`), and in how many "
        "seconds it is fully restored (`t`).",
        {"type": "string"},
    ),
    "RateLimit-Policy": ("For each rate: how many jobs (`q`) in how many seconds (`w`).", {"type": "string"}),
    "Accept-Ranges": ("bytes", {"type": "string"}),
    "Upgrade": ("websocket", {"type": "string"}),
    "WWW-Authenticate": ("Bearer", {"type": "string"}),
    "Content-Range": ("The byte range of this answer.", {"type": "string"}),
    "Tus-Resumable": ("The tus version.", {"type": "string"}),
    "Tus-Version": ("The tus version that this server supports.", {"type": "string"}),
    "Upload-Offset": ("Number of bytes that are stored.", {"type": "integer", "minimum": 0}),
    "Upload-Length": ("Size of the whole upload in bytes.", {"type": "integer", "minimum": 0}),
    "Sunset": ("When the file may be removed (RFC 8594).", {"type": "string"}),
    "Upload-Expires": ("When the upload expires (RFC 9110 date).", {"type": "string"}),
}

#: Of an answer that made a job, where a rate limits its sender.
RATE_HEADERS = ("RateLimit", "RateLimit-Policy")

_ERROR_HEADERS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    412: ("Tus-Version",),
    423: ("Retry-After",),
    416: ("Content-Range",),
    429: ("Retry-After", *RATE_HEADERS),
    426: ("Upgrade",),
    503: ("Retry-After",),
    507: ("Retry-After",),
}

#: Name of our one security scheme.
_SCHEME = "apiKey"

_NEEDS: Mapping[Policy, str] = {
    Policy.PROBE: "Requires a key for all tenants; none from the API's own machine.",
    Policy.OPERATOR: "Requires a key for all tenants.",
    Policy.READ: "Requires a key.",
    Policy.SUBMIT: "Requires a key with the role submit or admin.",
    Policy.ADMIN: "Requires an admin key for the tenant or for all tenants.",
    Policy.ROOT: "Requires an admin key for all tenants.",
}

#: Routes whose body may be left out.
_BODY_OPTIONAL = frozenset({"retry.retry"})

#: `<path:name>` in a rule of Flask's.
_CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")


def answer(text: str, model: type[BaseModel] | None, *headers: str, media_type: str = "application/json") -> dict[str, Any]:
    """A good answer, as an OpenAPI Response. Without a model it has no JSON body."""
    described = {name: _header(name) for name in ("X-Request-Id", *headers)}
    found: dict[str, Any] = {"description": text, "headers": described}
    if model is not None:
        _ANSWERED.add(model)
        found["content"] = {media_type: {"schema": {"$ref": _SCHEMAS + model.__name__}}}
    return found


def file_answer(text: str, *headers: str, media_type: str = "*/*", binary: bool = True) -> dict[str, Any]:
    """An answer that is no JSON."""
    found = answer(text, None, *headers)
    found["content"] = {media_type: {"schema": {"type": "string", "format": "binary"} if binary else {"type": "string"}}}
    return found


def stream_answer(text: str, model: type[BaseModel], *headers: str, media_type: str = "text/event-stream") -> dict[str, Any]:
    """A page of JSON, or a stream: of events whose `data` are envelopes, or of lines."""
    found = answer(text, model, *headers)
    found["content"][media_type] = {"schema": {"type": "string"}}
    return found


def responses(good: Mapping[int, Mapping[str, Any]], *errors: int) -> ResponseDict:
    """All answers of an operation: the good ones, these errors, and those that any operation may give (403, 414, 431, 500)."""
    found: ResponseDict = {status: dict(body) for status, body in good.items()}
    # Whatever has a body may come too slowly.
    late = {408} if 413 in errors else set()
    found.update({status: _error(status) for status in sorted({403, 414, 431, 500, *late, *errors} - set(good))})
    return found


def complete(app: OpenAPI, pipelines: Registry) -> dict[str, Any]:
    """The whole document of an app whose blueprints are registered. What each operation asks of a key comes from `policy`.

    :param pipelines: what `params` their jobs take stands among the schemas, as `params.{pipeline}`.
    """
    _, found = models_json_schema(
        [(model, "serialization") for model in sorted(_ANSWERED, key=lambda model: model.__name__)], ref_template=_SCHEMAS + "{model}"
    )
    app.components_schemas.update({name: Schema(**schema) for name, schema in found["$defs"].items()})
    document: dict[str, Any] = app.api_doc
    for pipeline in [one for one in pipelines.all() if not is_canary_pipeline(one.name)]:
        name = f"params.{pipeline.name}"
        # Definitions of its own stay inside it: two pipelines may have some of one name.
        document["components"]["schemas"][name] = pipeline.params.model_json_schema(ref_template=f"{_SCHEMAS}{name}/$defs/{{model}}")
    document["components"]["securitySchemes"] = {
        _SCHEME: {"type": "http", "scheme": "bearer", "description": "An API key, `pjk_{key_id}_{secret}`."}
    }
    for rule in app.url_map.iter_rules():
        item = document["paths"].get(_CONVERTER.sub(r"{\1}", rule.rule), {})
        for method in () if rule.websocket else rule.methods or ():
            if method.lower() in item:
                item[method.lower()]["operationId"] = OPERATIONS[rule.endpoint]
                if rule.endpoint in _BODY_OPTIONAL:
                    item[method.lower()]["requestBody"]["required"] = False
                _guard(item[method.lower()], POLICIES[rule.endpoint])
    return document


def _guard(operation: dict[str, Any], policy: Policy) -> None:
    """Document what a key has to do with an operation."""
    if policy is Policy.PUBLIC:
        operation["security"] = []
        return
    # An empty requirement is OpenAPI's word for "or none".
    operation["security"] = [{_SCHEME: []}, {}] if policy.here else [{_SCHEME: []}]
    errors = operation["responses"]
    operation["responses"] = dict(sorted({**{str(status): _error(status) for status in (401, 429, 503)}, **errors}.items()))
    operation["description"] += f"\n\n{_NEEDS[policy]}"


def _error(status: int) -> dict[str, Any]:
    headers = ["X-Request-Id", *_ERROR_HEADERS.get(status, ())]
    return {
        "description": _TEXTS[status],
        "headers": {name: _header(name) for name in headers},
        "content": {CONTENT_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}}},
    }


def _header(name: str) -> dict[str, Any]:
    text, schema = _HEADERS[name]
    return {"description": text, "schema": schema}
