"""What a process remembers of keys and of failures: for how long, and how much."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from pipeline_jobs.access.api_keys import ApiKey, Role
from pipeline_jobs.web.access import key_cache as keyring
from pipeline_jobs.web.access import throttle as failures
from pipeline_jobs.web.access.key_cache import CACHE_SECONDS, KeyRing
from pipeline_jobs.web.access.throttle import BURST, SECONDS_EACH, Failures

from .world import World


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(world: World) -> tuple[ApiKey, str]:
    return world.key("acme", Role.READ, last_used_at=int(time.time() * 1000))


class TestKeyRing:
    def test_a_revocation_holds_within_a_second(self, world: World, clock: Clock) -> None:
        assert CACHE_SECONDS < 1
        ring = KeyRing(world.keys, clock)
        key, text = made(world)
        assert ring.find(text) is not None
        world.keys.revoke("acme", key.key_id, actor="test")
        clock.now += CACHE_SECONDS - 0.01
        assert ring.find(text) is not None
        clock.now += 0.01
        assert ring.find(text) is None
        assert not ring.has_seen(text)

    def test_the_age_of_an_answer_counts_from_the_question(self, world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        _, text = made(world)
        asked: list[str] = []
        get = world.keys.get

        def slow(key_id: str) -> ApiKey | None:
            asked.append(key_id)
            clock.now += CACHE_SECONDS
            return get(key_id)

        monkeypatch.setattr(world.keys, "get", slow)
        ring = KeyRing(world.keys, clock)
        assert ring.find(text) is not None
        assert ring.find(text) is not None
        assert len(asked) == 2

    def test_a_wrong_key_is_not_remembered(self, world: World, clock: Clock) -> None:
        ring = KeyRing(world.keys, clock)
        _, text = made(world)
        wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
        assert ring.find(wrong) is None
        assert not ring.has_seen(wrong)
        world.lose_store()
        assert ring.find("nonsense") is None, "what is not of a key's form must cost the store nothing"

    def test_the_same_text_is_good_for_the_right_key_only(self, world: World, clock: Clock) -> None:
        ring = KeyRing(world.keys, clock)
        (_, text), (second, _) = made(world), made(world)
        assert ring.find(f"pjk_{second.key_id}_{text.rpartition('_')[2]}") is None

    def test_memory_is_bounded(self, world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keyring, "MAX_REMEMBERED", 3)
        ring = KeyRing(world.keys, clock)
        texts = [made(world)[1] for _ in range(5)]
        assert all(ring.find(text) for text in texts)
        assert [ring.has_seen(text) for text in texts] == [False, False, True, True, True]

    def test_no_text_is_kept(self, world: World, clock: Clock) -> None:
        ring = KeyRing(world.keys, clock)
        _, text = made(world)
        ring.find(text)
        assert text.split("_", 2)[2] not in repr(vars(ring))

    def test_a_full_store_does_not_shut_out_a_good_key(self, world: World, clock: Clock) -> None:
        _, text = world.key("acme", Role.READ)
        with full(world.store.client):
            assert KeyRing(world.keys, clock).find(text) is not None


@contextmanager
def full(server: redis.Redis) -> Iterator[None]:
    """The server takes no more writes."""
    server.config_set("maxmemory", 1)
    try:
        yield
    finally:
        server.config_set("maxmemory", 0)


class TestFailures:
    def test_a_burst_and_then_one_at_a_time(self, clock: Clock) -> None:
        found = Failures(clock)
        for number in range(1, BURST + 1):
            assert found.wait("a") == 0
            assert found.add("a") is (number == BURST)
        assert found.wait("a") == SECONDS_EACH
        assert found.wait("b") == 0
        clock.now += SECONDS_EACH
        assert found.wait("a") == 0
        assert found.add("a")
        assert found.wait("a") == SECONDS_EACH

    def test_all_is_forgotten_in_time(self, clock: Clock) -> None:
        found = Failures(clock)
        for _ in range(BURST):
            found.add("a")
        clock.now += BURST * SECONDS_EACH
        assert not any(found.add("a") for _ in range(BURST - 1))

    def test_memory_is_bounded(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(failures, "MAX_ADDRESSES", 3)
        found = Failures(clock)
        for address in "abcd":
            for _ in range(BURST):
                found.add(address)
        assert [found.wait(address) > 0 for address in "abcd"] == [False, True, True, True]

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
            ("2001:db8::1", "2001:db8:0:1::1", False),
            ("192.0.2.1", "192.0.2.2", False),
            ("::ffff:192.0.2.1", "192.0.2.1", True),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
            ("", "", True),
        ],
    )
    def test_whom_it_takes_for_one(self, one: str, other: str, same: bool) -> None:
        assert (failures.group(one) == failures.group(other)) is same
