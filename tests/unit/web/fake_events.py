"""The event logs, in memory: what the streams of the HTTP face need of a hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline_jobs.events.event_types import STATUS_OF, EventType
from pipeline_jobs.events.hub import End
from pipeline_jobs.events.log import FEED_START, Event, FeedPage, LogPage, place_of
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import Job

NOON = 1_735_905_600_000


@dataclass
class FakeFollower:
    """Gives what there is at once, then its end; without an end, silence for ever."""

    events: list[Event]
    after_all: End | None
    end: End | None = None
    closed: int = 0
    #: What happens while it would wait.
    while_silent: Callable[[], object] = lambda: None
    job_id: str = ""
    while_waiting: Callable[[str, float], object] = lambda job_id, timeout: None

    def next(self, timeout: float) -> Sequence[Event]:
        found, self.events = self.events, []
        if not found:
            self.while_silent()
            self.while_waiting(self.job_id, timeout)
            self.end = self.after_all
        return found

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> FakeFollower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class FakeEvents:
    """Logs by job, in the order of the feed."""

    jobs: dict[str, Job]
    all: list[Event] = field(default_factory=list)
    #: Raised by everything, when set.
    failure: Exception | None = None
    followers: list[FakeFollower] = field(default_factory=list)
    after_all: End | None = End.COMPLETE
    while_silent: Callable[[], object] = lambda: None
    while_waiting: Callable[[str, float], object] = lambda job_id, timeout: None

    def tell(self, job: Job, *kinds: str, **data: Any) -> None:
        """Write events of a job."""
        for kind in kinds:
            word = EventType(f"job.{kind}")
            seq = sum(event.job_id == job.job_id for event in self.all) + 1
            facts = {"status": STATUS_OF[word], "attempt": 1, "stage": None, "progress": 0, "message": None, **data}
            place = f"{NOON + len(self.all)}-0"
            self.all.append(Event(job.job_id, seq, word, job.tenant_id, job.workspace_id, NOON, facts, place))

    def page(self, job_id: str, after: int, limit: int) -> LogPage:
        self._ask()
        if job_id not in self.jobs:
            raise UnknownJob
        job, log = self.jobs[job_id], self._log(job_id)
        events = tuple([event for event in log if event.seq > after][:limit])
        reached = events[-1].seq if events else after
        return LogPage(job_id, job.tenant_id, job.workspace_id, events, reached, len(log), job.ended and reached >= len(log))

    def feed(self, tenant_id: str, after: str, limit: int, workspace_id: str | None = None) -> FeedPage:
        self._ask()
        found = [event for event in self.all if event.tenant_id == tenant_id and workspace_id in (None, event.workspace_id)]
        rest = [event for event in found if event.place > place_of(after)]
        page = tuple(rest[:limit])
        return FeedPage(page, str(page[-1].feed_id) if page else after, len(rest) > limit)

    def feed_end(self, tenant_id: str) -> str:
        self._ask()
        return next((str(event.feed_id) for event in reversed(self.all) if event.tenant_id == tenant_id), FEED_START)

    def follow(self, job_id: str, tenant_id: str, after: int = 0, is_gone: Callable[[], bool] = lambda: False) -> FakeFollower:
        made = self._follower([event for event in self._log(job_id) if event.seq > after])
        made.job_id, made.while_waiting = job_id, self.while_waiting
        return made

    def follow_feed(
        self, tenant_id: str, after: str, workspace_id: str | None = None, is_gone: Callable[[], bool] = lambda: False
    ) -> FakeFollower:
        return self._follower(list(self.feed(tenant_id, after, 1000, workspace_id).events))

    def stop_when(self, is_stopping: Callable[[], bool]) -> None:
        """Nothing stops here."""

    def _log(self, job_id: str) -> list[Event]:
        return [replace(event, feed_id=None) for event in self.all if event.job_id == job_id]

    def _follower(self, events: list[Event]) -> FakeFollower:
        self.followers.append(FakeFollower(events, self.after_all, while_silent=self.while_silent))
        return self.followers[-1]

    def _ask(self) -> None:
        if self.failure is not None:
            raise self.failure
