"""How large files reach a disk that the store's log may be on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline_jobs.files import paced
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.paced import STEP_BYTES, Turns
from tests.waiting import until

PATH = "acme/main/upload-1/part"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path.as_uri(), "http://x", lambda: "k")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that files had when they were synced."""
    sizes: list[int] = []
    sync = os.fsync

    def noted(number: int) -> None:
        sizes.append(os.fstat(number).st_size)
        sync(number)

    monkeypatch.setattr(os, "fsync", noted)
    return sizes


@pytest.mark.parametrize(
    "pieces", [[b"x" * 65_536] * 56, [b"x" * (7 * STEP_BYTES // 2)], [b"x" * 700_000] * 3, [b"x" * 1000] * 1100], ids=len
)
def test_no_more_than_a_step_is_written_before_a_sync(store: ArtifactStore, synced: list[int], pieces: list[bytes]) -> None:
    store.write(pieces, PATH)
    assert store.read(PATH) == b"".join(pieces)
    sizes = synced[:-1]  # the last is the folder's
    assert sizes[-1] == sum(map(len, pieces)), "all of it is synced"
    assert all(after - before <= STEP_BYTES for before, after in zip([0, *sizes], sizes, strict=False))


def test_an_empty_file_is_synced_too(store: ArtifactStore, synced: list[int]) -> None:
    store.write(b"", PATH)
    assert synced[0] == 0
    assert store.read(PATH) == b""


def test_only_the_steps_of_a_large_file_take_turns(store: ArtifactStore) -> None:
    taken: list[str] = []

    def turn() -> AbstractContextManager[None]:
        taken.append("a turn")
        return Turns().turn("acme")

    store.write(b"x" * STEP_BYTES, PATH, turn)
    assert taken == []
    store.write(b"x" * (2 * STEP_BYTES + 1), PATH, turn)
    assert len(taken) == 3


def test_a_step_that_fails_ends_its_turn() -> None:
    """A full disk must not hold up every later upload."""
    turns = Turns()
    for _ in range(2):
        with pytest.raises(OSError, match="full"), turns.turn("greedy"):
            raise OSError("full")

        def take() -> None:
            with turns.turn("other"):
                pass

        later = threading.Thread(target=take, daemon=True)
        later.start()
        until(lambda later=later: not later.is_alive(), "the next step")


def test_those_that_wait_are_served_tenant_by_tenant() -> None:
    turns = Turns()
    served: list[str] = []

    def step(tenant_id: str) -> Callable[[], None]:
        def take() -> None:
            with turns.turn(tenant_id):
                served.append(tenant_id)

        return take

    threads = [threading.Thread(target=step(tenant_id), daemon=True) for tenant_id in ("greedy", "greedy", "greedy", "other", "third")]
    with turns.turn("greedy"):
        for number, thread in enumerate(threads, 1):
            thread.start()
            until(lambda number=number: turns.waiting == number, "the step to wait")
        assert served == [], "one at a time"
    until(lambda: len(served) == len(threads), "all to be served")
    assert served == ["greedy", "other", "third", "greedy", "greedy"]
    with turns.turn("greedy"):
        assert turns.waiting == 0, "nobody has a turn that is over"


def test_who_waits_for_one_that_hangs_gives_up_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns()
    gave_up: list[str] = []

    def step(tenant_id: str) -> None:
        try:
            with turns.turn(tenant_id):
                raise AssertionError("the other one has it")
        except TimeoutError:
            gave_up.append(tenant_id)

    monkeypatch.setattr(paced, "TURN_SECONDS", 0.05)
    with turns.turn("hangs"):
        for tenant_id in ("a", "a", "hangs"):
            threading.Thread(target=step, args=(tenant_id,), daemon=True).start()
        until(lambda: len(gave_up) == 3, "all to give up")
        assert (sorted(gave_up), turns.waiting) == (["a", "a", "hangs"], 0)
    with turns.turn("a"):
        assert turns.waiting == 0


@pytest.mark.parametrize("waits", [False, True], ids=["alone", "beside another"])
def test_the_disk_rests_between_two_steps_where_others_wait(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    turns, rests = Turns(), list[float]()
    monkeypatch.setattr(paced, "sleep", rests.append)
    monkeypatch.setattr(paced, "monotonic", iter([0.0, 0.03, 1.0, 3.0, 4.0]).__next__)

    def step() -> None:
        with turns.turn("other"):
            pass

    with turns.turn("greedy"):
        other = threading.Thread(target=step, daemon=True)
        if waits:
            other.start()
            until(lambda: turns.waiting, "the other to wait")
    if waits:
        other.join()
    assert rests == ([0.03] if waits else [])
