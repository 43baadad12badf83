"""What several requests have in common: the types of their fields, and the Idempotency-Key."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pipeline_jobs.job import ANY_ID, BATCH_ID, unix_milliseconds
from pipeline_jobs.jobs.client import MAX_TAG
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import NAME

#: Longest Idempotency-Key, in characters.
MAX_KEY = 255
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
_INTEGER = re.compile(r"[0-9]{1,15}", re.ASCII)
_CANCELED = "canceled"


def _milliseconds(text: object) -> int:
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        raise ValueError("must be an RFC 3339 date-time such as 2025-01-03T12:00:00Z (write a + in a URL as %2B)")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError("there is no such date or time") from None
    return unix_milliseconds(moment)


def _status(word: str) -> str:
    word = JobStatus.CANCELLED.value if word == _CANCELED else word
    if word not in list(JobStatus):
        raise ValueError(f"must be one of: {', '.join(JobStatus)}")
    return word


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def integer(low: int, high: int, default: int) -> tuple[BeforeValidator, WithJsonSchema]:
    """The type of an integer in a query: `Annotated[int, *integer(1, 100, 25)]`. Digits only: no sign, no white space."""

    def read(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(f"must be an integer, {low}..{high}")
        return int(text)

    return BeforeValidator(read), WithJsonSchema({"type": "integer", "minimum": low, "maximum": high, "default": default})


Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
JobId = Annotated[str, Field(pattern=f"^{ANY_ID.pattern}$")]
BatchId = Annotated[str, Field(pattern=f"^{BATCH_ID.pattern}$", examples=["batch_1704326400_abc12345"])]
#: No control characters.
Word = Annotated[str, Field(min_length=1, max_length=MAX_TAG, pattern=r"^[^\x00-\x1f\x7f]+$")]
Moment = Annotated[int, BeforeValidator(_milliseconds), WithJsonSchema({"type": "string", "format": "date-time"})]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean", "default": False})]
StatusWord = Annotated[
    JobStatus, BeforeValidator(_status), WithJsonSchema({"type": "string", "enum": [*(status.value for status in JobStatus), _CANCELED]})
]


def _without_null(schema: dict[str, Any]) -> None:
    for described in schema["properties"].values():
        if "anyOf" in described:
            described.update(described.pop("anyOf")[0])
            described.pop("default", None)


class Body(BaseModel):
    """The body of a request: JSON's own types are not turned into others, and a field that there is not is refused."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Parameters(BaseModel):
    """Parameters or headers, all optional. None means absent, and is nothing that a client could send."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_null)


#: Type of a header Idempotency-Key, whose field `idempotency_key` describes.
IdempotencyKey = Annotated[str, Field(min_length=1, max_length=MAX_KEY)] | None


def idempotency_key(does: str, repeated: str = "A repeated request gets it (`Idempotent-Replayed: true`).") -> Any:
    """The field of the header.

    :param does: what becomes of the request: `create one job`.
    :param repeated: what a repeated request gets.
    """
    return Field(
        None,
        alias="Idempotency-Key",
        description=f"A unique key for this request, valid for 24 hours in your tenant. Requests with the same key {does}. {repeated} "
        "A different request with the same key gets 422.",
    )


class IdempotencyHeaders(Parameters):
    """Headers of a request that creates something."""

    idempotency_key: IdempotencyKey = idempotency_key("create one job")
