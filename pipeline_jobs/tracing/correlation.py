"""What ties together all that is done for one request: its id, and its place in a trace (W3C Trace Context). Both go with a job's record.

They belong to the context (`contextvars`) in which a job is made, and not to what is asked of it: a request that is sent again with its
Idempotency-Key is the same request under another id. So every way in takes them without a word: a request's jobs have the request's, and
what a stage starts has those of its job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from pipeline_jobs.tracing.within import Within

#: Nothing that could end a header or a log line.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}", re.ASCII)
#: Of version 00, the only one there is: trace, parent, flags; none of the first two is all zeros.
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Correlation:
    """A request's id and its `traceparent`; each may be None."""

    request_id: str | None = None
    traceparent: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Correlation:
        """From `{"request_id": ..., "traceparent": ...}`, such as a message's headers. What has not the form of one is absent."""
        return cls(_good(REQUEST_ID, values.get("request_id")), _good(TRACEPARENT, values.get("traceparent")))

    def given(self) -> dict[str, str]:
        """What it has, by the names of a record's fields."""
        both = {"request_id": self.request_id, "traceparent": self.traceparent}
        return {name: value for name, value in both.items() if value is not None}


_NONE = Correlation()
_current: ContextVar[Correlation] = ContextVar("correlation", default=_NONE)


def current() -> Correlation:
    """The correlation of this context."""
    return _current.get()


def given() -> dict[str, str]:
    """What the correlation of this context has, by the names of a record's fields."""
    here = _current.get()
    return {} if here is _NONE else here.given()


def bind(correlation: Correlation) -> None:
    """Make this the correlation of this context from now on, in the place of what an earlier request of the thread had."""
    _current.set(correlation)


def bound(correlation: Correlation) -> AbstractContextManager[Correlation]:
    """Make this the correlation of this context inside of the block."""
    return Within(_current, correlation)


def _good(form: re.Pattern[str], value: Any) -> str | None:
    return value if isinstance(value, str) and form.fullmatch(value) else None
