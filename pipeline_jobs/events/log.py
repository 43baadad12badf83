"""Reads the event logs that the scripts write (`lua/lib/events.lua`): of one job, and a tenant's feed.

A log has the events of a job from 1 without a gap, or the newest `settings.events_per_job` of them. It goes with its job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pipeline_jobs.events.event_types import STATUS_OF, EventType, event_id
from pipeline_jobs.exceptions import InvalidInput, UnknownJob
from pipeline_jobs.job import rfc3339
from pipeline_jobs.states import TERMINAL
from pipeline_jobs.store.store import Store

#: Most events that one page has.
MAX_PAGE = 500
#: A place in a log that compares with others of it: (0, number) in a job's, (Unix ms, number) in a feed.
Place = tuple[int, int]
#: Behind everything: a look from there tells where a log ends.
MAX_NUMBER = 2**53 - 1
FAR: Place = (MAX_NUMBER, MAX_NUMBER)
#: Where a feed begins, and an id of it: `{Unix ms}-{number}`, as the server's streams have them.
FEED_START = "0-0"
_FEED_ID = re.compile(r"([0-9]{1,15})-([0-9]{1,15})", re.ASCII)


@dataclass(frozen=True)
class Event:
    """One event, in the one envelope of SSE, WebSocket, webhooks and the JSON history."""

    #: Of a batch's event: the batch's.
    job_id: str
    #: The job's own count, from 1.
    seq: int
    type: EventType
    tenant_id: str
    workspace_id: str
    #: Unix milliseconds.
    created_at: int
    data: Mapping[str, Any] = field(default_factory=dict)
    #: Its place in the tenant's feed, when it was read there; and the batch of its job, or its own.
    feed_id: str | None = None
    batch_id: str = ""

    @property
    def id(self) -> str:
        """The same wherever the event is told: `{job_id}.{seq}`."""
        return event_id(self.job_id, self.seq)

    @property
    def place(self) -> Place:
        """Where it is in the log that it was read from."""
        return place_of(self.feed_id) if self.feed_id else (0, self.seq)

    def to_dict(self) -> dict[str, Any]:
        """The envelope (`docs/events.md`)."""
        return {
            "id": self.id,
            "seq": self.seq,
            "type": self.type.value,
            **({"job_id": None, "batch_id": self.job_id} if self.type is EventType.BATCH_COMPLETED else {"job_id": self.job_id}),
            "tenant_id": self.tenant_id,
            "workspace_id": self.workspace_id,
            "created_at": rfc3339(self.created_at),
            "data": dict(self.data),
        }

    @cached_property
    def json(self) -> str:
        """The envelope as one line of compact JSON: made once, however many streams send it.

        ASCII: some readers of SSE take U+2028 and its like for the end of a line.
        """
        return json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class LogPage:
    """Events of a job that follow one another."""

    job_id: str
    tenant_id: str
    workspace_id: str
    events: tuple[Event, ...]
    #: Number of the last event here, or after which there is none here; of the newest event in the log.
    reached: int
    last: int
    #: The job has ended and the page reaches the end of its log: nothing will follow.
    complete: bool


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events of a tenant's jobs, in the order in which they happened."""

    events: tuple[Event, ...]
    #: Where the next page begins; at the end of the feed the id of its newest entry.
    after: str
    #: There is more now.
    more: bool
    #: Of the events of one batch: it has ended; there is none (any more).
    ended: bool = False
    gone: bool = False

    def narrowed(self, workspace_id: str, batch_id: str) -> FeedPage:
        """The same, looked at for one workspace or batch ("": all). A batch has ended with its own event: then no more of it comes."""
        events = tuple(one for one in self.events if workspace_id in ("", one.workspace_id) and batch_id in ("", one.batch_id))
        ended = any(one.type is EventType.BATCH_COMPLETED and one.job_id == batch_id for one in events)
        return replace(self, events=events, more=self.more and not ended, ended=ended)


def read(store: Store, job_id: str, after: int = 0, limit: int = 100) -> LogPage:
    """The events of a job after a number. :raises UnknownJob:"""
    (page,) = read_many(store, [(job_id, after)], limit)
    if page is None:
        raise UnknownJob
    return page


def read_all(store: Store, job_id: str) -> list[Event]:
    """All events of a job that are kept, page by page: of one that ran for long most of them tell how far it was. :raises UnknownJob:"""
    found: list[Event] = []
    while True:
        page = read(store, job_id, found[-1].seq if found else 0, MAX_PAGE)
        found += page.events
        if len(page.events) < MAX_PAGE:
            return found


def read_many(store: Store, jobs: Sequence[tuple[str, int]], limit: int = 100) -> list[LogPage | None]:
    """The events of several jobs, each after a number, in one round trip; None for a job that does not exist."""
    replies = store.run_each("events", [{"id": job_id, "after": after, "most": limit} for job_id, after in jobs])
    return [_log_page(job_id, reply, after) for (job_id, after), reply in zip(jobs, replies, strict=True)]


def feed(
    store: Store, tenant_id: str, after: str = FEED_START, limit: int = 100, workspace_id: str | None = None, batch_id: str = ""
) -> FeedPage:
    """The events of a tenant after a place of its feed. A page may have fewer than `limit` events and still more behind it.

    :param workspace_id: only those of this workspace. :param batch_id: only those of this batch and its jobs.
    """
    return feed_many(store, [(tenant_id, workspace_id or "", batch_id, place_of(after))], limit)[0]


def feed_many(store: Store, feeds: Sequence[tuple[str, str, str, Place]], limit: int = 100) -> list[FeedPage]:
    """Pages of several feeds (tenant, workspace or "", batch or "", place) in one round trip."""
    asked = [
        {"tenant": tenant, "workspace": workspace, "batch": batch, "after": f"{after[0]}-{after[1]}", "most": limit}
        for tenant, workspace, batch, after in feeds
    ]
    replies = store.run_each("feed", asked)
    return [_feed_page(tenant, reply, after, limit) for (tenant, *_, after), reply in zip(feeds, replies, strict=True)]


def feed_end(store: Store, tenant_id: str) -> str:
    """The place at which only what is still to come follows."""
    (newest,) = store.streams(1, [("feed", tenant_id)])
    return newest[0][0] if newest else FEED_START


def feed_place(text: str) -> str:
    """A place of a feed as a client gives it back. :raises InvalidInput:"""
    found = _FEED_ID.fullmatch(text)
    if found is None:
        raise InvalidInput("after must be an id from the feed", field="after")
    return f"{int(found[1])}-{int(found[2])}"


def place_of(feed_id: str) -> Place:
    """The place that an id of a feed names."""
    milliseconds, _, number = feed_id.partition("-")
    return int(milliseconds), int(number)


def _log_page(job_id: str, found: Any, after: int) -> LogPage | None:
    if found is None:
        return None
    tenant, workspace, first, last = found.tenant_id, found.workspace_id, int(found.first), int(found.last)
    events = tuple(_event(job_id, first + i, tenant, workspace, line) for i, line in enumerate(found.lines))
    reached = events[-1].seq if events else after
    return LogPage(job_id, tenant, workspace, events, reached, last, complete=found.status in TERMINAL and reached >= last)


def _feed_page(tenant_id: str, found: Any, after: Place, limit: int) -> FeedPage:
    events = tuple(_of_feed(tenant_id, found.entries))
    state = {"ended": found.ended == "1", "gone": found.ended == "gone"}
    if found.entries:
        end = found.entries[-1][0]
        return FeedPage(events, end, found.looked_at >= limit and end != found.newest, **state)
    return FeedPage((), found.newest if after == FAR else f"{after[0]}-{after[1]}", False, **state)


def _of_feed(tenant_id: str, entries: Iterable[Sequence[str]]) -> Iterable[Event]:
    for place, job_id, number, workspace, line, *batch in entries:
        if line:
            yield replace(_event(job_id, int(number), tenant_id, workspace, line, place), batch_id=batch[0])


def _event(job_id: str, seq: int, tenant: str, workspace: str, line: str, feed_id: str | None = None) -> Event:
    fields: list[Any] = json.loads(line)
    if fields[0] == "batch":
        return _of_batch(job_id, seq, tenant, workspace, fields, feed_id)
    word, created_at, attempt, progress, stage, text, why = [*fields, *_ABSENT[len(fields) - 2 :]]
    about, _, status = why.partition(":")
    kind = _KINDS.get((word, about)) or EventType(f"job.{word}")
    data: dict[str, Any] = {"status": status or STATUS_OF[kind], "attempt": attempt, "stage": stage or None, "progress": progress}
    match kind:
        case EventType.FAILED:
            data |= {"error": text, "error_code": why or None}
        case EventType.UPDATED:
            changes = json.loads(text)
            data["changes"] = {**changes, "run_at": rfc3339(changes["run_at"])} if "run_at" in changes else changes
        case EventType.REQUEUED:
            data |= {"message": text or None, "reason": why}
        case _:
            data["message"] = text or None
            if why == "cached":
                data["cached"] = True
    return Event(job_id, seq, kind, tenant, workspace, created_at, data, feed_id)


def _of_batch(batch_id: str, seq: int, tenant: str, workspace: str, fields: Sequence[Any], feed_id: str | None) -> Event:
    _, created_at, total, completed, failed, cancelled = fields
    data = {"total": total, "counts": {"completed": completed, "failed": failed, "cancelled": cancelled}}
    return Event(batch_id, seq, EventType.BATCH_COMPLETED, tenant, workspace, created_at, data, feed_id)


#: Events that processes of the release before show as what they are in the log: its word, and the first part of why.
_KINDS = {
    ("progress", "warning"): EventType.WARNING,
    ("progress", "signal"): EventType.SIGNALLED,
    ("requeued", "signal"): EventType.WAITING,
}
#: What an event has that a line leaves out at its end.
_ABSENT: list[Any] = [0, 0, "", "", ""]
