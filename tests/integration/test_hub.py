"""The hub on a real server: every follower has every event once and in order, whatever was lost or slow on the way."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.events import hub
from pipeline_jobs.events import log as events
from pipeline_jobs.events.hub import End, Follower, Hub
from pipeline_jobs.job import Job
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell, make_cell
from tests.servers import Server
from tests.waiting import until


@pytest.fixture
def made(jobs: Cell) -> Iterator[Hub]:
    """A hub; its thread has ended when the test does."""
    hub = Hub(jobs.store)
    yield hub
    until(lambda: hub._thread is None, "the hub's thread to end")


def read_all(follower: Follower, told: list[str]) -> None:
    """What a stream does: read until the end."""
    while follower.end is None:
        told += [event.id for event in follower.next(60)]


def write(jobs: Cell, run: Job, first: int, last: int) -> None:
    for percent in range(first, last):
        jobs.store.progress(run.job_id, run.fence, percent / 10, "s")


def end(jobs: Cell, run: Job) -> None:
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})


def test_followers_that_come_at_any_time_have_every_event_once_in_order(jobs: Cell, made: Hub) -> None:
    runs = [jobs.running(tenant_id=f"t{i % 3}") for i in range(5)]
    told: list[list[str]] = []
    threads = []
    for percent in range(1, 41):
        for run in runs:
            write(jobs, run, percent, percent + 1)
        run = runs[percent % len(runs)]
        told.append([])
        threads.append(threading.Thread(target=read_all, args=(made.follow(run.job_id, run.tenant_id, after=percent % 5), told[-1])))
        threads[-1].start()
    for run in runs:
        end(jobs, run)
    for thread in threads:
        thread.join(60)
    for number, ids in enumerate(told, 1):
        run = runs[number % len(runs)]
        assert ids == [f"{run.job_id}.{seq}" for seq in range(number % 5 + 1, 44)]
    for follower in [follower for topic in list(made._topics.values()) for follower in topic.followers]:
        follower.close()


def test_a_follower_of_an_ended_job_has_the_rest_and_ends(jobs: Cell, made: Hub) -> None:
    run = jobs.running()
    end(jobs, run)
    with made.follow(run.job_id, run.tenant_id, after=1) as follower:
        assert [event.seq for event in follower.next(60)] == [2, 3]
        assert follower.end is End.COMPLETE
        assert follower.next(60) == ()
    with made.follow(run.job_id, run.tenant_id, after=99) as follower:
        assert (follower.next(60), follower.end) == ((), End.COMPLETE)


def test_silence_is_no_event(jobs: Cell, made: Hub) -> None:
    run = jobs.running()
    with made.follow(run.job_id, run.tenant_id) as follower:
        assert len(follower.next(60)) == 2
        assert (follower.next(0.2), follower.end) == ((), None)


def test_what_was_published_while_nobody_listened_is_found(jobs: Cell, made: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "POLL_SECONDS", 1000.0)
    run = jobs.running()
    with made.follow(run.job_id, run.tenant_id, after=2) as follower:
        write(jobs, run, 1, 2)
        assert [event.seq for event in follower.next(60)] == [3]
        # A connection that breaks is made again; what happens meanwhile is told when it is.
        for percent in range(2, 7):
            jobs.store.client.client_kill_filter(_type="pubsub")
            write(jobs, run, percent, percent + 1)
            assert [event.seq for event in follower.next(60)] == [percent + 2]


def test_a_hint_that_is_lost_is_made_up_for_by_a_look(jobs: Cell, made: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "POLL_SECONDS", 0.2)
    run = jobs.running(tenant_id="acme")
    # The hub listens to another channel than the scripts publish on: every hint is lost.
    deaf = Hub(jobs.store)
    with deaf.follow(run.job_id, "ghost", after=2) as follower:
        write(jobs, run, 1, 11)
        seen: list[int] = []
        while len(seen) < 10:
            seen += [event.seq for event in follower.next(60)]
        write(jobs, run, 11, 12)
        assert [*seen, *(event.seq for event in follower.next(60))] == list(range(3, 14))


def test_a_stream_that_is_slower_than_its_job_misses_nothing(jobs: Cell, made: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAX_WAITING", 2)
    monkeypatch.setattr(hub, "BATCH", 3)
    run = jobs.running()
    with made.follow(run.job_id, run.tenant_id) as follower:
        seen = [event.seq for event in follower.next(60)]
        for percent in range(1, 201):
            write(jobs, run, percent, percent + 1)
            if percent % 50 == 0:
                seen += [event.seq for event in follower.next(60)]
        end(jobs, run)
        while follower.end is None:
            seen += [event.seq for event in follower.next(60)]
        assert seen == list(range(1, 204))
        assert follower._queue.qsize() <= 4


def test_it_ends_when_the_job_is_removed_the_process_stops_or_the_reader_leaves(
    jobs: Cell, made: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(hub, "GONE_SECONDS", 0.05)
    run = jobs.running()
    with made.follow(run.job_id, run.tenant_id, after=2) as follower:
        jobs.store.client.delete(jobs.store.keys("job", run.job_id), jobs.store.keys("events", run.job_id))
        assert (follower.next(60), follower.end) == ((), End.GONE)
    other = jobs.running()
    with made.follow(other.job_id, other.tenant_id, after=2, is_gone=lambda: True) as follower:
        assert (follower.next(60), follower.end) == ((), End.STOPPED)
    with made.follow(other.job_id, other.tenant_id, after=2) as follower, made.follow_feed("default", "0-0") as feed:
        assert feed.next(60)
        made.stop_when(lambda: True)
        assert (follower.next(60), follower.end) == ((), End.STOPPED)
        until(lambda: not feed.next(0.1) and feed.end is End.STOPPED, "the feed to stop")


def test_the_feed_is_followed_by_its_own_ids(jobs: Cell, made: Hub) -> None:
    first = jobs.running(tenant_id="acme")
    start = events.feed_end(jobs.store, "acme")
    jobs.running(tenant_id="other")
    with made.follow_feed("acme", start) as everything, made.follow_feed("acme", start, "lab") as lab:
        jobs.submit(tenant_id="acme", workspace_id="lab")
        write(jobs, first, 1, 3)
        jobs.submit(tenant_id="acme", workspace_id="lab")
        seen: list[events.Event] = []
        while len(seen) < 4:
            seen += everything.next(60)
        page = events.feed(jobs.store, "acme", start)
        assert seen == list(page.events)
        of_lab: list[events.Event] = []
        while len(of_lab) < 2:
            of_lab += lab.next(60)
        assert of_lab == [event for event in page.events if event.workspace_id == "lab"]


def test_nothing_is_lost_or_doubled_over_a_killed_server(cell: Settings, tmp_path: Path) -> None:
    own = Server(tmp_path).start()
    jobs = make_cell(cell.model_copy(update={"redis_url": own.url, "announce_seconds": 1000.0}))
    told: list[list[str]] = [[] for _ in range(20)]
    chosen = random.Random(6)
    try:
        made = Hub(jobs.store)
        runs = [jobs.running(tenant_id="acme") for _ in range(5)]
        followers = [made.follow(chosen.choice(runs).job_id, "acme") for _ in told]
        threads = [threading.Thread(target=read_all, args=pair) for pair in zip(followers, told, strict=True)]
        for thread in threads:
            thread.start()
        for turn in range(3):
            for run in runs:
                write(jobs, run, turn * 20 + 1, turn * 20 + 11)
            own.kill()
            own.start()
            for run in runs:
                write(jobs, run, turn * 20 + 11, turn * 20 + 21)
        for run in runs:
            end(jobs, run)
        for thread in threads:
            thread.join(60)
        for follower, ids in zip(followers, told, strict=True):
            assert ids == [f"{follower._topic.job_id}.{seq}" for seq in range(1, 64)]
            follower.close()
        until(lambda: made._thread is None, "the hub's thread to end")
    finally:
        jobs.store.client.close()
        own.stop()
