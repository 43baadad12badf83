"""Reads and checks what a request brings, by the pydantic models in the view's signature, and says exactly what is wrong.

`validated` stands in for the check that flask-openapi would do itself: that one answers malformed JSON with 422, ignores
repeated parameters and builds the JSON schema of the query model anew for each request. The documentation stays its job.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar, get_type_hints
from wsgiref.types import WSGIEnvironment

from flask import Response, request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.web.asked import asked
from pipeline_jobs.web.http.json_bounds import MAX_ELEMENTS, MAX_KEYS, has_too_many, has_too_many_keys
from pipeline_jobs.web.http.sealing import unseal
from pipeline_jobs.web.http.validation_errors import field_errors, refuse_fields
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.server.slow import WATCH, arrived
from pipeline_jobs.web.state import web

Model = TypeVar("Model", bound=BaseModel)
View = Callable[..., Response]
Read = Callable[[WSGIEnvironment], BaseModel]

_INT64 = 2**63
_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)


def validated(view: View) -> View:
    """A view whose parameters `body`, `query`, `path` and `header` are read from the request by the model in their annotation.

    Goes between the route's decorator and the function. Headers are given as they are, by the aliases of their model: one
    that cannot be read is no error.

    :raises Refused: 400, 413, 415 or 422 (names the field).
    """
    hints = get_type_hints(view)
    body, query, path, header = (hints.get(name) for name in ("body", "query", "path", "header"))
    most: int = getattr(body, "max_elements", MAX_ELEMENTS)
    read_parameters = _reads_query(query) if query else None
    read_headers = _reads_headers(header) if header else None

    @wraps(view)
    def checked(**values: Any) -> Response:
        environ = asked().environ
        arguments: dict[str, BaseModel] = {}
        if path is not None:
            arguments["path"] = check(path, values)
        if read_parameters is not None:
            arguments["query"] = read_parameters(environ)
        if body is not None:
            arguments["body"] = check(body, {} if getattr(body, "optional_body", False) and _has_no_body() else read_json(most))
        if read_headers is not None:
            arguments["header"] = read_headers(environ)
        return view(**arguments)

    # flask-openapi's own mark for "this view checks its parameters itself" (its `validate_request`).
    checked.__delay_validate_request__ = True  # type: ignore[attr-defined]
    # And where it keeps what it wraps around a view, which would look at each request whether there is anything left to check.
    checked.view = checked  # type: ignore[attr-defined]
    return checked


def _reads_query(model: type[BaseModel]) -> Read:
    """What gives the query of a request. That of one without any, as most are, is made once: a view only reads it."""
    try:
        nothing: BaseModel | None = model.model_validate({})
    except ValidationError:
        nothing = None
    return lambda environ: nothing if nothing and not environ.get("QUERY_STRING") else check(model, read_query(model))


def _reads_headers(model: type[BaseModel]) -> Read:
    """What gives the headers of a request. Those of one that has none of the model's are made once, too."""
    keys = {name: _environ_key(field.alias or name) for name, field in model.model_fields.items()}
    wanted, nothing = frozenset(keys.values()), model.model_construct(**dict.fromkeys(keys))

    def read(environ: WSGIEnvironment) -> BaseModel:
        if environ.keys().isdisjoint(wanted):
            return nothing
        return model.model_construct(**{name: environ.get(key) for name, key in keys.items()})

    return read


def check(model: type[Model], raw: Any) -> Model:
    """:raises Refused: 422 with each wrong field."""
    try:
        found = model.model_validate(raw)
    except ValidationError as error:
        errors = field_errors(error)
    else:
        if (cursor := found.__dict__.get("cursor")) is not None:
            found.cursor = unseal(cursor)  # type: ignore[attr-defined]
        return found
    for one in errors:
        if one["code"] == "extra_forbidden" and (close := get_close_matches(one["field"], model.model_fields, n=1)):
            one["message"] += f": did you mean {close[0]!r}?"
    raise refuse_fields(errors)


def read_json(most: int = MAX_ELEMENTS) -> Any:
    """The body as JSON. Strict: UTF-8, no NaN, no lone surrogate, at most 200 levels, `most` elements, 1,000 keys of an object.

    :raises Refused: 400 malformed, 413 too much of it, 415 another media type.
    """
    environ = asked().environ
    if not _is_json(environ.get("CONTENT_TYPE", "")) or environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise Refused(415, "unsupported_media_type", "the body must be JSON: Content-Type: application/json, without a Content-Encoding")
    data = _read_body()
    if has_too_many(data, most):
        raise Refused(413, "body_too_large", f"the body has more than {most} elements", field="body")
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        what = f"is not JSON: {error}" if data else "is empty: it must be a JSON object"
        raise Refused(400, "malformed_json", f"the body {what}", field="body") from None
    # A shorter text has no room for them.
    if len(data) > 4 * MAX_KEYS and has_too_many_keys(value):
        raise Refused(413, "body_too_large", f"an object in the body has more than {MAX_KEYS} keys", field="body")
    return value


def read_query(model: type[BaseModel]) -> dict[str, Any]:
    """The query as a mapping for the model; a list is given as `a=1&a=2` or `a=1,2`.

    :raises Refused: 400, a parameter is unknown or repeated.
    """
    raw: dict[str, Any] = {}
    for name, values in request.args.lists():
        known = model.model_fields.get(name)
        if known is None:
            raise _unknown_parameter(name[:100], model)
        if getattr(known.annotation, "__origin__", None) is list:
            raw[name] = [item for value in values for item in value.split(",")]
        elif len(values) > 1:
            raise Refused(400, "repeated_parameter", f"{name} may be given only once", field=name)
        else:
            raw[name] = values[0]
    return raw


def _unknown_parameter(name: str, model: type[BaseModel]) -> Refused:
    close = get_close_matches(name, model.model_fields, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(model.model_fields)}"
    return Refused(400, "unknown_parameter", f"there is no parameter {name!r}; {hint}", field=name)


def check_json(value: Mapping[str, Any], field: str) -> None:
    """Refuse what is JSON but does not survive every store and client: NUL, integers beyond 64 bits, numbers beyond a double.

    :raises InvalidInput: names the path.
    """
    if not value:
        return
    todo: list[tuple[str, Any]] = [(field, value)]
    while todo:
        path, item = todo.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise InvalidInput(f"{path}: a NUL character is not allowed", field=path)
        elif isinstance(item, int):
            if not -_INT64 <= item < _INT64:
                raise InvalidInput(f"{path}: an integer must fit into 64 bits", field=path)
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise InvalidInput(f"{path}: the number is too large", field=path)
        elif isinstance(item, dict):
            if any("\0" in key for key in item):
                raise InvalidInput(f"{path}: a NUL character is not allowed in a key", field=path)
            todo.extend((f"{path}.{key[:50]}"[:200], child) for key, child in item.items())
        elif isinstance(item, list):
            todo.extend((f"{path}.{index}"[:200], child) for index, child in enumerate(item))


def _environ_key(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


def _has_no_body() -> bool:
    return request.environ.get("CONTENT_LENGTH") in (None, "", "0") and "HTTP_TRANSFER_ENCODING" not in request.environ


def _read_body() -> bytes:
    environ, settings = asked().environ, web().settings
    limit, seconds = settings.max_body_bytes, settings.request_seconds
    length = environ.get("CONTENT_LENGTH") or ""
    if _LENGTH.fullmatch(length) and "HTTP_TRANSFER_ENCODING" not in environ:
        # The usual case, without the layers of streams that werkzeug puts around the server's.
        if int(length) > limit:
            raise RequestEntityTooLarge
        if (data := arrived(environ, int(length))) is not None:
            return data
        with WATCH.limit(environ, seconds) as time:
            came: bytes = environ["wsgi.input"].read(int(length))
        if len(came) < int(length):
            raise _incomplete(time.over, seconds)
        return came
    with WATCH.limit(environ, seconds) as time:
        try:
            data = request.get_data(cache=False)
        except HTTPException:
            raise
        except Exception:
            # Malformed chunks: each server has errors of its own for them.
            raise _incomplete(time.over, seconds) from None
    if time.over:
        raise _incomplete(True, seconds)
    if request.content_length is None and len(data) >= limit:
        # Of a chunked body werkzeug reads up to the limit and gives that, cut off, for the whole.
        raise RequestEntityTooLarge
    return data


def _incomplete(late: bool, seconds: float) -> Refused:
    if late:
        return Refused(408, "too_slow", f"body: it did not arrive within {seconds:g} s", field="body")
    return Refused(400, "incomplete_body", "body: it ended too early, or its chunks are malformed", field="body")


def _is_json(content_type: str) -> bool:
    mimetype = content_type.partition(";")[0].strip().lower()
    return mimetype == "application/json" or (mimetype.startswith("application/") and mimetype.endswith("+json"))
