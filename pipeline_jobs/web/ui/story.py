"""How a job went, for people: its title, and the waits, attempts and stages of its log as bars on one axis."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.events.log import Event
from pipeline_jobs.job import ACCEPTED, STARTS, Job, NewJob
from pipeline_jobs.jobs.batches import Batch
from pipeline_jobs.web.ui.words import sentence, span
from pipeline_jobs.webhooks.ledger import Delivery

#: Most events that are told, the newest ones.
MOST_TOLD = 40
#: Jobs that it waited for, by name.
MOST_NAMED = 3
#: Longest title, in characters.
MAX_TITLE = 120
#: Why a job went back to the queue, and of which kind the bar is that ended so: time that was lost, or used.
_BACK = {
    "retry": ("It will be tried again.", "failed"),
    "crash": ("Its worker died.", "lost"),
    "handback": ("Its worker shut down.", "lost"),
    "fault": ("Its worker's machine was at fault.", "lost"),
    "parts": ("It goes on in parts.", "done"),
    "hop": ("Its next stage is run by another kind of machine.", "done"),
}
#: Not of another job like it: when it starts; and where its webhooks go, which readers need not know.
_NOT_SHOWN = STARTS | {"webhook"}
_ENDS = {EventType.COMPLETED: "done", EventType.FAILED: "failed", EventType.CANCELLED: "cancelled"}


@dataclass(slots=True)
class Bar:
    """A wait or a stage, between two moments in Unix ms."""

    name: str
    #: `wait`, `done`, `failed`, `lost` or `cancelled`.
    kind: str
    start: int
    end: int
    #: What is to be said besides: why it waited, or how it ended.
    note: str = ""

    @property
    def seconds(self) -> float:
        return max(0.0, (self.end - self.start) / 1000)


@dataclass(frozen=True, slots=True)
class Happening:
    """An event in words, at a moment in Unix ms."""

    at: int
    what: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The bars of a job that has ended, and their sum in a sentence."""

    bars: tuple[Bar, ...]
    said: str
    start: int
    end: int

    def place(self, bar: Bar) -> tuple[float, float]:
        """Where a bar begins, and how long it is, in thousandths of the axis; at least so long that it can be seen."""
        whole = max(1, self.end - self.start)
        long = max(4.0, 1000 * (bar.end - bar.start) / whole)
        return round(min(1000 * (bar.start - self.start) / whole, 1000 - long), 1), round(long, 1)


def title_of(job: Job) -> str:
    """The film's own, or one of the client's (`metadata.title`), else the name of its file, else its pipeline."""
    result = job.result if isinstance(job.result, Mapping) else {}
    data = result.get("data")
    for found in (data.get("title") if isinstance(data, Mapping) else None, job.metadata.get("title"), _file_name(job.url)):
        if isinstance(found, str) and found.strip():
            return " ".join(found.split())[:MAX_TITLE]
    return job.pipeline


def name_of_batch(batch: Batch) -> str:
    """The client's title (`metadata.title`), else how many jobs it has."""
    title = batch.metadata.get("title")
    return title if isinstance(title, str) and title.strip() else f"Batch of {batch.total:,} {'job' if batch.total == 1 else 'jobs'}"


def _file_name(address: str | None) -> str | None:
    try:
        return PurePosixPath(unquote(urlsplit(address or "").path)).name or None
    except ValueError:
        return None


def timeline(job: Job, events: Iterable[Event], deliveries: Iterable[Delivery] = (), needs: Sequence[Job] = ()) -> Timeline | None:
    """The bars of a job that has ended; None: it has not, or its log does not tell enough. :param needs: the jobs that it waited for."""
    if not job.ended or job.completed_at is None:
        return None
    bars = _bars(events)
    if not bars:
        return None
    if bars[0].kind == "wait":
        bars[0].note = _waited_for(job, needs)
    told = [bar for one in deliveries if (bar := _told(one)) is not None]
    every = [*bars, *told]
    return Timeline(tuple(every), _sum(bars), bars[0].start, max(bar.end for bar in every))


def _waited_for(job: Job, needs: Sequence[Job]) -> str:
    """What its first start waited for."""
    if needs:
        more = f" and {len(needs) - MOST_NAMED} more" if len(needs) > MOST_NAMED else ""
        return f"for {', '.join(map(title_of, needs[:MOST_NAMED]))}{more}"
    return "until its time" if job.run_at and job.run_at > job.created_at else "for its turn"


def _told(delivery: Delivery) -> Bar | None:
    """A webhook of the job as a bar: from when it was made until its last try ended."""
    ends = [at for one in delivery.attempts if (at := _moment(str(one.get("ended_at")))) is not None]
    if not ends:
        return None
    tries = f"{delivery.tries} {'try' if delivery.tries == 1 else 'tries'}"
    return Bar("webhook", "sent", delivery.created_at, max(ends), f"{delivery.event} to {delivery.origin}: {delivery.status}, {tries}")


def _moment(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


def happenings(job: Job, events: Iterable[Event], by: str | None = None) -> list[Happening]:
    """What happened to a job in words, newest first; how far a stage was is left out.

    :param by: who asked for its end, if that is known.
    """
    found = [Happening(event.created_at, *said) for event in events if (said := _said(job, event, by)) is not None]
    return found[::-1][:MOST_TOLD]


def _said(job: Job, event: Event, by: str | None) -> tuple[str, str] | None:
    data, message = event.data, str(event.data.get("message") or "")
    match event.type:
        case EventType.CREATED:
            return "Accepted.", f"In batch {job.batch_id}." if job.batch_id else ""
        case EventType.STARTED:
            return f"Started, attempt {data.get('attempt') or 1} of {job.max_attempts}.", ""
        case EventType.STAGE:
            return f"Stage {data.get('stage')} began.", ""
        case EventType.REQUEUED:
            return f"Back in line. {_BACK.get(str(data.get('reason')), ('', ''))[0]}".strip(), message
        case EventType.CANCEL_REQUESTED:
            return f"{sentence(by or 'somebody')} asked it to stop.", ""
        case EventType.CANCELLED if by:
            return f"Cancelled by {by}.", message
        case EventType.UPDATED:
            return "Its priority or time was changed.", ", ".join(map(str, data.get("changes") or ()))
        case EventType.PROGRESS | EventType.BATCH_COMPLETED:
            return None
        case EventType.FAILED:
            return "Failed.", f"{data.get('error') or ''} {data.get('error_code') or ''}".strip()
    return f"{event.type.value.removeprefix('job.').replace('_', ' ').capitalize()}.", message


def _bars(events: Iterable[Event]) -> list[Bar]:
    bars: list[Bar] = []
    for event in events:
        _add(bars, event)
    return [bar for bar in bars if bar.end > bar.start or bar.kind != "wait"]


def _add(bars: list[Bar], event: Event) -> None:
    """What an event says: the last bar ends, another one begins."""
    at, data = event.created_at, event.data
    # Of a very long log the first events are gone.
    last = bars[-1] if bars else Bar("waiting", "wait", at, at)
    if event.type in (EventType.STARTED, EventType.STAGE, EventType.REQUEUED, EventType.WAITING, *_ENDS):
        last.end = max(last.start, at)
    if event.type is EventType.CREATED:
        bars.append(last)
    elif event.type is EventType.STAGE:
        bars.append(Bar(_stage(data), "done", at, at))
    elif event.type is EventType.REQUEUED:
        last.note, last.kind = _BACK.get(str(data.get("reason")), ("", "lost"))
        bars.append(Bar("waiting", "wait", at, at, "for another try" if data.get("reason") == "retry" else "for its turn"))
    elif event.type is EventType.WAITING:
        bars.append(Bar("waiting", "wait", at, at, "for a signal"))
    elif event.type is EventType.CANCEL_REQUESTED:
        last.note = "It was asked to stop."
    elif event.type in _ENDS and last.kind != "wait":
        last.kind = _ENDS[event.type]


def _stage(data: Mapping[str, Any]) -> str:
    attempt = data.get("attempt")
    again = f" (attempt {attempt})" if isinstance(attempt, int) and attempt > 1 else ""
    return f"{data.get('stage') or 'stage'}{again}"


def _sum(bars: Sequence[Bar]) -> str:
    whole = (max(bar.end for bar in bars) - bars[0].start) / 1000
    waited, lost = (sum(bar.seconds for bar in bars if bar.kind == kind) for kind in ("wait", "lost"))
    parts = [f"{span(waited)} in line"] if waited >= 0.05 else []
    parts += [f"{span(lost)} lost"] if lost else []
    return f"It took {span(whole)}" + (f", of it {' and '.join(parts)}." if parts else ".")


def as_curl(job: Job, base_url: str, with_key: bool) -> str:
    """The command that makes another job like it. :param with_key: the API asks for one."""
    # What the record hides is for whoever runs the command to put in.
    asked, plain = replace(job.asked_again(), params=job.params), NewJob()
    body = {
        name: value
        for name in ACCEPTED
        if name not in _NOT_SHOWN and (value := getattr(asked, name)) not in (None, (), {}) and value != getattr(plain, name)
    }
    body["tenant_id"] = job.tenant_id
    lines = [f"curl {shlex.quote(base_url + '/pipeline/jobs')}"]
    lines += ['-H "Authorization: Bearer $PIPELINE_KEY"'] if with_key else []
    lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}"]
    return " \\\n  ".join(lines)
