"""Create, get, change and pause schedules: the entry point for the API and the command line. `fire` carries them out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import InvalidInput, ScheduleGone, TooManySchedules, UnknownPipeline, UnknownSchedule
from pipeline_jobs.job import ANY_ID, Job, NewJob, dumps, new_job_id
from pipeline_jobs.jobs.client import MAX_TAGS, Client
from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.runlog.secret_params import may_hide, revealed, sent_back, stay_hidden
from pipeline_jobs.schedules.cron import Cron
from pipeline_jobs.schedules.schedule import TAG, CatchUp, Outcome, Overlap, Schedule, new_schedule_id
from pipeline_jobs.schedules.schedule_store import ScheduleStore, Skip
from pipeline_jobs.store.idempotency import Accepted, forms_of_schedule, idempotency
from pipeline_jobs.store.pages import Page
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.store.refusals import refusal

MAX_NAME = 64
#: Most slots that are looked at in one step.
CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """What a client asks for. The job's tenant and workspace are the schedule's."""

    cron: str
    job: NewJob
    timezone: str = "UTC"
    name: str = ""
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.NONE
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule that a request made."""

    schedule: Schedule
    #: Its Idempotency-Key had made it before.
    replayed: bool = False


class Scheduler:
    """Schedules, for everybody who is not the duty that fires them; `actor` is for the audit log."""

    def __init__(self, client: Client) -> None:
        self.client, self.kept = client, ScheduleStore(client.store)

    def create(
        self, new: NewSchedule, *, idempotency_key: str | None = None, sender: Sender | None = None, actor: str | None = None
    ) -> Planned:
        """Make a schedule; its first slot is the first one from now on.

        :param idempotency_key: a tenant's key for this request, good for 24 hours: it makes one schedule, however often it is sent.
        :param sender: who sends it: where the key is one of a kind.
        :raises InvalidInput: names the field (`cron`, `job.params.seconds`); `TooManySchedules` is one.
        :raises KeyReused: the key has made the schedule of another request; `ScheduleGone`: its schedule was removed since.
        """
        self.client.guard.check()
        once = idempotency(idempotency_key, sender, *forms_of_schedule(new), what="schedule") if idempotency_key is not None else None
        cron = Cron.parse(new.cron, new.timezone)
        while True:
            schedule = Schedule(
                new_schedule_id(), cron, new.job, new.name, Overlap(new.overlap), CatchUp(new.catch_up), new.paused,
                revision=secrets.token_hex(8), next_run_at=None if new.paused else cron.next(self.kept.now()),
            )  # fmt: skip
            schedule = self.as_kept(schedule)
            became, made = self.kept.put(schedule, most=self.client.settings.max_schedules_per_tenant, idempotency=once)
            if became == "full":
                raise TooManySchedules(field="tenant_id")
            if became == "ok":
                planned = Planned(self.get(made))
                self._noted(actor, "created", planned.schedule, cron=cron.expression, timezone=cron.timezone)
                return planned
            if became == "same":
                return self._made_before(made)

    def _made_before(self, schedule_id: str) -> Planned:
        try:
            return Planned(self.get(schedule_id), replayed=True)
        except UnknownSchedule:
            raise ScheduleGone from None

    def get(self, schedule_id: str) -> Schedule:
        """A schedule as it may be shown. :raises UnknownSchedule:"""
        return self._hiding(self._read(schedule_id))

    def _read(self, schedule_id: str) -> Schedule:
        """A schedule as the store has it. :raises UnknownSchedule:"""
        found = self.kept.get(schedule_id) if ANY_ID.fullmatch(schedule_id) else None
        if found is None:
            raise UnknownSchedule
        return found

    def list(
        self, *, tenant_id: str | None = None, workspace_id: str | None = None, cursor: str | None = None, limit: int = 25
    ) -> Page[Schedule]:
        """Schedules, newest first. A workspace is asked for with its tenant.

        :raises InvalidInput: the cursor is not one of ours, or a workspace has no tenant.
        """
        if workspace_id is not None and tenant_id is None:
            raise InvalidInput("workspace_id needs tenant_id", field="workspace_id")
        found = self.kept.page(tenant_id, workspace_id, cursor, limit)
        return replace(found, items=tuple(map(self._hiding, found.items)))

    def log(self, schedule_id: str, limit: int = 20) -> Sequence[Outcome]:
        """What became of its last slots, newest first."""
        return self.kept.log(schedule_id, limit)

    def upcoming(self, schedule: Schedule, n: int) -> Sequence[int]:
        """Its next slots (Unix milliseconds); none while it is paused."""
        if schedule.next_run_at is None or n <= 0:
            return []
        return [schedule.next_run_at, *schedule.cron.upcoming(schedule.next_run_at, n - 1)]

    def change(
        self,
        schedule_id: str,
        *,
        cron: str | None = None,
        timezone: str | None = None,
        name: str | None = None,
        overlap: Overlap | None = None,
        catch_up: CatchUp | None = None,
        job: NewJob | None = None,
        actor: str | None = None,
    ) -> Schedule:
        """Change what is given. It stays its tenant's and workspace's; a slot that is due by now is skipped if the cron changes.

        :raises InvalidInput: names the field.
        :raises UnknownSchedule:
        """

        def changed(known: Schedule) -> Schedule:
            changes: dict[str, Any] = {"name": name, "overlap": overlap, "catch_up": catch_up}
            if cron is not None or timezone is not None:
                changes["cron"] = Cron.parse(known.cron.expression if cron is None else cron, timezone or known.cron.timezone)
            if job is not None:
                shown = self._hiding(known)
                changes["template"] = replace(_sent_back(job, shown), tenant_id=known.tenant_id, workspace_id=known.workspace_id)
                changes["secret_params"] = ()
            made = self.as_kept(known.evolve(**{field: value for field, value in changes.items() if value is not None}))
            if job is not None:
                _stay_hidden(job, shown, made)
            return made

        given = {"cron": cron, "timezone": timezone, "name": name, "overlap": overlap, "catch_up": catch_up, "job": job}
        fields = sorted(field for field, value in given.items() if value is not None)
        return self._noted(actor, "changed", self._update(schedule_id, changed, "changed"), fields=fields)

    def pause(self, schedule_id: str, *, actor: str | None = None) -> Schedule:
        """Fire nothing until it is resumed. Slots that are due or wait are skipped; safe to repeat. :raises UnknownSchedule:"""
        return self._noted(actor, "paused", self._update(schedule_id, lambda known: known.evolve(paused=True), "paused"))

    def resume(self, schedule_id: str, *, actor: str | None = None) -> Schedule:
        """Go on with the first slot from now on; safe to repeat. :raises UnknownSchedule:"""
        return self._noted(actor, "resumed", self._update(schedule_id, lambda known: known.evolve(paused=False), "paused"))

    def delete(self, schedule_id: str, *, actor: str | None = None) -> None:
        """Remove a schedule; the jobs that it has made go on. :raises UnknownSchedule:"""
        gone = self.get(schedule_id)
        if not self.kept.remove(schedule_id):
            raise UnknownSchedule
        self._noted(actor, "deleted", gone)

    def run_now(
        self, schedule_id: str, *, idempotency_key: str | None = None, sender: Sender | None = None, actor: str | None = None
    ) -> Accepted:
        """Make its job now, paused or not, whatever else runs.

        :param idempotency_key: as at `client.submit`. The request is to run this schedule, whatever its job is by now.
        :param sender: likewise.
        :raises UnknownSchedule:
        :raises KeyReused: the key has made another schedule's; `JobGone`: its job was removed since.
        :raises TryLater: a limit is in the way, as at `client.submit`.
        """
        durably = self.client.guard.check()
        nonce = secrets.token_hex(8)
        once = idempotency(idempotency_key, sender, dumps(schedule_id), what="schedule run")
        while True:
            schedule = self._read(schedule_id)
            job = self.job_of(schedule, new_job_id(self.client.settings.cell))
            self.client.check_pools(job.pipeline)
            fired = self.kept.fire(schedule, None, job, nonce, durably=durably, idempotency=once, sender=sender)
            if fired.job is not None:
                self._noted(actor, "run", schedule, job_id=fired.job.job_id)
                return Accepted(fired.job, fired.told_rates)
            if fired.became == "refused" and fired.refusal.became == "same":
                return self.client.store.made_before(fired.refusal.id)
            if fired.became == "refused":
                raise refusal(fired.refusal)

    def job_of(self, schedule: Schedule, job_id: str) -> Job:
        """The record of a job that this schedule makes.

        :raises InvalidInput: the pipeline does not take it (any more); names the field, `job.params.seconds`.
        """
        tags = (*schedule.template.tags, TAG.format(schedule.schedule_id))
        params = revealed(schedule.template.params, schedule.secret_params)
        with in_job():
            return self.client.prepare(replace(schedule.template, tags=tags, params=params), job_id)

    def as_kept(self, schedule: Schedule) -> Schedule:
        """The schedule with its secrets apart, as those of a job are. :raises InvalidInput: names the field."""
        if len(schedule.name) > MAX_NAME:
            raise InvalidInput(f"name has at most {MAX_NAME} characters", field="name")
        if len(schedule.template.tags) >= MAX_TAGS:
            raise InvalidInput(f"at most {MAX_TAGS - 1} tags: the schedule adds one of its own", field="job.tags")
        params, hidden = _given_of(self.job_of(schedule, "checked"), schedule)
        if not hidden:
            return schedule.evolve(secret_params=())
        kept = schedule.evolve(template=replace(schedule.template, params=params), secret_params=hidden)
        # Each slot gives the pipeline what it made of them: one that takes that for something else must be refused now.
        if _given_of(self.job_of(kept, "checked"), kept) != (params, hidden):
            raise InvalidInput("the pipeline does not take what it makes of these params for the same again", field="job.params")
        return kept

    def _hiding(self, schedule: Schedule) -> Schedule:
        """The schedule with its secrets apart, also one that was made before these were. Without them, if its params are refused now."""
        template = schedule.template
        if schedule.secret_params or not template.params:
            return schedule
        with suppress(UnknownPipeline):
            pipeline = self.client.registry.get(template.pipeline)
            if may_hide(pipeline.params):
                return self._apart(schedule, pipeline)
        return schedule

    def _apart(self, schedule: Schedule, pipeline: Pipeline) -> Schedule:
        try:
            return self.as_kept(schedule)
        except InvalidInput:
            params = pipeline.without_secrets(schedule.template.params)
            return schedule.evolve(template=replace(schedule.template, params=params))

    def skip_due(self, schedule: Schedule, now: int, reason: str) -> bool:
        """Report slots that are due by now as skipped, so many in one step. :return: there was nothing (more) to report."""
        slots = due_slots(schedule, now, CHUNK)
        if not slots:
            return True
        self.kept.plan(schedule, (), Skip(reason, slots), schedule.cron.next(slots[-1]), 0)
        return False

    def _update(self, schedule_id: str, change: Callable[[Schedule], Schedule], reason: str) -> Schedule:
        while True:
            known = self._read(schedule_id)
            made = change(known)
            if made == known:
                return self._hiding(known)
            same_slots = (made.cron, made.paused) == (known.cron, known.paused)
            now = self.kept.now()
            if not same_slots and not self.skip_due(known, now, reason):
                continue
            following = None if made.paused else made.cron.next(now)
            made = made.evolve(revision=secrets.token_hex(8), next_run_at=following)
            # Whoever was quicker (a change, the duty that fires) is seen at the next look.
            if self.kept.put(made, before=known.revision, keep_next=same_slots)[0] == "ok":
                return self.get(schedule_id)

    def _noted(self, actor: str | None, action: str, schedule: Schedule, **detail: Any) -> Schedule:
        whose = {"tenant_id": schedule.tenant_id, "workspace_id": schedule.workspace_id}
        audit.record(
            self.client.store, actor, f"schedule.{action}", schedule.schedule_id, {**whose, **detail}, tenant_id=schedule.tenant_id
        )
        return schedule


def _given_of(job: Job, schedule: Schedule) -> tuple[dict[str, Any], tuple[Mapping[str, Any], ...]]:
    """What a job that was checked has of the params of its template, and what is hidden of them: a default is that of the slot's day. All,
    where the template has names that the job has not: nobody knows what those became."""
    given = schedule.template.params.keys()
    names = given if given <= job.params.keys() else job.params.keys()
    hidden = tuple(one for one in job.secret_params if one["at"][0] in names)
    return {name: value for name, value in job.params.items() if name in names}, hidden


def _sent_back(job: NewJob, known: Schedule) -> NewJob:
    """The job of a change, with what is hidden of the schedule's where the asterisks stand that were shown. Another pipeline has its own.

    :raises InvalidInput: names the list in which they may stand for several values.
    """
    if job.pipeline != known.template.pipeline:
        return job
    with in_job():
        return replace(job, params=sent_back(job.params, known.template.params, known.secret_params))


def _stay_hidden(job: NewJob, before: Schedule, made: Schedule) -> None:
    """:raises InvalidInput: names the field in which what was hidden before would be shown."""
    if job.pipeline == before.template.pipeline:
        with in_job():
            stay_hidden(job.params, before.secret_params, {"params": made.template.params, "secret_params": made.secret_params})


def due_slots(schedule: Schedule, now: int, limit: int) -> list[int]:
    """Its slots from `next_run_at` until now, at most so many."""
    first = schedule.next_run_at
    if first is None or first > now:
        return []
    slots = [first]
    for slot in takewhile(lambda slot: slot <= now and len(slots) < limit, schedule.cron.after(first)):
        slots.append(slot)
    return slots


@contextmanager
def in_job() -> Iterator[None]:
    """Fields of the job are told as the schedule's: `job.url`."""
    try:
        yield
    except InvalidInput as error:
        error.field = "job" if error.field is None else f"job.{error.field}"
        raise
