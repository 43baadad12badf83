"""Requests that are made again: a server may restart or have no room, and a proxy in front of it says so in its own words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import httpx

from pipeline_jobs_client.generated.types import Response

T = TypeVar("T")

#: Answers that pass: a limit, a server that is away or restarts, a proxy that finds none behind it.
PASSING = frozenset({429, 502, 503, 504})
#: Between two tries where the answer names no time, in seconds; after these one more is made.
PAUSES = (1.0, 2.0, 4.0, 8.0)


def patiently(request: Callable[[], Response[T]]) -> Response[T]:
    """The answer of a generated operation that may be asked for twice, tried five times in all.

    :raises httpx.TransportError, ValueError: at the last try there was none, or one of a proxy's own.
    """
    for pause in PAUSES:
        found, seconds = attempt(request, pause)
        if found is not None:
            return found
        time.sleep(seconds)
    return request()


def attempt(request: Callable[[], Response[T]], pause: float) -> tuple[Response[T] | None, float]:
    """The answer, or None if there was none or one that passes, and for how many seconds to wait then.

    A proxy's own page (nginx: 429, 502) is no JSON: what the generated function says of it is a ValueError.
    """
    try:
        answer = request()
    except (httpx.TransportError, json.JSONDecodeError):
        return None, pause
    if answer.status_code in PASSING:
        return None, seconds_of(answer.headers, pause)
    return answer, 0.0


def seconds_of(headers: Mapping[str, str], otherwise: float) -> float:
    """How long an answer asks to wait (`Retry-After`)."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else otherwise
