"""What is about the processes of a run: the server's clock, their network, a small disk. The times that are measured; when it is over."""

from __future__ import annotations

import errno
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import redis
from celery import chain

from pipeline_jobs.job import Job
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker import continuations
from pipeline_jobs.worker.hints import JOB_TASK
from tests.celery_apps import celery_app
from tests.chaos import clock as clocks
from tests.chaos.crashes import Cause, Crash
from tests.chaos.evidence import at_work
from tests.chaos.full import FLAG
from tests.chaos.journal import Body
from tests.chaos.plan import CAPPED
from tests.chaos.proxy import Link, Proxies
from tests.chaos.small_disk import RESERVE_BYTES, SmallDisk
from tests.chaos.waits import (
    OF_CHILDREN,
    OF_WORKERS,
    TURN_SECONDS,
    Slots,
    _given_at_first,
    _handed_over,
    of_workers,
    until_requeued,
    until_started,
)
from tests.servers import Server
from tests.stack import ROOT
from tests.waiting import until

# -- the clock


@pytest.mark.skipif(clocks.LIBRARY is None, reason=clocks.MISSING)
def test_the_servers_clock_steps_while_it_works_and_the_real_time_is_known(tmp_path: Path) -> None:
    clock, server = clocks.Clock(tmp_path), Server(tmp_path / "server")
    server.environment = clock.environment
    server.start()
    try:
        with server.client() as client:
            for ahead in (0, 90, -3600):
                clock.step_to(ahead)
                # It keeps the time of a turn of its loop: the one that is under way may still show the time before.
                shown = until(lambda ahead=ahead: near(client, ahead), f"{ahead} s")
                assert abs(clock.real(shown * 1000) - time.time()) < 60
    finally:
        server.stop()


def near(client: redis.Redis, ahead: float) -> float | None:
    """What the server's clock shows, if it is so far ahead (as far as can be told from steps of 90 s and more)."""
    seconds, micros = client.time()
    shown = float(seconds) + micros / 1e6
    return shown if abs(shown - ahead - time.time()) < 30 else None


def test_a_planned_clock_shows_no_time_twice_and_stays_near() -> None:
    directions: set[bool] = set()
    for seed in range(50):
        rng = random.Random(seed)
        moments = sorted(rng.uniform(10, 950) for _ in range(20))
        ahead = [0.0, *clocks.offsets(rng, moments, 960)]
        assert max(ahead) - min(ahead) + clocks.MARGIN_SECONDS < 24 * 3600
        edges = [0.0, *moments, 960.0 + clocks.AFTERWARDS_SECONDS]
        shown = sorted((edges[n] + ahead[n], edges[n + 1] + ahead[n]) for n in range(len(ahead)))
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(shown))
        directions |= {step > 0 for step in (b - a for a, b in pairwise(ahead))}
    assert directions == {True, False}


def test_a_moment_is_told_by_the_step_that_it_lies_between() -> None:
    epochs = [(100.0, 0.0), (200.0, 90.0), (300.0, -3600.0)]
    assert [clocks.real(epochs, ms) for ms in (150_000, 290_500, 340_000, -3_290_000)] == [150.0, 200.5, 250.0, 310.0]


# -- the network


class Echo:
    """A server that answers each piece with itself."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        #: What came, in order; b"" at the end of a client.
        self.heard: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1000):
                    self.heard.append(data)
                    connection.sendall(data)
                self.heard.append(b"")
                # The other way is still open.
                connection.sendall(b"bye")
            except OSError:
                pass

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.stop()


def connected(proxies: Proxies, echo: Echo) -> socket.socket:
    port = int(proxies.through("w1", echo.url).rpartition(":")[2].partition("/")[0])
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(10)
    client.sendall(b"one")
    assert client.recv(100) == b"one"
    return client


def test_a_link_hands_on_what_comes_both_ways(proxies: Proxies, echo: Echo) -> None:
    with connected(proxies, echo) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"bye"
        assert client.recv(100) == b""


def test_what_goes_up_is_lost_and_the_connection_is_closed_when_the_link_is_mended(proxies: Proxies, echo: Echo) -> None:
    with connected(proxies, echo) as client:
        proxies.each("w1", lambda link: setattr(link, "lost", "up"))
        client.sendall(b"two")
        (link,) = proxies.links["w1"]
        until(lambda: any(connection.torn for connection in link.connections), "it to be lost")
        proxies.each("w1", Link.mend)
        assert client.recv(100) == b""
    assert echo.heard[:1] == [b"one"]
    assert b"two" not in echo.heard


def test_what_comes_down_is_lost_though_the_server_has_heard(proxies: Proxies, echo: Echo) -> None:
    with connected(proxies, echo) as client:
        proxies.each("w1", lambda link: setattr(link, "lost", "down"))
        client.sendall(b"two")
        until(lambda: b"two" in echo.heard, "the server to hear it")
        (link,) = proxies.links["w1"]
        until(lambda: any(connection.torn for connection in link.connections), "its answer to be lost")


def test_one_way_is_closed_and_the_other_goes_on(proxies: Proxies, echo: Echo) -> None:
    with connected(proxies, echo) as client:
        proxies.each("w1", lambda link: link.half_close("up"))
        # The server sees an end, and what it says to that comes.
        assert client.recv(100) == b"bye"
        assert echo.heard[-1] == b""
    with connected(proxies, echo) as client:
        proxies.each("w1", lambda link: link.half_close("down"))
        assert client.recv(100) == b""
        client.sendall(b"three")
        until(lambda: b"three" in echo.heard, "the server to hear it")


def test_a_delay_changes_nothing_but_the_time(proxies: Proxies, echo: Echo) -> None:
    with connected(proxies, echo) as client:
        proxies.each("w1", lambda link: setattr(link, "delay", 0.05))
        client.sendall(b"two")
        assert client.recv(100) == b"two"


# -- the disk


def test_a_full_disk_says_so_to_whoever_writes_and_has_room_again(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path)
    try:
        if not disk.real:
            pytest.skip("no tmpfs can be mounted here: the next test is of what is done instead")
        assert shutil.disk_usage(disk.path).free > RESERVE_BYTES
        disk.fill()
        assert shutil.disk_usage(disk.path).free < RESERVE_BYTES
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (disk.path / "said.txt").write_text("x" * 5000)
        disk.empty()
        (disk.path / "said.txt").write_text("x")
    finally:
        disk.remove()


#: What a process of the run meets: the room that the system says there is, and what comes of a body's write.
ASK = """
import shutil, sys
from pathlib import Path
from tests.chaos import full
print(shutil.disk_usage(".").free > 0)
try:
    full.write(Path(sys.argv[1]), "x")
    print("written")
except OSError as error:
    print(error.errno)
"""


def test_where_no_disk_can_be_mounted_the_system_says_that_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    disk = SmallDisk(tmp_path)
    assert not disk.real
    assert FLAG in disk.environment

    def ask() -> list[str]:
        command = [sys.executable, "-c", ASK, str(disk.path / "said.txt")]
        env = {**os.environ, **disk.environment, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split()

    assert ask() == ["True", "written"]
    disk.fill()
    assert ask() == ["False", str(errno.ENOSPC)]
    disk.empty()
    assert ask() == ["True", "written"]


# -- the two times


CRASH = Crash("ja", 1.0, 10.0, body=Body("ja", 1, 10, "x:w1:1", 1.1))
KILL = Cause("kill_worker", "x:w1:1", None, 3.0, 3.0)


def test_the_time_to_the_queue_begins_with_the_kill_or_with_the_servers_return() -> None:
    assert until_requeued([CRASH], [KILL], [], OF_WORKERS).times == [7.0]
    assert until_requeued([CRASH], [KILL], [(0.5, 2.0), (2.5, 5.0), (5.5, 6.0), (11.0, 12.0)], OF_WORKERS).times == [4.0]
    child = Cause("kill_child", "x:w1:1", 10, 2.5, 2.5)
    assert until_requeued([CRASH], [child], [], OF_CHILDREN).times == [7.5]
    # Its worker died before it could tell.
    assert until_requeued([CRASH], [child, KILL], [], OF_CHILDREN).times == []
    assert until_requeued([CRASH], [child, KILL], [], OF_WORKERS).times == [7.0]


def test_a_slot_that_is_given_to_the_next_job_at_once_is_not_free() -> None:
    assert sorted(_handed_over([(0.0, 1.0), (1.2, 2.0), (0.5, 1.1), (1.3, 5.0), (6.0, 7.0)])) == [
        (0.0, 1.2), (0.5, 1.3), (1.2, 2.0), (1.3, 5.0), (6.0, 7.0),
    ]  # fmt: skip


def test_a_slot_that_stays_empty_for_long_is_free_for_everybody() -> None:
    assert sorted(_handed_over([(0.0, 1.0), (3.5, 4.0), (8.0, 9.0)], TURN_SECONDS)) == [(0.0, 3.5), (3.5, 4.0), (8.0, 9.0)]


def test_the_time_to_the_start_counts_while_a_slot_is_free_for_the_job() -> None:
    bodies = [Body("ja", 1, 10, "x:w1:1", 1.1), Body("ja", 2, 11, "x:w2:1", 20.0, "end", 21.0)]
    up = {"x:w2:1": [(0.0, 100.0)]}

    def free(busy: list[tuple[float, float]], pipeline: str = "chaos", **more: object) -> float:
        slots = Slots(up, {"x:w2:1": busy}, {"x:w2:1": busy}, **more)  # type: ignore[arg-type]
        (seconds,) = until_started([CRASH], bodies, slots, {"ja": pipeline}).times
        return seconds

    assert free([]) == 10.0
    # One of its two slots is busy, then both, then one.
    assert free([(5.0, 18.0), (12.0, 30.0)]) == 4.0
    assert free([], held=[(0.0, 19.0), (0.0, 30.0)]) == 10.0
    assert free([], CAPPED, held=[(0.0, 19.0), (0.0, 30.0)]) == 1.0
    assert free([], unknown={"chaos": ["w2"]}) == 0.0
    # Both slots are given to others, which begin a second later: it goes before them if its worker died, and else it is their turn.
    slots = Slots(up, {"x:w2:1": [(0.0, 30.0), (5.0, 12.0), (13.0, 30.0)]}, given={"x:w2:1": [(0.0, 30.0), (5.0, 13.0), (13.0, 30.0)]})
    assert until_started([CRASH], bodies, slots, {}).times == [1.0]
    assert until_started([CRASH], bodies, slots, {}, in_turn=True).times == [0.0]
    last = Crash("ja", 1.0, 10.0, requeued=False, body=CRASH.body)
    assert until_started([last], bodies, Slots(up, {}), {}).times == []


def test_a_run_is_lost_with_its_worker_unless_that_told_of_its_process_before() -> None:
    def child(at: float) -> Cause:
        return Cause("kill_child", "x:w1:1", 10, at, at)

    assert of_workers([CRASH], [KILL]) == [CRASH]
    assert of_workers([CRASH], []) == of_workers([CRASH], [child(9.0)]) == of_workers([CRASH], [child(9.0), KILL]) == []
    # It was to tell, and died.
    assert of_workers([CRASH], [child(2.5), KILL]) == [CRASH]


def test_the_slots_of_a_worker_that_comes_are_given_to_its_first_jobs() -> None:
    given = {"w": [(2.0, 5.0), (2.5, 3.0), (2.6, 4.0), (20.0, 21.0)]}
    assert sorted(_given_at_first({"w": [(1.0, 10.0), (15.0, 30.0)], "idle": [(0.0, 9.0)]}, given)["w"]) == [
        (1.0, 2.0), (1.0, 2.5), (2.0, 5.0), (2.5, 3.0), (2.6, 4.0), (20.0, 21.0),
    ]  # fmt: skip


# -- when a run is over


def test_a_chain_is_at_work_between_two_of_its_jobs(cell: Settings) -> None:
    with celery_app(cell) as app:
        store, job = app.cell.store, app.tasks[JOB_TASK]
        last = chain(job.si(pipeline="sleep"), job.si(pipeline="sleep")).apply_async()
        first = last.parent.id
        store.announce("w1", 1, [])
        claimed = store.claim(first, app.cell.client.get(first).fence, worker="w1", run="run")
        assert isinstance(claimed, Job)
        store.finish(first, claimed.fence, JobStatus.COMPLETED, result={"success": True})
        assert at_work(store) == {first}
        assert continuations.tell(app, first)
        assert at_work(store) == {last.id}
        app.cell.client.cancel(last.id)
        assert at_work(store) == set()
