"""Follows event logs for many streams of one process: one thread listens for news, reads the logs and hands the events on.

The log is the truth, a published id a hint: what was published while nobody listened is found by the next look, and each log that is
followed is looked at every few seconds even if nothing was heard. So a stream misses nothing and repeats nothing, over lost hints, a
restarted server, or a stream that is slower than its job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Any

import structlog

from pipeline_jobs.events import job_log
from pipeline_jobs.events import log as events
from pipeline_jobs.events.log import Place
from pipeline_jobs.events.shared_feeds import read_feeds
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.store.channel import Channel
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)

#: Longest time until the thread sees that it has something new to listen for, in seconds.
TICK_SECONDS = 0.05
#: How often a log is looked at of which nothing is heard, in seconds, and most of those in one tick.
POLL_SECONDS = 5.0
POLLS_A_TICK = 25
#: How often it is asked whether the reader of a stream has gone, in seconds.
GONE_SECONDS = 1.0
#: Most events of one log that are read at once, and most batches that wait for a slow stream before it must read the log itself.
BATCH = 200
MAX_WAITING = 50
#: How long a stream waits for a store that is away before it reads again, in seconds.
RETRY_SECONDS = 0.5
#: Stands for every job of a tenant, as the id in a piece of news.
EVERYTHING = ""
#: Before the id, where the news is of the job's log and not of an event.
LOG_NEWS = "log:"

#: What a stream sends: an `Event`, or a `Line` of a log. Both have a place, a number and their JSON.
Told = Any


class End(StrEnum):
    """Why a stream has ended."""

    #: The job has ended and all was told.
    COMPLETE = "complete"
    #: There is no such job any more.
    GONE = "gone"
    #: This process stops, or the reader has left.
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Page:
    """Events after a place, and the place that is reached with them."""

    after: Place
    events: Sequence[Told]
    reached: Place
    more: bool = False
    end: End | None = None


@dataclass(eq=False, slots=True)
class Topic:
    """What is followed: a job's events, or with `job_id` None a tenant's feed (of a workspace or batch, if one is given); a job's log."""

    tenant_id: str
    job_id: str | None
    workspace_id: str = ""
    of_log: bool = False
    batch_id: str = ""
    followers: set[Follower] = field(default_factory=set)
    #: What was read so far; None before the first look.
    place: Place | None = None
    looked_at: float = 0.0
    #: When it last had a look of its own, which sees whether a batch is gone.
    alone_at: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, bool, str]:
        return self.tenant_id, self.job_id or "", self.workspace_id, self.of_log, self.batch_id

    def heard_of(self, news: set[str]) -> bool:
        """Whether there is something to look at. :param news: what was said on the tenant's channel."""
        if EVERYTHING in news or self.job_id is None:
            return EVERYTHING in news or any(not one.startswith(LOG_NEWS) for one in news)
        # A job that ends has no more lines: that is news for its log, too.
        return self.job_id in news or (self.of_log and f"{LOG_NEWS}{self.job_id}" in news)


class Follower:
    """One stream's place in a log. Use it in one thread, as a context manager.

    `next` gives every event after the place it was made with, once and in order, until `end` says why nothing will follow.
    """

    def __init__(self, hub: Hub, topic: Topic, after: Place, is_gone: Callable[[], bool], wanted: Callable[[Told], bool]) -> None:
        """:param wanted: whether a follower is to be told of it."""
        self._wanted = wanted
        self.end: End | None = None
        self.place = after
        self.is_gone = is_gone
        self._hub, self._topic = hub, topic
        self._queue: SimpleQueue[Page | None] = SimpleQueue()
        #: The log has, or may have, what the queue does not.
        self._behind = True
        self._overrun = False
        self._stopped = threading.Event()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Follow no longer. Safe to repeat."""
        self._hub.leave(self._topic, self)

    def next(self, timeout: float) -> Sequence[Told]:
        """The next events; none after `timeout` seconds, or at the `end`. A store that is away is waited for."""
        deadline = time.monotonic() + timeout
        while self.end is None:
            if self._stopped.is_set():
                self.end = End.STOPPED
                break
            if self._behind:
                found = self._read()
            else:
                try:
                    found = self._take(self._queue.get(timeout=max(0.0, deadline - time.monotonic())))
                except Empty:
                    return ()
            if found:
                return found
        return ()

    # -- from the hub's thread

    def put(self, page: Page) -> None:
        if self._queue.qsize() < MAX_WAITING:
            self._queue.put(page)
        elif not self._overrun:
            self._overrun = True
            self._queue.put(None)

    def stop(self) -> None:
        self._stopped.set()
        self._queue.put(None)

    # -- inside

    def _take(self, page: Page | None) -> Sequence[Told]:
        if page is None:
            # Stopped, or too slow: what was not put into the queue is in the log.
            self._overrun, self._behind = False, True
            return ()
        if page.after > self.place:
            self._behind = True
            return ()
        return self._advance(page)

    def _read(self) -> Sequence[Told]:
        try:
            page = self._hub.look(self._topic, self.place)
        except StoreUnavailable:
            self._stopped.wait(RETRY_SECONDS)
            return ()
        self._behind = page.more
        return self._advance(page)

    def _advance(self, page: Page) -> Sequence[Told]:
        fresh = [event for event in page.events if event.place > self.place and self._wanted(event)]
        self.place = max(self.place, page.reached)
        if not page.more:
            self.end = page.end
        return fresh


class Hub:
    """Hands the events of a cell to the followers of this process. Its thread runs while there are any."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._topics: dict[tuple[str, str, str, bool, str], Topic] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopping: Callable[[], bool] = lambda: False

    def stop_when(self, is_stopping: Callable[[], bool]) -> None:
        """End all streams as soon as this is true."""
        self._is_stopping = is_stopping

    def follow(self, job_id: str, tenant_id: str, after: int = 0, is_gone: Callable[[], bool] = lambda: False) -> Follower:
        """Follow a job of this tenant, from the event after that number on.

        :param is_gone: asked now and then, in another thread: the reader has left.
        """
        return self._join(Topic(tenant_id, job_id), (0, after), is_gone)

    def follow_feed(
        self, tenant_id: str, after: str, workspace_id: str | None = None, is_gone: Callable[[], bool] = lambda: False
    ) -> Follower:
        """Follow a tenant's feed, from what comes after that place on."""
        return self._join(Topic(tenant_id, None, workspace_id or ""), events.place_of(after), is_gone)

    def follow_batch(self, batch_id: str, tenant_id: str, after: str, is_gone: Callable[[], bool] = lambda: False) -> Follower:
        """Follow the jobs of a batch of this tenant, from what comes after that place of the tenant's feed on, until it has ended."""
        return self._join(Topic(tenant_id, None, batch_id=batch_id), events.place_of(after), is_gone)

    def follow_log(
        self, job_id: str, tenant_id: str, after: int = 0, is_gone: Callable[[], bool] = lambda: False,
        wanted: Callable[[Told], bool] = lambda _: True,
    ) -> Follower:  # fmt: skip
        """Follow the log of a job of this tenant, from the line after that number on, as far as the store has it."""
        return self._join(Topic(tenant_id, job_id, of_log=True), (0, after), is_gone, wanted)

    def look(self, topic: Topic, after: Place) -> Page:
        """What the log of a topic has after a place. :raises StoreUnavailable:"""
        return self._look_at([(topic, after)])[0]

    def leave(self, topic: Topic, follower: Follower) -> None:
        with self._lock:
            topic.followers.discard(follower)
            if not topic.followers and self._topics.get(topic.key) is topic:
                del self._topics[topic.key]

    def _join(self, topic: Topic, after: Place, is_gone: Callable[[], bool], wanted: Callable[[Told], bool] = lambda _: True) -> Follower:
        with self._lock:
            # First, as it may be that none can be started now: it waits for this lock. One that was not started is not alive.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="event-hub", daemon=True)
                self._thread.start()
            topic = self._topics.setdefault(topic.key, topic)
            follower = Follower(self, topic, after, is_gone, wanted)
            topic.followers.add(follower)
            return follower

    # -- the thread

    def _run(self) -> None:
        while True:
            try:
                self._listen()
                return
            except StoreUnavailable as error:
                logger.warning("events are not received, will try again", seldom=True, error=str(error))
                threading.Event().wait(RETRY_SECONDS)
            except Exception:
                # Without this thread every stream of the process would fall silent.
                logger.exception("the event hub failed, will try again")
                threading.Event().wait(RETRY_SECONDS)

    def _listen(self) -> None:
        """The thread: listen for news and hand events on, until nobody follows anything."""
        with Channel(self._store) as channel:
            heard: set[str] = set()
            asked_at = 0.0
            while topics := self._current():
                if self._is_stopping():
                    self._stop(topics)
                heard -= channel.listen_to({self._store.keys("news", topic.tenant_id) for topic in topics})
                news = self._news(channel, heard)
                self._hand_on(self._due(topics, heard, news))
                if time.monotonic() - asked_at >= GONE_SECONDS:
                    asked_at = time.monotonic()
                    self._stop(topics, only_gone=True)

    def _current(self) -> list[Topic]:
        with self._lock:
            topics = list(self._topics.values())
            if not topics:
                self._thread = None
            return topics

    def _news(self, channel: Channel, heard: set[str]) -> set[tuple[str, str]]:
        """Channels and job ids of which something was heard; waits a tick for the first."""
        news: set[tuple[str, str]] = set()
        timeout = TICK_SECONDS
        for _ in range(1000):
            told = channel.next(timeout)
            if told is None:
                break
            timeout = 0.0
            name, text = told
            if text is None:
                # It begins to tell: whatever was told before then was not heard.
                heard.add(name)
            news.add((name, EVERYTHING if text is None else text))
        return news

    def _due(self, topics: Iterable[Topic], heard: set[str], news: set[tuple[str, str]]) -> list[Topic]:
        """What to look at: what there is news of, what is new, and a few of those of which nothing was heard for long."""
        told: dict[str, set[str]] = {}
        for channel, text in news:
            told.setdefault(channel, set()).add(text)
        late = time.monotonic() - POLL_SECONDS
        due, polls = [], 0
        for topic in topics:
            name = self._store.keys("news", topic.tenant_id)
            if name not in heard:
                # The first look comes when the server says that it will tell of everything after it.
                continue
            if topic.place is None or (name in told and topic.heard_of(told[name])):
                due.append(topic)
            elif topic.looked_at < late and polls < POLLS_A_TICK:
                polls += 1
                due.append(topic)
        return due

    def _hand_on(self, due: Sequence[Topic]) -> None:
        while due:
            now = time.monotonic()
            pages = self._look_at([(topic, events.FAR if topic.place is None else topic.place) for topic in due])
            for topic, page in zip(due, pages, strict=True):
                first, topic.place, topic.looked_at = topic.place is None, page.reached, now
                if first or page.events or page.end:
                    with self._lock:
                        followers = list(topic.followers)
                    for follower in followers:
                        follower.put(page)
            due = [topic for topic, page in zip(due, pages, strict=True) if page.more]

    def _look_at(self, places: Sequence[tuple[Topic, Place]]) -> list[Page]:
        """One round trip for the jobs among them, one for the feeds, one for the logs."""
        jobs = events.read_many(
            self._store, [(topic.job_id, after[1]) for topic, after in places if topic.job_id and not topic.of_log], BATCH
        )
        followed = [(topic.job_id, after[1]) for topic, after in places if topic.job_id and topic.of_log]
        said = iter(job_log.read_many(self._store, followed))
        feeds = self._read_feeds([(topic, after) for topic, after in places if not topic.job_id])
        logs, tails = iter(jobs), iter(feeds)
        return [
            _of_lines(next(said), after) if topic.of_log else _of_log(next(logs), after) if topic.job_id else _of_feed(next(tails), after)
            for topic, after in places
        ]

    def _read_feeds(self, places: Sequence[tuple[Topic, Place]]) -> list[events.FeedPage]:
        now = time.monotonic()
        alone = [after == events.FAR or now - topic.alone_at >= POLL_SECONDS for topic, after in places]
        for (topic, _), is_alone in zip(places, alone, strict=True):
            # What a stream reads for itself, no other is told.
            topic.alone_at = now if is_alone and len(places) > 1 else topic.alone_at
        asked = [(topic.tenant_id, topic.workspace_id, topic.batch_id, after) for topic, after in places]
        return read_feeds(self._store, asked, alone, BATCH)

    def _stop(self, topics: Iterable[Topic], *, only_gone: bool = False) -> None:
        with self._lock:
            followers = [follower for topic in topics for follower in topic.followers]
        for follower in followers:
            if not only_gone or follower.is_gone():
                follower.stop()


def _of_log(page: events.LogPage | None, after: Place) -> Page:
    if page is None:
        return Page(after, (), after, end=End.GONE)
    if after == events.FAR:
        after = reached = (0, page.last)
    else:
        reached = (0, page.reached)
    return Page(after, page.events, reached, reached < (0, page.last), End.COMPLETE if page.complete else None)


def _of_lines(found: job_log.JobLog | None, after: Place) -> Page:
    if found is None:
        return Page(after, (), after, end=End.GONE)
    reached = (0, found.last) if after == events.FAR else max(after, (0, found.last))
    return Page(reached if after == events.FAR else after, found.shown(), reached, end=End.COMPLETE if found.ended else None)


def _of_feed(page: events.FeedPage, after: Place) -> Page:
    reached = events.place_of(page.after)
    end = End.GONE if page.gone else End.COMPLETE if page.ended else None
    return Page(reached if after == events.FAR else after, page.events, reached, page.more, end)
