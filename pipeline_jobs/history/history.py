"""The history of an installation: what is put there, found, and removed again.

Who removes a job makes its row a tombstone first (all but the key is null) and then deletes the record: a mover that has read the record
before and comes later finds the key taken. A tombstone stays for a day.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Select, and_, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError

from pipeline_jobs.disk import Room
from pipeline_jobs.exceptions import InvalidInput, JobNotEnded, StoreUnavailable, UnknownJob
from pipeline_jobs.history import analytics
from pipeline_jobs.history.database import Database
from pipeline_jobs.history.queries import QUERY_SECONDS, Busy, Line, Range
from pipeline_jobs.history.rows import job_of, row, tag_text
from pipeline_jobs.history.tables import JOBS, TOLD
from pipeline_jobs.job import Job
from pipeline_jobs.jobs import listing
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import TERMINAL, JobStatus
from pipeline_jobs.store.cursors import read_cursor, write_cursor
from pipeline_jobs.store.pages import Page
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import ANYBODYS, Whose, is_canary

#: Longest time for a job, or a page of jobs, in seconds.
LIST_SECONDS = 3.0
#: How long a turn lasts that nobody gives back, in ms.
TURN_MS = int(1000 * QUERY_SECONDS) + 5_000
#: How long a tombstone stays, in ms.
TOMBSTONE_MS = 86_400_000
#: Rows that are removed in one transaction.
CHUNK = 1_000

_DAY_MS = 86_400_000
_NOTHING = dict.fromkeys(TOLD)

logger = structlog.get_logger(__name__)


class History:
    """Every method raises `StoreUnavailable` when the database, or the store, cannot be asked."""

    def __init__(self, store: Store, settings: Settings, pipelines: Registry) -> None:
        self.store, self.database = store, Database(settings.history_url)
        self._room = Room(settings.disk_reserve)
        self._pipelines, self._retention_ms = pipelines, settings.history_retention_days * _DAY_MS
        self.cell = f"{settings.key_prefix}{settings.cell}"
        self._here = JOBS.c.cell == self.cell
        self._insert: Any = sqlite.insert if self.database.on_sqlite else postgresql.insert
        self._position = func.instr if self.database.on_sqlite else func.strpos

    # -- in

    def put(self, records: Sequence[Mapping[str, str]]) -> set[str]:
        """Write jobs that have ended, by their records; those that are there already stay as they are.

        :return: ids of those that are in the history now. One that cannot be read, or that the database refuses, is logged.
        :raises StoreUnavailable: also: the disk of its file has no room.
        """
        self._check_room()
        rows = [made for flat in records if (made := self._row(flat))]
        try:
            written = self._write(rows)
        except DataError:
            written = [one for each in rows for one in self._write_alone(each)]
        return {one["job_id"] for one in written}

    def _check_room(self) -> None:
        """The store's own log may be on the same disk, and no tenant has a limit of what it has here."""
        try:
            full = self.database.folder and self._room.lacks(self.database.folder)
        except OSError as error:
            full = str(error)
        if full:
            raise StoreUnavailable(f"the history takes no more jobs: {full}")

    def _row(self, flat: Mapping[str, str]) -> dict[str, Any] | None:
        try:
            return row(self.cell, flat, self._pipelines)
        except (KeyError, TypeError, ValueError) as error:
            logger.error("a job cannot be moved into the history: its record cannot be read", job_id=flat.get("job_id"), error=str(error))
            return None

    def _write(self, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        if rows:
            with self.database.writing() as connection:
                connection.execute(self._insert(JOBS).on_conflict_do_nothing(), rows)
        return rows

    def _write_alone(self, one: dict[str, Any]) -> Sequence[dict[str, Any]]:
        try:
            return self._write([one])
        except DataError:
            logger.error("a job cannot be moved into the history: its database refuses it", job_id=one["job_id"])
            return []

    # -- out

    def get(self, job_id: str, whose: Whose = ANYBODYS) -> Job:
        """The job that had this id last. :raises UnknownJob: there is none, or it is not theirs."""
        found = select(JOBS.c.record).where(self._here, JOBS.c.job_id == job_id, JOBS.c.deleted_ms.is_(None), *_of(whose))
        found = found.order_by(JOBS.c.ord.desc()).limit(1)
        with self.database.reading(LIST_SECONDS) as connection:
            record = connection.execute(found).scalar()
        if record is None:
            raise UnknownJob
        return job_of(record)

    def page(self, query: JobQuery) -> Page[Job]:
        """A page of the store's jobs and the history's as one list: each once, none left out, whatever is moved or purged meanwhile.

        :raises InvalidInput: the cursor is not one of ours; or a text is asked for, which the database has no index for.
        """
        if query.q is not None:
            raise InvalidInput("q is for the jobs that have records: leave out include=history", field="q")
        # First the store: a job that leaves it in between is in the history already.
        page = listing.page(self.store, query)
        # The store's page says up to where it has looked; what the history has below that is the next page's.
        lowest = read_cursor(page.next_cursor)
        merged = {job.order: job for job in (*self._jobs(query, lowest), *page.items)}
        found = [merged[order] for order in sorted(merged, reverse=True)]
        if len(found) > query.limit:
            lowest = found[query.limit - 1].order
        return Page(tuple(found[: query.limit]), None if lowest is None else write_cursor(lowest))

    def _jobs(self, query: JobQuery, lowest: int | None) -> list[Job]:
        found = select(JOBS.c.record).where(*self._meets(query)).order_by(JOBS.c.ord.desc()).limit(query.limit + 1)
        if lowest is not None:
            found = found.where(JOBS.c.ord >= lowest)
        with self.database.reading(LIST_SECONDS) as connection:
            return [job_of(record) for record in connection.execute(found).scalars()]

    def _meets(self, query: JobQuery) -> Iterator[ColumnElement[bool]]:
        yield from (self._here, JOBS.c.deleted_ms.is_(None))
        for name in ("tenant_id", "workspace_id", "pipeline", "batch_id"):
            if (value := getattr(query, name)) is not None:
                yield JOBS.c[name] == value
        if query.within is not None:
            yield JOBS.c.workspace_id == query.within
        if query.error_code is not None:
            yield JOBS.c.error_code == query.error_code
        if query.statuses:
            yield JOBS.c.status.in_([status.value for status in query.statuses])
        if query.tag is not None:
            yield self._position(JOBS.c.tags, tag_text(query.tag)) > 0
        if query.created_after is not None:
            yield JOBS.c.ord >= query.created_after * 1000
        ends = [read_cursor(query.cursor), None if query.created_before is None else query.created_before * 1000]
        yield from (JOBS.c.ord < end for end in ends if end is not None)

    def lines(self, asked: Range) -> list[Line]:
        """See `analytics.lines`."""
        return analytics.lines(self.database, self.cell, asked)

    def export(self, asked: Range) -> Iterator[str]:
        """See `analytics.export`."""
        return analytics.export(self.database, self.cell, asked)

    @contextmanager
    def turn(self, whose: Whose) -> Iterator[Callable[[], None]]:
        """One evaluation at a time a tenant, over all processes. Gives what makes it last: a turn lapses after `TURN_MS`.

        :raises Busy: another one has it.
        """
        name, token = whose.tenant_id or "*", secrets.token_hex(8)

        def run(*, taking: bool) -> Any:
            return self.store.run("history_turn", whose=name, token=token, ms=TURN_MS, taking=taking)

        def go_on() -> None:
            # Whoever reads the database needs no store.
            with suppress(StoreUnavailable):
                run(taking=True)

        if not run(taking=True):
            raise Busy
        try:
            yield go_on
        finally:
            with suppress(StoreUnavailable):
                run(taking=False)

    # -- away

    def before_delete(self, job_id: str, meant: int | None) -> None:
        """Called before the record of an ended job is deleted.

        :param meant: the `order` of the job that is meant; None: of any.
        :raises UnknownJob:
        :raises JobNotEnded:
        """
        status, order, tenant_id = self.store.fields(("status", "order", "tenant_id"), "job", job_id)
        # A damaged record may lack its order: then whoever means the job has it of the store's indexes.
        found = int(order or meant or 0)
        if status is None or meant not in (None, found):
            raise UnknownJob
        if JobStatus(status) not in TERMINAL:
            raise JobNotEnded
        if not is_canary(tenant_id):
            self.bury([(job_id, found)])

    def bury(self, jobs: Sequence[tuple[str, int]]) -> None:
        """Remove jobs, by id and order, whether they are here already or come later."""
        now = self.store.now()
        rows = [{"cell": self.cell, "job_id": job_id, "ord": order, "deleted_ms": now} for job_id, order in jobs]
        if rows:
            with self.database.writing() as connection:
                key, buried = JOBS.primary_key.columns, {**_NOTHING, "deleted_ms": now}
                connection.execute(self._insert(JOBS).on_conflict_do_update(index_elements=key, set_=buried), rows)

    def delete(self, job_id: str, whose: Whose = ANYBODYS) -> None:
        """Remove what the history has of this id. :raises UnknownJob: nothing, or it is not theirs."""
        if not self._bury_where(JOBS.c.job_id == job_id, *_of(whose)):
            raise UnknownJob

    def of_workflow(self, workflow_id: str, whose: Whose, most: int) -> tuple[list[Job], bool]:
        """So many of the jobs that it has of a workflow, and whether there are others."""
        query = JobQuery(whose.tenant_id, batch_id=workflow_id, limit=most, within=whose.workspace_id)
        # The jobs of a batch that is no workflow have no names.
        found = [job for job in self._jobs(query, None) if job.name is not None]
        return found[:most], len(found) > most

    def erase(self, tenant_id: str) -> int:
        """Remove a tenant's jobs. :return: how many."""
        return self._bury_where(JOBS.c.tenant_id == tenant_id)

    def count(self, tenant_id: str) -> int:
        """How many jobs of a tenant it has."""
        counted = select(func.count()).select_from(JOBS).where(self._here, JOBS.c.tenant_id == tenant_id)
        with self.database.reading(QUERY_SECONDS) as connection:
            return int(connection.execute(counted).scalar_one())

    def known(self, jobs: Sequence[tuple[str, int]]) -> int:
        """How many of these jobs, by id and order, it has."""
        ids = [job_id for job_id, _ in jobs]
        found = select(JOBS.c.job_id, JOBS.c.ord).where(self._here, JOBS.c.job_id.in_(ids), JOBS.c.deleted_ms.is_(None))
        with self.database.reading(QUERY_SECONDS) as connection:
            return len({(row.job_id, row.ord) for row in connection.execute(found)} & {*jobs})

    def sweep(self) -> int:
        """Remove jobs that are older than is kept, and tombstones. :return: how many rows."""
        now = self.store.now()
        old = [JOBS.c.deleted_ms < now - TOMBSTONE_MS]
        if self._retention_ms:
            old.append(JOBS.c.ended_ms < now - self._retention_ms)
        return sum(self._by_chunks(lambda keys: delete(JOBS).where(keys), condition) for condition in old)

    def _bury_where(self, *conditions: ColumnElement[bool]) -> int:
        buried = {**_NOTHING, "deleted_ms": self.store.now()}
        return self._by_chunks(lambda keys: update(JOBS).where(keys).values(buried), *conditions, JOBS.c.deleted_ms.is_(None))

    def _by_chunks(self, statement: Any, *conditions: ColumnElement[bool]) -> int:
        """So many rows a transaction: other writers come in between."""
        done = 0
        while True:
            some: Select[Any] = select(JOBS.c.job_id, JOBS.c.ord).where(self._here, *conditions).limit(CHUNK)
            with self.database.writing() as connection:
                keys = connection.execute(some).all()
                for job_id, order in keys:
                    connection.execute(statement(and_(self._here, JOBS.c.job_id == job_id, JOBS.c.ord == order)))
            done += len(keys)
            if len(keys) < CHUNK:
                return done


def _of(whose: Whose) -> Iterator[ColumnElement[bool]]:
    if whose.tenant_id is not None:
        yield JOBS.c.tenant_id == whose.tenant_id
    if whose.workspace_id is not None:
        yield JOBS.c.workspace_id == whose.workspace_id
