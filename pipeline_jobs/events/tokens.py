"""Tokens that open one event stream, for clients that cannot send an Authorization header (a browser's EventSource and WebSocket).

A token stands for an API key and can less: read this one stream, for an hour. It is good as long as its key is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from itsdangerous import BadData, URLSafeTimedSerializer

#: How long a token opens its stream, in seconds; a stream that is open then goes on.
TOKEN_SECONDS = 3600
MAX_LENGTH = 512

_SALT = "pipeline-jobs.stream"


@dataclass(frozen=True, slots=True)
class StreamToken:
    """What a token says."""

    #: Whose it is; empty: no key was needed when it was made.
    key_id: str
    #: What it opens: see `job_scope`, `feed_scope`.
    scope: str


def job_scope(job_id: str) -> str:
    return f"job:{job_id}"


def feed_scope(tenant_id: str) -> str:
    return f"feed:{tenant_id}"


class StreamTokens:
    """Signs and reads tokens. The secret is asked for when first needed: it may be in the store."""

    def __init__(self, secret: Callable[[], str]) -> None:
        self._secret = secret

    def make(self, token: StreamToken) -> tuple[str, int]:
        """Its text, and when it ends (Unix milliseconds)."""
        text = self._signer.dumps([token.key_id, token.scope])
        return str(text), int((time.time() + TOKEN_SECONDS) * 1000)

    def read(self, text: str) -> StreamToken | None:
        """What this token says; None: we did not sign it, or it is too old."""
        if len(text) > MAX_LENGTH:
            return None
        try:
            key_id, scope = self._signer.loads(text, max_age=TOKEN_SECONDS)
        except (BadData, ValueError, TypeError, UnicodeError):
            return None
        return StreamToken(str(key_id), str(scope))

    @cached_property
    def _signer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._secret(), salt=_SALT)
