"""Ended jobs in the history: each once, whoever dies; what is deleted stays away; lists go on there; nobody waits for its database."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import text

from pipeline_jobs import disk
from pipeline_jobs.cell import Cell as RealCell
from pipeline_jobs.exceptions import ConfigurationError, JobNotEnded, StoreUnavailable, UnknownJob
from pipeline_jobs.history import analytics, history, queries
from pipeline_jobs.history.history import History
from pipeline_jobs.history.mover import Mover
from pipeline_jobs.history.queries import Range
from pipeline_jobs.history.tables import JOBS, METADATA, VERSIONS
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs import listing
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation import erase
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.pipelines import Pipeline, Registry, Stage
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import figures
from pipeline_jobs.store.reader import mapping
from pipeline_jobs.tenants import ANYBODYS, Whose
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences
from tests.moved_jobs import ALL, Killing, expire, recount, rows_of
from tests.postgres import Postgres, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    # Not in pytest's folder: that is closed to the server's user by each pytest that starts beside this one.
    with tempfile.TemporaryDirectory(prefix="pipeline-jobs-test-") as folder:
        server = Postgres(Path(folder), synchronous=False)
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return f"postgresql://bench@127.0.0.1:{server.port}/postgres"


class Kept:
    """A cell with a history, and what tests do with both."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.store = cell, cell.store
        found = cell.cell.history
        assert found is not None
        self.history: History = found
        self.mover = Mover(found)

    def ended(self, outcome: JobStatus = JobStatus.COMPLETED, **fields: Any) -> Job:
        """A job that has ended."""
        if outcome is JobStatus.CANCELLED:
            return self.cell.client.cancel(self.cell.submit(**fields).job_id)
        run = self.cell.running(**fields)
        detail = {"code": "bad", "message": "x", "stage": None, "retryable": False} if outcome is JobStatus.FAILED else None
        self.store.finish(run.job_id, run.fence, outcome, result={"n": 1}, error="x" if detail else "", error_detail=detail)
        return self.cell.client.get(run.job_id)

    def purge(self) -> int:
        expire(self.cell)
        return Purge(self.store, self.cell.cell.artifacts, self.cell.settings).run_once()["purged"]

    def page(self) -> list[dict[str, str]]:
        """What a mover has in its hand."""
        records = self.store.run("history_page", tenants=25, limit=500)
        return [mapping(flat) for flat in records.records] if records else []

    def rows(self) -> list[dict[str, Any]]:
        """Whatever is in the table, tombstones too."""
        return rows_of(self.history)

    def listed(self, **filters: Any) -> list[str]:
        """All pages together."""
        query, found = JobQuery(**filters), []
        while True:
            page = self.history.page(query)
            found += [job.job_id for job in page.items]
            if page.next_cursor is None:
                return found
            query = replace(query, cursor=page.next_cursor)

    def counted(self, name: str) -> int:
        return int(self.store.record("counters").get(name, 0))


@pytest.fixture
def kept(jobs: Cell, url: str) -> Iterator[Kept]:
    made = Kept(jobs.with_settings(history_url=url, history_max_waiting=100))
    with made.history.database.writing() as connection:
        connection.execute(JOBS.delete())
    yield made
    made.cell.cell.close()


@pytest.fixture
def on_sqlite(jobs: Cell, tmp_path: Path) -> Iterator[Kept]:
    made = Kept(jobs.with_settings(history_url=f"sqlite:///{tmp_path / 'history.db'}", history_max_waiting=10))
    yield made
    made.cell.cell.close()


def test_an_ended_job_is_moved_once_and_only_then_purged(kept: Kept) -> None:
    one, live = kept.ended(tenant_id="acme", tags=("a", "b"), metadata={"n": 1}), kept.cell.submit(tenant_id="acme")
    assert kept.purge() == 0, "it is not in the history yet"
    assert kept.mover.move() == 1
    assert (kept.mover.move(), len(kept.rows())) == (0, 1)
    assert kept.purge() == 1
    with pytest.raises(UnknownJob):
        kept.store.get(one.job_id)
    found = kept.history.get(one.job_id)
    assert found.to_dict() == one.to_dict()
    assert found.order == one.order
    assert kept.history.get(one.job_id, Whose("acme", "main")) == found
    for foreign in (Whose("other"), Whose("acme", "other")):
        with pytest.raises(UnknownJob):
            kept.history.get(one.job_id, foreign)
    assert kept.store.get(live.job_id).status is JobStatus.QUEUED
    assert differences(kept.store) == []
    assert (kept.counted("history_moved"), kept.counted("history_lost")) == (1, 0)


def test_a_mover_that_dies_between_the_commit_and_its_word_to_the_store_has_doubled_nothing(kept: Kept) -> None:
    jobs = [kept.ended(outcome, tenant_id="acme") for outcome in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)]
    kept.history.put(kept.page())
    assert kept.purge() == 0, "the store was not told"
    assert kept.mover.move() == 3
    assert [row["job_id"] for row in kept.rows()] == [job.job_id for job in jobs]
    assert [row["status"] for row in kept.rows()] == ["completed", "failed", "cancelled"]
    assert [row["error_code"] for row in kept.rows()] == [None, "bad", None]


def test_a_mover_that_is_killed_again_and_again_moves_each_job_once(kept: Kept) -> None:
    """The short form of tests/heavy/bar_history.py."""
    killing = Killing(kept.cell, seed=3)
    killing.run(300, kills=2)
    assert (killing.wrong(), killing.deaths) == ([], 2)
    assert differences(kept.store) == []


def test_movers_side_by_side_move_each_job_once(kept: Kept) -> None:
    jobs = {kept.ended(tenant_id=f"t{n % 5}").job_id for n in range(60)}
    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.append(kept.mover.move())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 60
    assert {row["job_id"] for row in kept.rows()} == jobs
    assert len(kept.rows()) == 60


def test_a_job_that_ended_where_nobody_noted_it_is_found_by_the_purge(on_sqlite: Kept, jobs: Cell) -> None:
    """In a process of the version before, or before there was a history."""
    kept = on_sqlite
    run = jobs.running(tenant_id="acme")
    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert kept.mover.move() == 0
    assert kept.purge() == 0
    assert kept.mover.move() == 1
    assert kept.purge() == 1
    (row,) = kept.rows()
    assert row["slot_ms"] == row["run_ms"], "its runs' time was not kept"


class Inner(BaseModel):
    pin: str = Field("", json_schema_extra={"writeOnly": True})
    place: str = ""


class Secretive(BaseModel):
    """As a pipeline of a team marks it."""

    token: str = Field("", json_schema_extra={"writeOnly": True})
    #: As docs/logs.md has it: one word is enough for both.
    password: str = Field("", json_schema_extra={"format": "password"})
    inner: list[Inner] = []
    hidden: SecretStr = SecretStr("")
    shown: str = ""


def test_secrets_are_not_copied(on_sqlite: Kept) -> None:
    kept = on_sqlite
    kept.cell.cell.pipelines.register(Pipeline("quiet", (Stage("run", lambda context: {}),), params=Secretive, needs_url=False))
    inner = [{"pin": "secret-pin", "place": "y"}]
    params = {"token": "secret-token", "password": "secret-password", "inner": inner, "shown": "x", "hidden": "secret-hidden"}
    secret = kept.ended(
        tenant_id="acme", pipeline="quiet", params=params, webhook={"url": "https://hooks.example/secret-path", "events": []}
    )
    kept.mover.move()
    assert "secret-" not in str(kept.rows())
    found = kept.history.get(secret.job_id)
    assert (found.webhook, found.params) == (None, {"inner": [{"place": "y"}], "shown": "x"})


def test_of_a_pipeline_that_the_mover_does_not_know_no_params_are_copied(on_sqlite: Kept) -> None:
    kept = on_sqlite
    job = kept.ended(tenant_id="acme", params={"seconds": 3})
    kept.history._pipelines = Registry()
    kept.mover.move()
    assert kept.history.get(job.job_id).params == {}


def test_pages_go_on_from_the_store_into_the_history(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some jobs are in the store, some in both, some in the history, whatever their age; jobs are moved and purged between two pages."""
    rng = random.Random(17)
    everything = []
    for n in range(40):
        job = kept.ended(tenant_id="acme", workspace_id=f"w{n % 2}", tags=("even",) if n % 2 == 0 else ("odd", "x"))
        everything.append(job.job_id)
        if rng.random() < 0.5:
            kept.mover.move()
            if rng.random() < 0.5:
                kept.purge()
    everything.reverse()
    for limit in (1, 3, 7, 100):
        assert kept.listed(tenant_id="acme", limit=limit) == everything
        assert kept.listed(tenant_id="acme", limit=limit, workspace_id="w1", statuses=(JobStatus.COMPLETED,)) == everything[::2]
        assert kept.listed(tenant_id="acme", limit=limit, tag="even") == everything[1::2]
        assert kept.listed(limit=limit, pipeline="sleep", within="w0") == everything[1::2]
    assert kept.listed(tenant_id="acme", tag="eve") == kept.listed(tenant_id="other") == kept.listed(tenant_id="acme", tag="Even") == []
    # A page that looks at few records only says up to where it has looked: the history gives nothing below that.
    with monkeypatch.context() as patch:
        patch.setattr(listing, "BUDGET", 2)
        young = [kept.ended(tenant_id="acme", tags=("even",)).job_id for _ in range(6)][::-1]
        assert kept.listed(tenant_id="acme", limit=100, tag="even", pipeline="sleep") == young + everything[1::2]
    everything = young + everything
    query, found = JobQuery(tenant_id="acme", limit=4), []
    for step in range(100):
        page = kept.history.page(query)
        found += [job.job_id for job in page.items]
        if page.next_cursor is None:
            break
        query = replace(query, cursor=page.next_cursor)
        _ = kept.mover.move() if step % 2 else kept.purge()
    assert found == everything


@pytest.mark.parametrize("field", ["order", "pipeline", "workspace_id", "created_at", "completed_at"])
def test_a_job_whose_record_is_damaged_is_deleted_all_the_same(kept: Kept, field: str) -> None:
    job = kept.cell.submit(tenant_id="acme")
    kept.cell.store.client.hdel(kept.cell.store.keys("job", job.job_id), field)
    order = kept.cell.store.cancel(job.job_id, ANYBODYS, whole=False).order
    kept.cell.store.client.hdel(kept.cell.store.keys("job", job.job_id), field)
    kept.mover.move()
    kept.cell.client.delete(job.job_id, order)
    assert not kept.cell.store.exists("job", job.job_id)
    assert kept.listed(tenant_id="acme") == []


def test_a_deleted_job_does_not_come_back_by_a_mover_that_is_late(kept: Kept) -> None:
    one, two, three = (kept.ended(tenant_id="acme") for _ in range(3))
    in_hand = kept.page()
    kept.cell.client.delete(one.job_id)
    kept.history.put(in_hand)
    kept.mover.move()
    assert kept.listed(tenant_id="acme") == [three.job_id, two.job_id]
    kept.cell.client.delete(two.job_id)
    assert kept.purge() == 1
    kept.history.delete(three.job_id, Whose("acme"))
    kept.history.put(in_hand)
    assert kept.listed(tenant_id="acme") == []
    assert {row["record"] for row in kept.rows()} == {row["tenant_id"] for row in kept.rows()} == {None}
    for job in (one, two, three):
        with pytest.raises(UnknownJob):
            kept.history.get(job.job_id)
        with pytest.raises(UnknownJob):
            kept.history.delete(job.job_id)
    live = kept.cell.submit(tenant_id="acme")
    with pytest.raises(JobNotEnded):
        kept.cell.client.delete(live.job_id)


def test_an_erased_tenant_does_not_come_back_either(kept: Kept) -> None:
    mine, theirs = [kept.ended(tenant_id="acme") for _ in range(3)], kept.ended(tenant_id="other")
    in_hand = kept.page()
    kept.history.put(in_hand[:2])
    assert erase_tenant(kept.store, kept.cell.cell.artifacts, "acme", dry_run=False, history=kept.history).done
    kept.history.put(in_hand)
    kept.mover.move()
    assert kept.listed() == [theirs.job_id]
    assert kept.history.count("acme") == 0
    assert "acme" not in str(kept.rows())
    assert len(kept.rows()) == len(mine) + 1


@pytest.mark.parametrize("looked_up", [0, 2_000])
def test_an_erasure_counts_each_job_once_wherever_it_is(kept: Kept, monkeypatch: pytest.MonkeyPatch, looked_up: int) -> None:
    """The store's alone, the history's alone, and those that both have; and its dry run says the same before, also of very many."""
    monkeypatch.setattr(erase, "MOST_LOOKED_UP", looked_up)
    if not looked_up:
        monkeypatch.setattr(kept.history, "known", None)
    again = kept.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"), job_id="job_1_00000001")
    kept.cell.client.cancel(again.job_id)
    kept.ended(tenant_id="acme")
    kept.mover.move()
    assert kept.purge() == 2
    kept.cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme"), job_id="job_1_00000001")
    kept.cell.client.cancel(again.job_id)
    kept.ended(tenant_id="other")
    kept.ended(tenant_id="acme")
    kept.mover.move()
    kept.ended(tenant_id="acme")
    kept.cell.submit(tenant_id="acme")
    artifacts = kept.cell.cell.artifacts
    counted = erase_tenant(kept.store, artifacts, "acme", dry_run=True, history=kept.history)
    assert (counted.jobs, counted.still_live, counted.done) == (6, 1, False)
    erased = erase_tenant(kept.store, artifacts, "acme", dry_run=False, history=kept.history)
    assert (erased.jobs, erased.still_live, erased.done) == (6, 0, True)
    assert (kept.history.count("acme"), kept.history.count("other")) == (0, 1)
    assert erase_tenant(kept.store, artifacts, "acme", dry_run=True, history=kept.history).jobs == 0


def test_an_id_that_is_used_again_is_two_jobs(on_sqlite: Kept) -> None:
    """Celery's clients choose ids themselves."""
    kept = on_sqlite
    client = kept.cell.client
    first = client.submit(NewJob(pipeline="sleep", tenant_id="acme"), job_id="job_1_00000001")
    client.cancel(first.job_id)
    kept.mover.move()
    kept.purge()
    again = client.submit(NewJob(pipeline="sleep", tenant_id="acme"), job_id="job_1_00000001")
    assert kept.listed(tenant_id="acme") == ["job_1_00000001"] * 2
    client.cancel(again.job_id)
    kept.mover.move()
    assert [row["ord"] for row in kept.rows()] == [first.order, again.order]
    assert kept.history.get(first.job_id).order == again.order
    assert kept.purge() == 1
    third = client.submit(NewJob(pipeline="sleep", tenant_id="acme"), job_id="job_1_00000001")
    client.cancel(third.job_id)
    # A mover that is late speaks of the job before.
    assert kept.store.run("history_moved", refused=False, orders=[(third.job_id, str(first.order))]) == 0
    assert kept.purge() == 0


def test_a_tenant_with_very_many_does_not_delay_another(on_sqlite: Kept) -> None:
    kept = on_sqlite
    for _ in range(60):
        kept.ended(JobStatus.CANCELLED, tenant_id="greedy")
    kept.ended(JobStatus.CANCELLED, tenant_id="small")
    page = kept.store.run("history_page", tenants=25, limit=20)
    tenants = [mapping(flat)["tenant_id"] for flat in page.records]
    assert (tenants.count("greedy"), tenants.count("small")) == (10, 1)
    for n in range(30):
        kept.ended(JobStatus.CANCELLED, tenant_id=f"t{n}")
    seen = {mapping(flat)["tenant_id"] for _ in range(2) for flat in kept.store.run("history_page", tenants=25, limit=50).records}
    assert {f"t{n}" for n in range(30)} - seen == set(), "after two pages everybody had a turn"


def test_without_its_database_jobs_end_as_ever_and_stay_until_there_are_too_many(on_sqlite: Kept, tmp_path: Path) -> None:
    kept = on_sqlite
    assert kept.rows() == []
    kept.history.database.close()
    (tmp_path / "history.db").rename(tmp_path / "away")
    (tmp_path / "history.db").mkdir()
    kept.history.database._pid = -1
    for _ in range(14):
        kept.ended(JobStatus.CANCELLED, tenant_id="greedy")
    small = [kept.ended(JobStatus.CANCELLED, tenant_id="small").job_id for _ in range(3)]
    with pytest.raises(StoreUnavailable):
        kept.mover.move()
    assert kept.store.text("heartbeat", "history") is None
    assert kept.purge() == 9, "17 wait where 10 may: of each of two tenants five stay"
    assert kept.counted("history_lost") == 9
    assert {job.job_id for job in kept.cell.client.list(JobQuery(tenant_id="small")).items} == set(small)
    waiting = figures.history(kept.store)
    assert (waiting.jobs, waiting.tenants) == (8, 2)
    assert kept.purge() == 0
    with pytest.raises(StoreUnavailable):
        kept.cell.client.delete(small[0])
    assert kept.store.get(small[0]).job_id == small[0], "it is not half deleted"
    (tmp_path / "history.db").rmdir()
    (tmp_path / "away").rename(tmp_path / "history.db")
    kept.history.database._pid = -1
    assert kept.mover.move() == 8
    assert kept.purge() == 8
    assert differences(kept.store) == []


def test_a_disk_without_room_is_left_to_the_store(on_sqlite: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tenant has a limit of what it has in the history: one that makes and cancels large jobs without end would fill the disk."""
    job_id, free = on_sqlite.ended(JobStatus.CANCELLED, tenant_id="greedy").job_id, [0]
    monkeypatch.setattr(disk, "free", lambda _: free[0])
    with pytest.raises(StoreUnavailable, match="must stay free"):
        on_sqlite.mover.move()
    assert (on_sqlite.rows(), on_sqlite.purge()) == ([], 0), "it waits"
    # What is removed makes room.
    on_sqlite.cell.client.delete(job_id)
    on_sqlite.ended(JobStatus.CANCELLED, tenant_id="greedy")
    free[0] = 2**50
    assert on_sqlite.mover.move() == 1


def test_a_full_server_lets_what_is_past_its_time_go(on_sqlite: Kept) -> None:
    """The history is worth less than the jobs to come."""
    kept = on_sqlite
    for _ in range(3):
        kept.ended(JobStatus.CANCELLED)
    kept.store.client.config_set("maxmemory", int(kept.store.info("memory")["used_memory"] * 1.1))
    try:
        assert kept.purge() == 3
    finally:
        kept.store.client.config_set("maxmemory", 0)
    assert kept.counted("history_lost") == 3


def test_too_many_ended_jobs_of_a_tenant_go_when_they_have_been_moved(on_sqlite: Kept) -> None:
    kept = Kept(on_sqlite.cell.with_settings(max_ended_per_tenant=2))
    for _ in range(5):
        kept.ended(JobStatus.CANCELLED, tenant_id="acme")
    duty = Purge(kept.store, kept.cell.cell.artifacts, kept.cell.settings)
    assert duty.run_once()["purged"] == 0
    kept.mover.move()
    assert duty.run_once()["purged"] == 3
    assert len(kept.listed(tenant_id="acme")) == 5
    kept.cell.cell.close()


def test_what_cannot_be_moved_holds_up_nothing(on_sqlite: Kept) -> None:
    kept = on_sqlite
    bad, good = kept.ended(tenant_id="acme"), kept.ended(tenant_id="acme")
    kept.store.client.hset(kept.store.keys("job", bad.job_id), "tags", "no JSON")
    assert kept.mover.move() == 2
    assert [row["job_id"] for row in kept.rows()] == [good.job_id]
    assert (kept.counted("history_moved"), kept.counted("history_lost")) == (1, 1)


def test_text_that_a_database_does_not_like_is_kept(kept: Kept) -> None:
    run = kept.cell.running(tenant_id="acme")
    odd = "a\0b \N{SNOWMAN} '); drop table history_jobs; --"
    detail = {"code": "odd\0", "message": odd, "stage": None, "retryable": False}
    kept.store.finish(run.job_id, run.fence, JobStatus.FAILED, error=odd, error_detail=detail)
    kept.mover.move()
    assert kept.history.get(run.job_id).error == odd
    assert [row["error_code"] for row in kept.rows()] == ["odd"]


def test_an_evaluation_is_what_a_recount_of_the_rows_gives(kept: Kept) -> None:
    rng, day = random.Random(5), 20_000
    rows: list[dict[str, Any]] = [
        {
            "cell": cell, "job_id": f"job_{n}", "ord": n, "tenant_id": rng.choice(("a", "b")), "workspace_id": rng.choice(("w", "v")),
            "pipeline": rng.choice(("p", "q")), "status": rng.choice(("completed", "failed", "cancelled")),
            "error_code": rng.choice((None, "x", "y")), "ended_ms": (day + rng.randrange(3)) * 86_400_000 + rng.randrange(86_400_000),
            "run_ms": rng.choice((None, rng.randrange(10**6))), "wait_ms": rng.choice((None, rng.randrange(50))),
            "slot_ms": rng.randrange(10**6),
        }
        for n in range(400)
        for cell in (kept.history.cell, "another")
    ]  # fmt: skip
    with kept.history.database.writing() as connection:
        connection.execute(JOBS.insert(), rows)
    own = [row for row in rows if row["cell"] == kept.history.cell]

    def told(asked: Range) -> list[dict[str, Any]]:
        return [{"day": day + int(one["date"][-2:]) - 4, **one} for one in (line.to_dict() for line in kept.history.lines(asked))]

    found = told(ALL)
    assert [one.pop("date") for one in found] == sorted(f"2024-10-0{4 + n}" for n in range(3) for _ in range(4))
    assert found == recount(own)
    asked = Range((day + 1) * 86_400_000, (day + 2) * 86_400_000, "a", "v", "q")
    some = [row for row in own if (row["tenant_id"], row["workspace_id"], row["pipeline"]) == ("a", "v", "q")]
    assert [line.to_dict()["failed"] for line in kept.history.lines(asked)] == [
        sum(row["status"] == "failed" for row in some if row["ended_ms"] // 86_400_000 == day + 1)
    ]


def test_an_export_has_each_job_once_and_no_formula(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analytics, "_CHUNK", 3)
    jobs = [kept.ended(JobStatus.FAILED, tenant_id="acme") for _ in range(7)]
    kept.mover.move()
    with kept.history.database.writing() as connection:
        connection.execute(JOBS.update().values(error_code="=cmd|' /C calc'!A0", ended_ms=1_700_000_000_123))
    lines = "".join(kept.history.export(ALL)).split("\r\n")
    assert lines[0].split(",") == list(analytics.COLUMNS)
    assert [line.split(",")[0] for line in lines[1:-1]] == [job.job_id for job in jobs]
    assert all(line.split(",")[5] == "'=cmd|' /C calc'!A0" and "2023-11-14T22:13:20.123Z" in line for line in lines[1:-1])
    assert list(kept.history.export(replace(ALL, tenant_id="other"))) == [lines[0] + "\r\n"]
    monkeypatch.setattr(analytics, "MAX_EXPORT", 6)
    with pytest.raises(queries.TooMany):
        kept.history.export(ALL)
    monkeypatch.setattr(analytics, "MAX_LINES", 0)
    with pytest.raises(queries.TooMany):
        kept.history.lines(ALL)


def test_a_tenant_has_one_evaluation_at_a_time(on_sqlite: Kept) -> None:
    kept = on_sqlite
    with kept.history.turn(Whose("acme")):
        with pytest.raises(queries.Busy), kept.history.turn(Whose("acme")):
            pass
        with kept.history.turn(Whose("other")), kept.history.turn(Whose()):
            pass
    with kept.history.turn(Whose("acme")):
        pass


def test_a_query_that_takes_too_long_is_ended(kept: Kept) -> None:
    endless = {
        True: "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
        False: "SELECT pg_sleep(600)",
    }[kept.history.database.on_sqlite]
    with pytest.raises(StoreUnavailable, match="was not read within"), kept.history.database.reading(0.05) as connection:
        connection.execute(text(endless))
    kept.ended()
    assert kept.mover.move() == 1, "the connection is good for others"


def test_what_is_older_than_is_kept_goes_and_so_do_tombstones(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "CHUNK", 2)
    old, young, gone = [kept.ended() for _ in range(5)], kept.ended(), kept.ended()
    kept.mover.move()
    kept.cell.client.delete(gone.job_id)
    assert kept.history.sweep() == 0
    now = kept.store.now()
    with kept.history.database.writing() as connection:
        connection.execute(JOBS.update().where(JOBS.c.ord <= old[-1].order).values(ended_ms=now - 401 * 86_400_000))
        connection.execute(JOBS.update().where(JOBS.c.ord == gone.order).values(deleted_ms=now - 2 * 86_400_000))
    assert kept.history.sweep() == 6
    assert [row["job_id"] for row in kept.rows()] == [young.job_id]


def test_the_tables_are_made_once_however_many_ask_and_are_those_of_the_queries(kept: Kept) -> None:
    with kept.history.database.writing() as connection:
        connection.execute(text("DROP TABLE history_jobs"))
        connection.execute(text(f"DROP TABLE {VERSIONS}"))
    several = [Kept(kept.cell.with_settings()) for _ in range(3)]
    threads = [threading.Thread(target=one.rows) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with kept.history.database.reading(10) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSIONS})
        assert compare_metadata(context, METADATA) == []
    for one in several:
        one.cell.cell.close()


def test_two_installations_in_one_database_do_not_see_each_other(on_sqlite: Kept) -> None:
    kept = on_sqlite
    kept.ended(tenant_id="acme")
    kept.mover.move()
    other = Kept(kept.cell.with_settings(key_prefix="other:"))
    assert (other.listed(), other.history.lines(ALL), other.history.count("acme")) == ([], [], 0)
    other.cell.cell.close()


def test_the_duty_moves_in_a_thread_and_says_when_it_ran(on_sqlite: Kept) -> None:
    kept = on_sqlite
    kept.ended()
    assert kept.cell.cell.duties["history"]() == {"moving": 1}
    mover = kept.cell.cell.duties["history"].__self__  # type: ignore[attr-defined]
    mover._thread.join()
    assert len(kept.rows()) == 1
    assert kept.store.text("heartbeat", "history") is not None


def test_slot_time_is_that_of_all_runs(on_sqlite: Kept) -> None:
    kept = on_sqlite
    run = kept.cell.running(tenant_id="acme")
    kept.store.client.hset(kept.store.keys("job", run.job_id), "started_at", kept.store.now() - 5_000)
    kept.store.requeue(run.job_id, run.fence, "retry")
    again = kept.cell.start(run.job_id)
    kept.store.client.hset(kept.store.keys("job", run.job_id), "started_at", kept.store.now() - 7_000)
    kept.store.finish(run.job_id, again.fence, JobStatus.COMPLETED, result={})
    kept.mover.move()
    assert kept.rows()[0]["slot_ms"] // 1000 == 12


def test_a_canary_is_no_part_of_the_history(on_sqlite: Kept) -> None:
    kept = on_sqlite
    kept.ended(JobStatus.CANCELLED, tenant_id="pipeline-jobs", workspace_id="canary")
    assert kept.mover.move() == 0
    assert kept.purge() == 1


def test_with_the_history_off_nothing_is_noted_and_nothing_waits(jobs: Cell) -> None:
    assert jobs.cell.history is None
    jobs.client.cancel(jobs.submit().job_id)
    assert jobs.store.client.keys("*unmoved*") == []
    assert jobs.cell.duties["history"]() == {}


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "history.db"])
def test_only_two_kinds_of_databases_are_taken(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PIPELINE_HISTORY_URL"):
        load_settings({"PIPELINE_HISTORY_URL": url})


def test_a_library_that_is_not_installed_is_named(cell: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_jobs.history.opened.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"sqlalchemy, alembic, psycopg: pip install 'pipeline-jobs\[history\]'"):
        RealCell.of(cell.model_copy(update={"history_url": "postgresql://x/y"}))


def test_orders_go_up(on_sqlite: Kept) -> None:
    """What the merged list leans on."""
    assert all(one.order < other.order for one, other in pairwise([on_sqlite.ended() for _ in range(3)]))
    assert make_cell(on_sqlite.cell.settings).cell.history is not None
