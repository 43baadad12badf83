"""`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10): what a caller may still send, and when it may send more."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_jobs.store.rates import Rate


def rate_headers(rates: Iterable[Rate]) -> dict[str, str]:
    """Both headers, or none where nothing limits: `"tenant";q=10;w=1` and `"tenant";r=9;t=1`."""
    known = list(rates)
    if not known:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{rate.name}";q={rate.quota};w={rate.window}' for rate in known),
        "RateLimit": ", ".join(f'"{rate.name}";r={rate.left};t={rate.reset}' for rate in known),
    }
