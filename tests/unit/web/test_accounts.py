"""What turns by tenant are decided by: who was served lately, and who has heavy requests to pay for (with a server: `test_turns.py`)."""

from __future__ import annotations

import random

import pytest

from pipeline_jobs.web.server import accounts, client_connection
from pipeline_jobs.web.server.accounts import (
    MOST_ALONE,
    MOST_AT_WORK,
    MOST_OWED,
    OTHERS_SECONDS,
    REMEMBERED,
    SHARE,
    Debts,
    Latest,
    Owners,
    Turns,
)
from pipeline_jobs.web.server.balance import Served


def test_what_is_heavy_is_paid_for() -> None:
    turns = Turns(Served())
    turns.note("a", 0.0, is_known=True)
    turns.debts.charge("a", 0.1, 0.0)
    # Alone nobody waits for it.
    assert turns.most("a", 0.0) == turns.most("a", 0.0, large=True) == MOST_ALONE
    turns.note("b", 0.0, is_known=True)
    paid = 0.1 / SHARE
    assert [turns.most("a", now) for now in (0.0, 0.9 * paid, 1.1 * paid, paid + 0.9 * REMEMBERED)] == [0, 0, 1, 1]
    assert turns.most("a", paid + 1.1 * REMEMBERED) == turns.most("b", 0.0) == MOST_AT_WORK
    turns.debts.charge("a", 0.1, 0.0)
    turns.debts.charge("a", 0.1, 0.0)
    assert turns.debts.left("a", 0.0) == pytest.approx(3 * paid)
    turns.debts.charge("a", 1000.0, 0.0)
    assert turns.debts.left("a", 0.0) == MOST_OWED
    # Time without heavy requests saves up nothing.
    turns.debts.charge("a", 0.1, 100.0)
    assert turns.debts.left("a", 100.0) == pytest.approx(paid)


def test_what_is_expected_to_be_heavy_is_at_work_alone() -> None:
    turns = Turns(Served())
    turns.note("b", 0.0, is_known=True)
    assert [turns.most("a", 0.0, large=large) for large in (False, True)] == [MOST_AT_WORK, 1]


def test_an_address_and_the_tenant_that_comes_from_it_are_not_two() -> None:
    latest = Latest()
    latest.note("127.0.0.1", 0.0)
    latest.rename("127.0.0.1", "tenant a")
    latest.note("tenant a", 1.0)
    assert not latest.has_others("tenant a", 1.0)
    # With a second key.
    latest.note("127.0.0.1", 2.0)
    latest.rename("127.0.0.1", "tenant a")
    assert not latest.has_others("tenant a", 2.0)
    assert latest.has_others("tenant b", 2.0)
    assert not latest.has_others("tenant b", 2.0 + OTHERS_SECONDS)


def test_whom_other_processes_serve_is_another_unless_nobody_knows_who_it_is() -> None:
    served = Served()
    one, other = Turns(served), Turns(served)
    one.note("a", 0.0, is_known=True)
    # The first request of a key, the health checks of a balancer: they come to any process, and are nobody's neighbours.
    other.note("127.0.0.1", 0.0, is_known=False)
    assert one.most("a", 0.0) == MOST_ALONE
    assert other.most("a", 0.0) == MOST_AT_WORK, "in the process itself they are"
    other.note("b", 1.0, is_known=True)
    assert one.most("a", 1.0 + 0.9 * OTHERS_SECONDS) == MOST_AT_WORK
    one.note("a", 2.0, is_known=True)
    assert one.most("b", 2.0) == one.most("a", 2.0) == MOST_AT_WORK
    assert one.most("a", 1.0 + 1.1 * OTHERS_SECONDS) == MOST_ALONE
    # Whoever is served by several of them is one.
    other.note("a", 100.0, is_known=True)
    assert one.most("a", 100.0) == MOST_ALONE


def test_whoever_was_served_before_an_address_keeps_its_name() -> None:
    latest = Latest()
    latest.note("tenant b", 0.0)
    latest.note("127.0.0.1", 1.0)
    latest.rename("127.0.0.1", "tenant a")
    assert latest.has_others("tenant a", 1.0)


def test_names_are_remembered_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_NAMES", 2)
    owners, debts = Owners(), Debts()
    assert [owners.note(b"1", "a"), owners.note(b"1", "a"), owners.note(b"1", "b")] == [True, False, True]
    for number in (b"2", b"3"):
        owners.note(number, "c")
    assert [owners.of(number) for number in (b"1", b"2", b"3")] == [None, "c", "c"]
    for name in "abb":
        debts.charge(name, 1.0, 0.0)
    assert debts.is_heavy("a", 0.0), "one that was known took nobody's room"
    debts.charge("c", 1.0, 0.0)
    assert [debts.is_heavy(name, 0.0) for name in "abc"] == [False, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_credentials_are_the_same_whatever_stands_beside_them(seed: int) -> None:
    """A key counts before a session, as where it is decided who may; another key or session is another's."""
    draw = random.Random(seed)

    def shown(credentials: list[str]) -> bytes:
        beside = [f"X-{draw.random()}: Authorization: Bearer {draw.random()}" for _ in range(draw.randrange(3))]
        lines = [*credentials, *beside]
        draw.shuffle(lines)
        return client_connection._shown("\r\n".join(["GET / HTTP/1.1", *lines, ""]).encode())

    def cookies(session: str) -> str:
        others = [f"n{number}={draw.random()}" for number in range(draw.randrange(3))]
        return "; ".join([*others, f"pipeline_jobs={draw.choice((session, chr(34) + session + chr(34)))}", *others[:1]])

    for _ in range(50):
        bearer = draw.choice(("Bearer", "bearer", "BEARER")) + " " * draw.randrange(1, 4)
        name = draw.choice(("Authorization", "authorization"))
        assert shown([f"{name}: {bearer}k1", f"Cookie: {cookies('s2')}"]) == b"key k1"
        assert shown([f"{name}:{bearer}k2 "]) == b"key k2"
        assert shown([f"Cookie: {cookies('s1')}", f"{name}: Basic {draw.random()}"]) == b"session s1"
        assert shown([f"Cookie: n={draw.random()}"]) == b""
