"""The log of a job, on a real store: what is kept of it and where, for whom it costs what, and when it goes."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from pipeline_jobs.cell import Webhooks
from pipeline_jobs.context import JobContext
from pipeline_jobs.events.job_log import read_one
from pipeline_jobs.exceptions import DiskFull, SourceUnavailable, StoreUnavailable, UnknownJob
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs import job_logs
from pipeline_jobs.jobs.executor import Executor, Outcome
from pipeline_jobs.jobs.outputs import FOLDER
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.pipelines import NoParams, Pipeline, Registry, RetryPolicy, Stage
from pipeline_jobs.runlog.lines import Line
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store
from tests.commands import commands, scripts
from tests.integration.conftest import Cell
from tests.integration.recount import differences
from tests.integration.test_cli_operator import runner
from tests.waiting import until

Said = Callable[[JobContext], None]


class Bench:
    """Runs jobs of one stage."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell, self.folder = cell, folder
        self.artifacts = ArtifactStore(folder.as_uri(), "http://x", lambda: "k")
        self.registry = Registry()
        self.executor = Executor(cell.store, self.registry, cell.settings, self.artifacts)
        cell.slots(100)

    def submit(self, stage: Said, name: str = "p", params: type[BaseModel] = NoParams, values: Any = None, **fields: Any) -> str:
        pipeline = Pipeline(name, (Stage("say", stage),), params, needs_url=False, retry=RetryPolicy(backoff_seconds=0))
        self.registry.register(pipeline)
        self.cell.client.registry.register(pipeline)
        return self.cell.client.submit(NewJob(**{"pipeline": name, "tenant_id": "acme", "params": values or {}, **fields})).job_id

    def run(self, job_id: str) -> Outcome:
        return self.executor.run(job_id, self.cell.client.get(job_id).fence, "w1")

    def ran(self, stage: Said, **fields: Any) -> str:
        job_id = self.submit(stage, **fields)
        self.run(job_id)
        return job_id

    def page(self, job_id: str, after: int = 0, limit: int = 1000, **which: Any) -> job_logs.Page:
        return job_logs.page(read_one(self.cell.store, job_id, after), self.artifacts, limit, **which)

    def lines(self, job_id: str, **which: Any) -> list[str]:
        return [line.message for line in self.page(job_id, **which).lines]

    def all(self, job_id: str) -> list[Line]:
        found: list[Line] = []
        while (page := self.page(job_id, found[-1].number if found else 0)).lines:
            found += page.lines
        return found

    def files(self) -> list[str]:
        return [path.name for path in self.folder.rglob("*") if path.is_file() and path.parent.name == FOLDER]

    def keys_of(self, job_id: str) -> list[str]:
        return [key for key in self.cell.store.client.scan_iter("*") if job_id in key]


@pytest.fixture
def bench(jobs: Cell, tmp_path: Path) -> Iterator[Bench]:
    # Announcements and leases outlive the test.
    yield Bench(jobs.with_settings(announce_seconds=600, lease_seconds=600, hint_seconds=600), tmp_path)
    assert differences(jobs.store) == []


def count_to(most: int) -> Said:
    def say(context: JobContext) -> None:
        for number in range(1, most + 1):
            context.log.info("line %d", number)

    return say


def nothing(context: JobContext) -> None:
    """Says nothing."""


def fails(context: JobContext) -> None:
    print("before")
    raise KeyError("source")


def test_what_a_stage_says_is_read_in_pages(bench: Bench) -> None:
    job_id = bench.ran(count_to(5))
    page = bench.page(job_id, limit=2)
    assert ([line.message for line in page.lines], page.next_after, page.complete) == (["line 1", "line 2"], 2, False)
    page = bench.page(job_id, page.next_after or 0)
    assert ([line.message for line in page.lines], page.next_after, page.reached, page.complete) == (
        ["line 3", "line 4", "line 5"], None, 5, True,
    )  # fmt: skip
    (line,) = bench.page(job_id, limit=1).lines
    assert (line.attempt, line.level, line.logger, line.stage) == (1, "INFO", "stage", "say")


def test_a_job_that_says_nothing_costs_no_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, append = list[str](), Store.append_log
    monkeypatch.setattr(Store, "append_log", lambda store, job_id, *rest: sent.append(job_id) or append(store, job_id, *rest))
    silent, talks = bench.ran(nothing), bench.ran(count_to(20), name="talks")
    assert sent == [talks], "and one that says a little costs one"
    assert not [key for key in bench.keys_of(silent) if "logs" in key]


def test_an_error_that_nobody_foresaw_is_there_with_its_traceback(bench: Bench) -> None:
    job_id = bench.ran(fails)
    before, raised = bench.lines(job_id)
    assert before == "before"
    assert raised.startswith("Traceback")
    assert "KeyError: 'source'" in raised
    assert "test_job_logs.py" in raised
    assert bench.lines(job_id, level=logging.ERROR) == [raised]


def test_lines_of_each_attempt_are_counted_on(bench: Bench) -> None:
    def once(context: JobContext) -> None:
        print("a try")
        raise SourceUnavailable("not now")

    job_id = bench.submit(once, max_attempts=2)
    bench.run(job_id)
    bench.run(job_id)
    assert [(line.number, line.attempt, line.message) for line in bench.page(job_id).lines] == [(1, 1, "a try"), (2, 2, "a try")]
    assert [line.number for line in bench.page(job_id, attempt=2).lines] == [2]


def test_a_gigabyte_costs_the_store_less_than_64_kb_and_nobody_else_anything(bench: Bench) -> None:
    """Counts and bytes, no time: the lines of another tenant are all there, and it is charged for no more than without its neighbour."""
    line = "x" * 1023 + "\n"

    def prints_a_gigabyte(context: JobContext) -> None:
        much = line * (64 * 1024)
        for _ in range(16):
            print(much, end="")

    cell, client = bench.cell, bench.cell.store.client
    other = bench.submit(count_to(3), "other", tenant_id="quiet")
    greedy = bench.submit(prints_a_gigabyte, "greedy", tenant_id="greedy")
    with commands(client) as given:
        bench.run(greedy)
        calls, sent = scripts(given.so_far()), given.sent
    bench.run(other)
    held = sum(int(client.memory_usage(key, samples=0) or 0) for key in bench.keys_of(greedy))
    assert held <= 64 * 1024
    charged = {tenant: int(client.hget(cell.store.keys("usage", tenant), "store_bytes") or 0) for tenant in ("greedy", "quiet")}
    assert charged["quiet"] < 3000
    assert held - 8000 <= charged["greedy"] <= 64 * 1024
    # Twice a second at most is something sent, and 4 kB a second after the first 32.
    assert sent < 40 * 1024 * (1 + calls)
    assert bench.lines(other) == ["line 1", "line 2", "line 3"]
    assert len(bench.files()) == 1
    assert (bench.folder / "greedy" / FOLDER / bench.files()[0]).stat().st_size <= 1024 * 1024
    shown = bench.all(greedy)
    assert sum(one.dropped or 1 for one in shown) == 1024 * 1024, "each line is there, or counted as missing"


def test_what_the_store_does_not_keep_is_in_a_file_that_goes_with_the_job(bench: Bench) -> None:
    job_id = bench.ran(count_to(3000))
    (blob,) = bench.files()
    assert [line.message for line in bench.all(job_id)] == [f"line {number}" for number in range(1, 3001)]
    assert bench.cell.store.tenant_bytes("acme") == int(blob.rpartition("-")[2])
    bench.cell.client.delete(job_id)
    assert bench.cell.store.tenant_bytes("acme") == 0
    assert bench.cell.store.take_trash() == [f"acme/{FOLDER}/{blob}"]
    assert bench.keys_of(job_id) == []


def test_a_failed_job_keeps_its_file(bench: Bench) -> None:
    def says_much_and_fails(context: JobContext) -> None:
        count_to(3000)(context)
        raise SourceUnavailable("not now")

    job_id = bench.ran(says_much_and_fails)
    assert bench.cell.client.get(job_id).status is JobStatus.FAILED
    assert len(bench.all(job_id)) == 3000


def test_the_log_goes_with_its_time_and_with_its_tenant(bench: Bench) -> None:
    cell = bench.cell.with_settings(job_ttl_seconds=0.001)
    bench.executor = Executor(cell.store, bench.registry, cell.settings, bench.artifacts)
    expired = bench.ran(count_to(3000))
    Purge(cell.store, bench.artifacts, cell.settings).run_once()
    assert (bench.keys_of(expired), bench.files()) == ([], [])
    bench.executor = Executor(bench.cell.store, bench.registry, bench.cell.settings, bench.artifacts)
    erased = bench.ran(count_to(3000), name="other")
    assert erase_tenant(bench.cell.store, bench.artifacts, "acme", dry_run=False).done
    assert (bench.keys_of(erased), bench.files()) == ([], [])
    with pytest.raises(UnknownJob):
        bench.page(erased)


@pytest.mark.parametrize("claimed", [False, True])
def test_a_run_that_has_lost_the_job_says_nothing_in_it(bench: Bench, claimed: bool) -> None:
    def lost(context: JobContext) -> None:
        # Without a slot it waits with the fence that it had.
        bench.cell.slots(100 if claimed else 0)
        assert bench.cell.store.requeue(context.job_id, bench.cell.client.get(context.job_id).fence, "handback")
        if claimed:
            bench.cell.start(context.job_id)
        count_to(3000)(context)

    job_id = bench.submit(lost)
    # Not in the main thread: there it would be stopped by a signal, which only a worker's child takes.
    thread = threading.Thread(target=bench.run, args=(job_id,))
    thread.start()
    thread.join()
    assert (bench.lines(job_id), bench.files()) == ([], [])


def test_lines_are_there_while_the_job_runs(bench: Bench) -> None:
    """A killed child loses what it said since the last look, half a second before."""
    go_on = threading.Event()

    def waits(context: JobContext) -> None:
        print("at work")
        go_on.wait(60)

    job_id = bench.submit(waits)
    thread = threading.Thread(target=bench.run, args=(job_id,))
    thread.start()
    try:
        until(lambda: bench.lines(job_id) == ["at work"], "its line to be there")
        assert not bench.page(job_id).complete
    finally:
        go_on.set()
        thread.join()


def test_lines_whose_answer_was_lost_are_there_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    append, lost = Store.append_log, [True]

    def answer_lost(store: Store, *args: Any, **kwargs: Any) -> bool:
        done = append(store, *args, **kwargs)
        if lost.pop() if lost else False:
            raise StoreUnavailable("its answer is lost")
        return done

    monkeypatch.setattr(Store, "append_log", answer_lost)
    sent = threading.Event()

    def talks(context: JobContext) -> None:
        print("first")
        until(lambda: not lost, "the first batch to be sent")
        print("second")
        sent.set()

    job_id = bench.ran(talks)
    assert bench.lines(job_id) == ["first", "second"]
    assert "\n".join(bench.cell.store.lines("logs", job_id)).count("\n") == 1, "nor are they there twice for the reader to pass over"


def test_a_store_that_takes_no_log_does_not_hold_up_the_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> bool:
        raise StoreUnavailable("the store cannot write now")

    monkeypatch.setattr(Store, "append_log", away)
    job_id = bench.ran(count_to(3000))
    assert (bench.cell.client.get(job_id).status, bench.lines(job_id), bench.files()) == (JobStatus.COMPLETED, [], [])


def test_a_log_whose_file_cannot_be_stored_has_its_newest_lines(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise DiskFull

    job_id = bench.submit(count_to(3000))
    with monkeypatch.context() as patch:
        patch.setattr(ArtifactStore, "write", full)
        bench.run(job_id)
    shown = bench.all(job_id)
    assert (bench.cell.client.get(job_id).status, shown[-1].message) == (JobStatus.COMPLETED, "line 3000")
    assert sum(line.dropped or 1 for line in shown) == 3000


def test_a_secret_parameter_is_nowhere(bench: Bench) -> None:
    class Inner(BaseModel):
        pin: str = Field(json_schema_extra={"format": "password"})

    class Params(BaseModel):
        token: str = Field(json_schema_extra={"format": "password"})
        #: As docs/history.md has it: one word is enough for both.
        other: str = Field(json_schema_extra={"writeOnly": True})
        inner: Inner | None
        more: list[Inner]

    def tells(context: JobContext) -> None:
        print("the params are", dict(context.params))

    given = {"token": "hunter2!", "other": "correct horse", "inner": {"pin": "4711-0815"}, "more": [{"pin": "0815-4711"}]}
    job_id = bench.submit(tells, "secretive", Params, values=given)
    bench.run(job_id)
    shown = "{'token': '***', 'other': '***', 'inner': {'pin': '***'}, 'more': [{'pin': '***'}]}"
    assert bench.lines(job_id) == [f"the params are {shown}"]


def test_the_newest_lines_of_many_attempts_stay_and_three_files(bench: Bench) -> None:
    def much(context: JobContext) -> None:
        count_to(2000)(context)
        raise SourceUnavailable("not now")

    job_id = bench.submit(much, max_attempts=5)
    for _ in range(5):
        bench.run(job_id)
    shown = bench.all(job_id)
    assert shown[0].dropped == 4000
    assert [line.number for line in shown[1:]] == list(range(4001, 10_001))
    assert len(read_one(bench.cell.store, job_id).files) == 3


def test_many_short_batches_lie_in_few_pieces_and_a_page_is_sent_those_that_it_needs(bench: Bench) -> None:
    run, store = bench.cell.running(tenant_id="acme"), bench.cell.store
    for number in range(1, 61):
        assert store.append_log(run.job_id, run.fence, number, [f'[{number},1,1,"INFO","x","","{"y" * 170}"]'])
    assert store.client.llen(store.keys("logs", run.job_id)) <= 4
    assert [len(store.run("log_page", id=run.job_id, after=after).pieces) for after in (0, 59, 60)] == [
        store.client.llen(store.keys("logs", run.job_id)),
        1,
        0,
    ]
    assert len(bench.lines(run.job_id)) == 60


def test_what_is_missing_at_the_end_is_told_on_a_page_of_its_own(bench: Bench) -> None:
    run, store = bench.cell.running(tenant_id="acme"), bench.cell.store
    rows = [f'[{number},1,1,"INFO","x","","y"]' for number in (1, 2, 3)]
    assert store.append_log(run.job_id, run.fence, 10, ["\n".join(rows)])
    page = bench.page(run.job_id, limit=3)
    assert ([line.number for line in page.lines], page.next_after) == ([1, 2, 3], 3)
    (gap,) = bench.page(run.job_id, after=3).lines
    assert (gap.number, gap.dropped) == (10, 7)


def test_the_message_about_a_job_is_not_charged_for_its_log(bench: Bench) -> None:
    """It is made of a copy of the record, and the log is none of it."""
    store = bench.cell.store
    Webhooks.of(store, bench.cell.settings, lambda: "key").endpoints.create("acme", "https://hooks.example/x")
    job_id = bench.ran(count_to(300))
    assert int(store.record("job", job_id)["log_bytes"]) > 10_000
    (event,) = store.client.scan_iter(store.keys("webhook_event", "*"))
    assert int(store.client.hget(event, "store_bytes") or 0) < 3000


def test_what_an_old_worker_left_of_a_log_is_not_another_jobs(bench: Bench) -> None:
    """A purge of the version before removes the record and leaves the list: a later job with that id does not inherit it."""
    job_id = bench.submit(count_to(1))
    bench.cell.store.client.rpush(bench.cell.store.keys("logs", job_id), '[7,1,1,"INFO","x","","of another"]')
    assert bench.lines(job_id) == []
    bench.run(job_id)
    assert bench.lines(job_id) == ["line 1"]


def test_the_command_prints_it_and_follows_it(bench: Bench) -> None:
    said, go_on = threading.Event(), threading.Event()

    def talks(context: JobContext) -> None:
        context.log.error("two\nlines")
        said.set()
        go_on.wait(60)
        # Not printed: the command's own output is caught in the same process.
        context.log.info("the end")

    job_id = bench.submit(talks)
    run = runner(bench.cell)
    thread = threading.Thread(target=bench.run, args=(job_id,))
    thread.start()
    until(lambda: bench.lines(job_id) != [], "its first line")
    shown = run("logs", job_id).stdout
    assert shown.endswith(" 1 ERROR   stage: two\n  | lines\n")
    threading.Timer(0.2, go_on.set).start()
    followed = [json.loads(line) for line in run("logs", job_id, "--follow", "--json").stdout.splitlines()]
    thread.join()
    assert [(line["level"], line["logger"], line["message"]) for line in followed] == [
        ("ERROR", "stage", "two\nlines"), ("INFO", "stage", "the end"),
    ]  # fmt: skip
    assert run("logs", job_id, "--level", "error", "--json").stdout.count("\n") == 1
    assert run("logs", "job_1_00000000").exit_code == 1
