"""Celery's result backend on the addresses that the store takes: behind Sentinel it is on whichever server is the master.

Celery has a backend of its own for that, whose address has the name of the master nowhere. Written against Celery 5.7.0.
"""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend
from kombu.utils.url import maybe_sanitize_url

from pipeline_jobs.starting import SCHEME, watched
from pipeline_jobs.store.connection import master_pool

#: What the address says of the server; Sentinel says where it is.
_OF_ADDRESS = ("host", "port", "db", "username", "password")


class BySentinel(RedisBackend):
    """Takes `sentinel://...` besides what Celery's takes, and `rediss://...` as the store does."""

    def _params_from_url(self, url: str, defaults: dict[str, Any]) -> dict[str, Any]:
        if not url.startswith(SCHEME):
            params: dict[str, Any] = super()._params_from_url(url, defaults)
            if url.startswith("rediss://"):
                # Celery refuses an address that does not say it; redis-py, and so the store and kombu, take it for what it is here.
                params.setdefault("ssl_cert_reqs", "required")
            return params
        return {name: value for name, value in defaults.items() if name not in _OF_ADDRESS}

    def _get_pool(self, **params: Any) -> Any:
        url = str(self.url or "")
        return master_pool(watched(url), **params) if url.startswith(SCHEME) else super()._get_pool(**params)

    def as_uri(self, include_password: bool = False) -> str:
        """The address, as Celery shows it in its banner."""
        url = str(self.url or "")
        if include_password or not url.startswith(SCHEME):
            return super().as_uri(include_password)  # type: ignore[no-any-return]
        return ";".join(map(maybe_sanitize_url, url.split(";")))
