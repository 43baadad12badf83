"""A key for the sample job, where the API asks for one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store, connect

ACTOR = "make run"
#: Longest life of the key, should nobody come to revoke it, in seconds.
LIFE_SECONDS = 3600


def required(settings: Settings) -> bool:
    """The API asks for a key: one was made in this data folder before, or a setting says so. :raises StoreUnavailable:"""
    client = connect(settings.redis_url)
    try:
        return _asks(KeyStore(Store(client, settings)), settings)
    finally:
        client.close()


def _asks(keys: KeyStore, settings: Settings) -> bool:
    return settings.require_keys or keys.required()


@contextmanager
def headers(settings: Settings, tenant: str) -> Iterator[dict[str, str]]:
    """Headers for requests of a tenant while the block lasts: none while no key was ever made, else a key that ends with the block.

    :raises StoreUnavailable:
    """
    client = connect(settings.redis_url)
    try:
        keys = KeyStore(Store(client, settings))
        if not _asks(keys, settings):
            yield {}
            return
        expires = int((time.time() + LIFE_SECONDS) * 1000)
        key, text = keys.create(tenant, Role.SUBMIT, actor=ACTOR, name="the sample job of make run", expires_at=expires)
        try:
            yield {"Authorization": f"Bearer {text}"}
        finally:
            keys.revoke(tenant, key.key_id, actor=ACTOR)
    finally:
        client.close()
