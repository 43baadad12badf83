"""How large files reach a disk that the store's log may be on."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from pipeline_jobs.files import paced
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.paced import SMALL_BYTES, STEP_BYTES, Turns
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


@pytest.mark.parametrize("size", [0, 1, STEP_BYTES, 7 * STEP_BYTES // 2])
def test_what_a_run_publishes_is_synced_in_steps_with_rests(
    store: ArtifactStore, synced: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """What only lies in the kernel's memory would be lost with the power, and the store's syncs would wait for all of it."""
    rests: list[float] = []
    monkeypatch.setattr(paced, "sleep", rests.append)
    local = tmp_path / "local.bin"
    local.write_bytes(os.urandom(size))
    assert store.put(local, PATH) == size
    assert store.read(PATH) == local.read_bytes()
    steps = synced[:-1]  # the last is the folder's
    assert steps[-1] == size, "all of it is synced"
    assert all(after - before <= STEP_BYTES for before, after in zip([0, *steps], steps, strict=False))
    assert len(rests) == len(steps)


def test_an_empty_file_is_synced_too(store: ArtifactStore, synced: list[int]) -> None:
    store.write(b"", PATH)
    assert synced[0] == 0
    assert store.read(PATH) == b""


def test_only_the_steps_of_a_large_file_take_turns(store: ArtifactStore) -> None:
    taken: list[str] = []

    def turn() -> AbstractContextManager[None]:
        taken.append("a turn")
        return Turns().turn("acme")

    store.write(b"x" * SMALL_BYTES, PATH, turn)
    assert taken == []
    store.write(b"x" * (SMALL_BYTES + 1), PATH, turn)
    assert len(taken) == 1
    store.write(b"x" * (2 * STEP_BYTES + 1), PATH, turn)
    assert len(taken) == 4


@pytest.fixture
def patience() -> float:
    return 0.05


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch, patience: float) -> list[int]:
    """Gets a row for each file that is synced beside another one. Each waits for another one for so long."""
    met, meeting, sync = list[int](), threading.Barrier(2), os.fsync

    def meet(number: int) -> None:
        if stat.S_ISREG(os.fstat(number).st_mode):
            try:
                met.append(meeting.wait(patience))
            except threading.BrokenBarrierError:
                meeting.reset()
        sync(number)

    monkeypatch.setattr(os, "fsync", meet)
    return met


def publish_and_give_a_result(folder: Path, steps: int) -> None:
    """As two processes do: each opens the artifact store for itself, and a lock is that of whoever opened the file."""
    local = folder / "local.bin"
    local.write_bytes(bytes(steps * STEP_BYTES))

    def store() -> ArtifactStore:
        return ArtifactStore((folder / "artifacts").as_uri(), "http://x", lambda: "k")

    (folder / "artifacts").mkdir()
    calls: list[Callable[[], object]] = [
        partial(store().put, local, "acme/main/job-1/file"),
        partial(store().write, bytes(600_000), "acme/main/job-2/result.json"),
    ]
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        until(lambda thread=thread: not thread.is_alive(), "both to be stored")
    for job, size in (("job-1/file", steps * STEP_BYTES), ("job-2/result.json", 600_000)):
        assert store().stat(f"acme/main/{job}").size == size


def test_files_and_results_of_jobs_reach_the_disk_one_step_at_a_time_whichever_process_writes_them(
    tmp_path: Path, together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's sync waits for all that lie there unsynced."""
    monkeypatch.setattr(paced, "COURTESY_SECONDS", 1000.0)
    publish_and_give_a_result(tmp_path, 4)
    assert together == []


@pytest.mark.parametrize("patience", [1000.0])
def test_one_that_hangs_in_the_disk_holds_up_no_other_process(tmp_path: Path, together: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are a courtesy to the store."""
    monkeypatch.setattr(paced, "COURTESY_SECONDS", 0.0)
    publish_and_give_a_result(tmp_path, 1)
    assert sorted(together) == [0, 1], "each hangs until the other one is there"


@pytest.mark.parametrize("size", [SMALL_BYTES, SMALL_BYTES + 1])
def test_a_small_file_waits_for_nobody(store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    looks: list[float] = []
    monkeypatch.setattr(paced, "COURTESY_SECONDS", 0.01)
    monkeypatch.setattr(paced, "sleep", looks.append)
    with paced.disk_turn(str(tmp_path)):
        (tmp_path / "local.bin").write_bytes(bytes(size))
        for call in (partial(store.write, bytes(size), PATH), partial(store.put, tmp_path / "local.bin", PATH)):
            looks.clear()
            call()
            assert (paced.LOOK_SECONDS in looks) is (size > SMALL_BYTES)


def test_where_a_folder_cannot_be_locked_nothing_waits(tmp_path: Path) -> None:
    """It may be on another machine, or not be there yet."""
    ran = []
    with paced.disk_turn(str(tmp_path / "none")):
        ran.append(1)
    assert ran


def test_before_each_step_it_is_asked_whether_others_go_first(store: ArtifactStore) -> None:
    turns, asked = Turns(), list[int]()
    turns.before_step = lambda: asked.append(turns.waiting)
    store.write([bytes(3 * STEP_BYTES)], "acme/main/upload-1/part", partial(turns.turn, "acme"))
    store.write([bytes(SMALL_BYTES)], "acme/main/upload-1/small", partial(turns.turn, "acme"))
    assert asked == [0, 0, 0]


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
