"""The errors that pydantic found in a request, as the member `errors` of an `application/problem+json` answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.tenants import NAME, NAME_RULE
from pipeline_jobs.web.problems import MAX_FIELD, Refused

_MAX_ERRORS = 20
#: Of more than so many only the number is said: pydantic gives all of them or none, and each takes time.
MAX_COUNTED = 1_000

#: Of some types of errors, in our words.
_MESSAGES: Mapping[str, str] = {
    "extra_forbidden": "unknown field",
    "missing": "required",
    "model_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
}
#: Of a pattern that people need not read, what pydantic says, in our words.
_PATTERNS: Mapping[str, str] = {f"String should match pattern '^{NAME.pattern}$'": NAME_RULE}


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """`[{"field": "tags.3", "message": "...", "code": "string_too_long"}]`: at most 20. No value that the client sent is repeated."""
    if (count := error.error_count()) > MAX_COUNTED:
        return [{"field": "body", "message": f"{count} things in it are wrong", "code": "too_many_errors"}]
    found = error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_ERRORS]
    return [
        {
            "field": ".".join(map(str, one["loc"]))[:MAX_FIELD] or "body",
            "message": _MESSAGES.get(one["type"]) or _PATTERNS.get(one["msg"]) or one["msg"].removeprefix("Value error, "),
            "code": one["type"],
        }
        for one in found
    ]


def refuse_fields(errors: Sequence[Mapping[str, str]]) -> Refused:
    """The refusal (422) of a request with these errors; its `detail` and `field` are those of the first one."""
    first = errors[0]
    return Refused(422, InvalidInput.code, f"{first['field']}: {first['message']}", field=first["field"], errors=list(errors))
