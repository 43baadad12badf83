"""The key of the sample job."""

from __future__ import annotations

from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.up import access
from tests.integration.conftest import Cell


def test_no_key_is_made_while_none_is_asked_for(jobs: Cell) -> None:
    with access.headers(jobs.settings, "demo") as headers:
        assert headers == {}
    assert not KeyStore(jobs.store).required()


def test_where_keys_are_asked_for_one_is_made_and_ends_with_the_block(jobs: Cell) -> None:
    keys = KeyStore(jobs.store)
    keys.create("acme", Role.ADMIN, actor="test")
    with access.headers(jobs.settings, "demo") as headers:
        assert headers["Authorization"].startswith("Bearer pjk_")
        assert [key.revoked_at for key in keys.list("demo")] == [None]
    assert [key.revoked_at is not None for key in keys.list("demo")] == [True]
