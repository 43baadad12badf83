"""Every mix of filters, of a list and of a cancel, beside a plain filter over all records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs import bulk, listing
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.bulk import Cancelled, cancel_matching
from pipeline_jobs.jobs.listing import BUDGET, JobQuery
from pipeline_jobs.pipelines import Pipeline, Stage
from pipeline_jobs.states import JobStatus
from tests.commands import commands, scripts
from tests.integration.conftest import Cell
from tests.integration.recount import differences

Q, R, F, C = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED


#: Titles and codes of errors; some have what the filters look for, in other letters or only within another word.
TITLES, CODES = ("The Harbor at Dawn", "harbour", "Größe"), ("source_not_found", "worker_lost", "not_found")


class World:
    """Jobs of all kinds, newest first. Each kind has queued, running, completed, failed and cancelled ones."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.ids, self.failures = cell, list[str](), 0
        cell.client.registry.register(Pipeline("other", (Stage("answer", lambda context: None),), needs_url=False))
        cell.slots(1000)
        self.batches = [
            self._batch(
                tenant, workspace, [NewJob(pipeline=pipeline, tags=tags) for pipeline in ("sleep", "other") for tags in ((), ("x",))]
            )
            for tenant, workspace in (("t1", "main"), ("t1", "w2"), ("t2", "main"))
        ]
        kinds = product(("t1", "t2"), ("main", "w2"), ("sleep", "other"), ((), ("x",), ("x", "schedule:sch_1_a", 'q"y')))
        for number, (tenant, workspace, pipeline, tags) in enumerate(kinds):
            # Not the same of each: an index of its own length, so that each is the shortest of some mix.
            for _ in range(1 + number % 3):
                more = {"metadata": {"title": TITLES[number % 3]}} if number % 2 else {}
                made = cell.submit(tenant_id=tenant, workspace_id=workspace, pipeline=pipeline, tags=tags, **more)
                self.ids.append(made.job_id)
        for number, job_id in enumerate(self.ids):
            self._become(job_id, list(JobStatus)[number % 5])
        self.jobs = sorted((cell.client.get(job_id) for job_id in self.ids), key=lambda job: -job.order)
        assert {job.status for job in self.jobs} == set(JobStatus)

    def _batch(self, tenant: str, workspace: str, jobs: list[NewJob]) -> str:
        made = Batches(self.cell.client).create(NewBatch(jobs, tenant, workspace))
        self.ids += [job_id for job_id in made.job_ids if job_id]
        return made.batch.batch_id

    def _become(self, job_id: str, status: JobStatus) -> None:
        if status is not JobStatus.QUEUED and status is not JobStatus.CANCELLED:
            run = self.cell.start(job_id)
            if status is not JobStatus.RUNNING:
                self.cell.store.finish(job_id, run.fence, status, **(self._failed() if status is F else {}))
        elif status is JobStatus.CANCELLED:
            self.cell.client.cancel(job_id)

    def _failed(self) -> dict[str, Any]:
        self.failures += 1
        code = CODES[self.failures % len(CODES)]
        # Not its code, but a text of the job's own that looks like one.
        detail = {"code": code, "message": '"code":"worker_lost"', "stage": "x"}
        return {"error": f"The host said {self.failures % 4}03", "error_detail": detail}

    def middle(self) -> int:
        return self.jobs[len(self.jobs) // 2].created_at

    def matching(self, query: JobQuery) -> list[Job]:
        return [job for job in self.jobs if matches(job, query)]


def matches(job: Job, query: JobQuery) -> bool:
    return (
        query.tenant_id in (None, job.tenant_id)
        and query.workspace_id in (None, job.workspace_id)
        and query.within in (None, job.workspace_id)
        and query.pipeline in (None, job.pipeline)
        and query.batch_id in (None, job.batch_id)
        and (query.tag is None or query.tag in job.tags)
        and (not query.statuses or job.status in query.statuses)
        and (query.error_code is None or (job.error_detail or {}).get("code") == query.error_code)
        and (query.q is None or says(job, query.q.lower()))
        and (query.created_after is None or job.order >= query.created_after * 1000)
        and (query.created_before is None or job.order < query.created_before * 1000)
    )


def says(job: Job, text: str) -> bool:
    words = (job.job_id, job.url, job.error, job.batch_id, *job.tags, *job.metadata.values())
    return any(text in word.lower() for word in words if word)


def pages(cell: Cell, query: JobQuery) -> Iterator[list[str]]:
    while True:
        page = cell.client.list(query)
        assert len(page.items) <= query.limit
        yield [job.job_id for job in page.items]
        if page.next_cursor is None:
            return
        assert page.next_cursor != query.cursor
        query = replace(query, cursor=page.next_cursor)


def tallied(found: list[Job]) -> dict[str, dict[str, int]]:
    """As `listing.tally` groups them."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for job in found:
        codes = [job.error_detail["code"]] if job.error_detail else []
        values = {"status": [job.status.value], "error_code": codes, "batch_id": [job.batch_id] if job.batch_id else []}
        values["tag"] = [tag for tag in job.tags if tag.startswith("schedule:")]
        for kind, ones in values.items():
            groups[kind].update(ones)
    return {kind: dict(numbers) for kind, numbers in groups.items() if numbers}


def counts(found: list[Job]) -> tuple[int, int]:
    """How many wait and how many run."""
    return sum(job.status is Q for job in found), sum(job.status is R for job in found)


def every_mix(world: World) -> Iterator[JobQuery]:
    """Each filter set or not."""
    choices: dict[str, tuple[object, ...]] = {
        "tenant_id": (None, "t1"),
        "workspace_id": (None, "main"),
        "statuses": ((), (Q,), (R, C, Q)),
        "pipeline": (None, "other"),
        "tag": (None, "x"),
        "batch_id": (None, world.batches[0]),
        "created_after": (None, world.middle()),
        "created_before": (None, world.middle()),
        "within": (None, "main"),
    }
    for text in ({"q": "HARBO"}, {"error_code": "not_found"}):
        for plain in (JobQuery(), JobQuery(tenant_id="t1"), JobQuery(tenant_id="t1", tag="x", statuses=(F, R))):
            yield replace(plain, **text)  # type: ignore[arg-type]
    for values in product(*choices.values()):
        yield JobQuery(**dict(zip(choices, values, strict=True)))  # type: ignore[arg-type]


@pytest.fixture
def world(jobs: Cell) -> Iterator[World]:
    cell = jobs.with_settings(max_concurrent_jobs=1000)
    yield World(cell)
    cell.store.close()


def test_every_mix_gives_all_its_jobs_newest_first_and_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "BUDGET", 9)
    full = short = 0
    for query in every_mix(world):
        found = list(pages(world.cell, replace(query, limit=6)))
        assert [job_id for page in found for job_id in page] == [job.job_id for job in world.matching(query)], query
        full += sum(len(page) == 6 for page in found)
        short += sum(len(page) < 6 for page in found[:-1])
    assert full > 100
    assert short > 100


def test_every_mix_is_counted_as_it_is_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for query in every_mix(world):
        found = listing.tally(world.cell.store, query)
        groups = {kind: {value: n for value, n in numbers.items() if n} for kind, numbers in found.groups.items()}
        assert {kind: numbers for kind, numbers in groups.items() if numbers} == tallied(world.matching(query)), query
        assert not found.more
    # Of more jobs than it looks at the newest are counted, but by status all of them, where an index knows.
    monkeypatch.setattr(listing, "BUDGET", 9)
    newest = listing.tally(world.cell.store, JobQuery())
    assert (newest.more, newest.of("status")) == (True, dict(Counter(job.status for job in world.jobs)))
    assert newest.of("error_code") == tallied(world.jobs[:9])["error_code"]
    assert sum(listing.tally(world.cell.store, JobQuery(q="job_")).of("status").values()) == 9


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_mixes_of_any_values(world: World, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    def one_of(*values: object) -> st.SearchStrategy[object]:
        return st.sampled_from((None, *values))

    times = [world.jobs[number].created_at for number in range(0, len(world.jobs), 7)]
    queries = st.builds(
        JobQuery,
        tenant_id=one_of("t1", "t2", "ghost"),
        workspace_id=one_of("main", "w2", "w3"),
        statuses=st.lists(st.sampled_from(JobStatus), max_size=6).map(tuple),
        pipeline=one_of("sleep", "other", "media"),
        tag=one_of("x", 'q"y', "y"),
        batch_id=one_of(*world.batches, "batch_1_00000000"),
        created_after=one_of(*times),
        created_before=one_of(*times),
        within=one_of("main", "w2"),
        q=one_of("harbor", "Größe", "said 2", "job_", "X", world.batches[0]),
        error_code=one_of(*CODES, "code"),
        limit=st.just(limit),
    )

    @given(query=queries, budget=st.integers(1, 40))
    @settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def check(query: JobQuery, budget: int) -> None:
        monkeypatch.setattr(listing, "BUDGET", budget)
        found = [job_id for page in pages(world.cell, query) for job_id in page]
        assert found == [job.job_id for job in world.matching(query)]

    check()


def test_a_key_of_one_workspace_sees_only_its_own_by_any_mix(world: World) -> None:
    for query in every_mix(world):
        if query.tenant_id is None:
            continue
        for page in pages(world.cell, replace(query, workspace_id=None, within="w2")):
            whose = {(job.tenant_id, job.workspace_id) for job in world.jobs if job.job_id in page}
            assert whose <= {("t1", "w2")}
        # Whoever may see one workspace and names another is shown nothing.
        assert list(pages(world.cell, replace(query, workspace_id="main", within="w2"))) == [[]]


def test_a_dry_run_counts_what_any_mix_would_cancel(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PAGE", 5)
    goes_on = 0
    for query in every_mix(world):
        waiting, running, cursor = 0, 0, None
        while True:
            done = cancel_matching(world.cell.store, replace(query, cursor=cursor), dry_run=True, most=10)
            waiting, running, cursor = waiting + done.cancelled, running + done.stopping, done.next_cursor
            assert done.matched == done.cancelled + done.stopping
            if cursor is None:
                break
            goes_on += 1
        assert (waiting, running) == counts(world.matching(query)), query
    assert goes_on > 100
    assert [world.cell.client.get(job.job_id) for job in world.jobs] == world.jobs


@pytest.mark.parametrize(
    "chosen",
    [
        lambda world: JobQuery(tenant_id="t1", workspace_id="w2", pipeline="other"),
        lambda world: JobQuery(tenant_id="t1", workspace_id="w2", tag="x", statuses=(Q,)),
        lambda world: JobQuery(tenant_id="t1", tag="x", pipeline="sleep", within="main"),
        lambda world: JobQuery(tenant_id="t2", tag="x", created_before=world.middle()),
        lambda world: JobQuery(tenant_id="t2", pipeline="sleep", statuses=(R,), created_after=world.middle()),
        lambda world: JobQuery(tenant_id="t1", batch_id=world.batches[0], tag="x"),
        lambda world: JobQuery(tenant_id="t2", batch_id=world.batches[0]),
        lambda world: JobQuery(batch_id=world.batches[2], pipeline="other"),
        lambda world: JobQuery(workspace_id="main", tag="x"),
        lambda world: JobQuery(pipeline="other"),
    ],
)
def test_a_cancel_by_a_mix_ends_what_the_dry_run_counted_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch, chosen: Callable[[World], JobQuery]
) -> None:
    monkeypatch.setattr(bulk, "PAGE", 3)
    query = chosen(world)
    found = [job for job in world.matching(query) if not job.ended]
    waiting, running = counts(found)
    expected = Cancelled(waiting + running, waiting, running, None)
    assert cancel_matching(world.cell.store, query, dry_run=True) == expected
    assert cancel_matching(world.cell.store, query, dry_run=False) == expected
    hit = [job.job_id for job in world.jobs if not job.ended and world.cell.client.get(job.job_id).cancel_requested]
    assert hit == [job.job_id for job in found]
    assert differences(world.cell.store) == []


def crowd(cell: Cell, *index: str) -> None:
    """So many members more than a page looks at, newer than all jobs; no record has them."""
    cell.store.client.zadd(cell.store.keys(*index), {f"job_1_{n:08x}": 2e15 + n for n in range(BUDGET + 1)})


@pytest.mark.parametrize(
    ("query", "crowded"),
    [
        (JobQuery(tenant_id="t1", tag="x", pipeline="sleep"), ("pipeline", "t1", "sleep")),
        (JobQuery(tenant_id="t1", tag="x", pipeline="sleep"), ("tag", "t1", "x")),
        (JobQuery(tenant_id="t1", workspace_id="main", statuses=(Q, F)), ("tenant_status", "t1", "failed")),
        (JobQuery(tenant_id="t1", workspace_id="main", statuses=(Q, F)), ("workspace", "t1", "main")),
        (JobQuery(tenant_id="t1", tag="x", within="main"), ("tag", "t1", "x")),
        (JobQuery(tenant_id="t1", tag="x", within="main"), ("workspace", "t1", "main")),
        (JobQuery(tenant_id="t1", statuses=(Q,), within="main"), ("tenant_status", "t1", "queued")),
    ],
)
def test_the_index_with_the_fewest_is_walked(jobs: Cell, query: JobQuery, crowded: tuple[str, ...]) -> None:
    job = jobs.submit(tenant_id="t1", tags=("x",))
    crowd(jobs, *crowded)
    jobs.client.list(query)
    with commands(jobs.store.client) as given:
        page = jobs.client.list(query)
        of = given.so_far()
    assert [one.job_id for one in page.items] == [job.job_id]
    assert page.next_cursor is None
    assert scripts(of) == 1
    # One record, and the limits of its tenant and its pipeline: why it waits.
    assert of["hmget"] == 1 + 2
    assert cancel_matching(jobs.store, query, dry_run=True, most=1) == Cancelled(1, 1, 0, None)


def test_a_cancel_does_not_look_through_jobs_that_have_ended(jobs: Cell) -> None:
    jobs.submit(tenant_id="t1", tags=("x",))
    crowd(jobs, "tag", "t1", "x")
    assert cancel_matching(jobs.store, JobQuery(tenant_id="t1", tag="x"), dry_run=False, most=1) == Cancelled(1, 1, 0, None)


def test_a_page_looks_at_no_more_than_the_budget_and_goes_on(jobs: Cell) -> None:
    job = jobs.submit(tenant_id="t1", tags=("x",))
    crowd(jobs, "status", "queued")
    with commands(jobs.store.client) as given:
        first = jobs.client.list(JobQuery(tag="x"))
        assert given.so_far()["hmget"] == BUDGET
    assert first.items == ()
    assert first.next_cursor is not None
    rest = jobs.client.list(JobQuery(tag="x", cursor=first.next_cursor))
    assert [one.job_id for one in rest.items] == [job.job_id]
    assert rest.next_cursor is None
