"""The request that is being answered, taken out of Flask's proxy once."""

from __future__ import annotations

from flask import Request, request


def asked() -> Request:
    """The request itself: each look at it through Flask's proxy takes five times as long as this."""
    found: Request = request._get_current_object()  # type: ignore[attr-defined]
    return found
