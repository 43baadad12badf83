"""A schedule: the record, its words, and how the job that it makes is written down."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pipeline_jobs.job import ACCEPTED, FORMER, STARTS, NewJob, by_former_names, differing, dumps, rfc3339
from pipeline_jobs.records import APART, HIDDEN, Layout, Moment
from pipeline_jobs.schedules.cron import Cron

#: Jobs have this in a tag, so that a list can be asked for those of a schedule.
TAG = "schedule:{}"
#: A new job of its own for each: what says when or after what it starts is the schedule's.
NOT_IN_TEMPLATE = STARTS | {"tenant_id", "workspace_id", "depends_within"}


class Overlap(StrEnum):
    """What becomes of a slot while a job that the schedule has made has not ended."""

    #: It is skipped.
    SKIP = "skip"
    #: It waits for the end of that job; one runs after the other.
    QUEUE = "queue"
    #: That job is cancelled, and the slot waits until it has stopped.
    CANCEL_RUNNING = "cancel_running"


class CatchUp(StrEnum):
    """What becomes of slots that passed while nobody could fire them."""

    #: They are skipped.
    NONE = "none"
    #: The last one is fired.
    LAST = "last"
    #: They are fired, the newest ones up to a limit.
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to make which job. Times are Unix milliseconds by the server's clock."""

    schedule_id: str
    cron: Cron = field(metadata=APART)
    #: Whose it is, and the job to make.
    template: NewJob = field(metadata=APART)
    name: str = ""
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.NONE
    paused: bool = False
    #: Another one with each change.
    revision: str = field(default="", metadata=HIDDEN)
    order: int = field(default=0, metadata=HIDDEN)
    created_at: Moment = 0
    updated_at: Moment = 0
    #: None: it is paused.
    next_run_at: Moment | None = None
    last_run_at: Moment | None = None
    last_job_id: str | None = None
    #: The last slot that was skipped, and why (`docs/schedules.md`).
    last_skipped_at: Moment | None = None
    last_skipped_reason: str | None = None
    #: Slots so far.
    fired: int = 0
    skipped: int = 0
    #: Of the params of the template, as `Job.secret_params`.
    secret_params: tuple[Mapping[str, Any], ...] = field(default=(), metadata=HIDDEN)

    @property
    def tenant_id(self) -> str:
        return self.template.tenant_id

    @property
    def workspace_id(self) -> str:
        return self.template.workspace_id

    def evolve(self, **changes: Any) -> Schedule:
        """A copy with these fields changed."""
        return replace(self, **changes)

    def to_mapping(self) -> dict[str, str]:
        """What a client decides of it, flat, for the store."""
        return {
            "tenant_id": self.tenant_id,
            "workspace_id": self.workspace_id,
            "name": self.name,
            "cron": self.cron.expression,
            "timezone": self.cron.timezone,
            "overlap": self.overlap.value,
            "catch_up": self.catch_up.value,
            "job": dumps(by_former_names(template_body(self.template))),
            "secret_params": dumps(self.secret_params),
        }

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str]) -> Schedule:
        """From what `HGETALL` gave."""
        template = template_of(json.loads(flat["job"]), flat["tenant_id"], flat["workspace_id"])
        # A moment that there is none of is kept as nothing.
        given = {name: text for name, text in flat.items() if text or not name.endswith("_at")}
        return cls(cron=Cron(flat["cron"], flat["timezone"]), template=template, **_LAYOUT.read(given))

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it (`docs/schedules.md`)."""
        shown = {**_LAYOUT.show(self), **self.to_mapping(), "job": template_body(self.template)}
        del shown["secret_params"]
        return shown


_LAYOUT = Layout(Schedule, Overlap, CatchUp)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one slot, or of several in a row that were skipped together."""

    #: `fired`, `manual`, or why they were skipped.
    outcome: str
    at: int
    first_slot: int
    last_slot: int
    count: int
    job_id: str | None

    @classmethod
    def from_line(cls, line: str) -> Outcome:
        """From a line of the log, as `lua/lib/schedules.lua` writes it."""
        outcome, at, first, last, count, job_id = line.split("|")
        return cls(outcome, int(at), int(first), int(last), int(count), job_id or None)

    def to_dict(self) -> dict[str, Any]:
        """`{"outcome", "at", "slot", "last_slot", "count", "job_id"}`"""
        return {
            "outcome": self.outcome,
            "at": rfc3339(self.at),
            "slot": rfc3339(self.first_slot),
            "last_slot": rfc3339(self.last_slot),
            "count": self.count,
            "job_id": self.job_id,
        }


def new_schedule_id() -> str:
    """A fresh id; the store refuses a taken one and the caller draws again."""
    return f"sch_{int(time.time())}_{secrets.token_hex(4)}"


def template_body(new: NewJob) -> dict[str, Any]:
    """The job to make as a client writes it: what is not the default, and nothing that is the schedule's."""
    body = {name: value for name, value in differing(new).items() if name not in NOT_IN_TEMPLATE}
    return {"pipeline": new.pipeline, **{name: list(value) if isinstance(value, tuple) else value for name, value in body.items()}}


def template_of(body: Mapping[str, Any], tenant_id: str, workspace_id: str) -> NewJob:
    """What `template_body` gave, as a new job."""
    known = {name: value for name, value in body.items() if FORMER.get(name, name) in ACCEPTED}
    return NewJob.of({**known, "tenant_id": tenant_id, "workspace_id": workspace_id})
