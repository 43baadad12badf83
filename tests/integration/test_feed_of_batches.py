"""The first events of a batch's jobs in the feed: one entry, of which each reader derives all of them, from any place on."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from pipeline_jobs.events import log as events
from pipeline_jobs.events.hub import Hub
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import Made, NewBatch
from pipeline_jobs.store import presence
from pipeline_jobs.store.presence import About
from tests.integration.conftest import Cell
from tests.stack import ROOT, environment

#: The last commit whose readers know no entry for several jobs.
BEFORE = "24484073"


def create(jobs: Cell, n: int = 5, tenant_id: str = "acme", workspace_id: str = "main") -> Made:
    return jobs.cell.batches.create(NewBatch([NewJob(pipeline="sleep")] * n, tenant_id, workspace_id))


def entries(jobs: Cell) -> int:
    return int(jobs.store.client.xlen(jobs.store.keys("feed", "acme")))


def former_api(jobs: Cell, name: str = "former") -> None:
    """Announced as a version before does it: in `apis`, and nowhere else."""
    jobs.store.client.zadd(jobs.store.keys("apis"), {name: 4_102_444_800_000})


def told(jobs: Cell, after: str = events.FEED_START, limit: int = 500, **filters: str) -> list[events.Event]:
    """All pages from a place on."""
    found: list[events.Event] = []
    while True:
        page = events.feed(jobs.store, "acme", after, limit, **filters)
        assert len(page.events) <= limit
        found += page.events
        if not page.more:
            assert page.after == events.feed_end(jobs.store, "acme")
            return found
        assert events.place_of(page.after) > events.place_of(after)
        after = page.after


def mixed(jobs: Cell) -> list[str]:
    """Batches with other events before, between and behind them; what the feed must tell, but for who has gone."""
    jobs.slots(100)
    first = jobs.submit(tenant_id="acme").job_id
    one = create(jobs, 5)
    lab = create(jobs, 4, workspace_id="lab")
    two = jobs.submit(tenant_id="acme").job_id
    ids = [first, *map(str, one.job_ids), *map(str, lab.job_ids), two]
    return [f"{job_id}.1" for job_id in ids]


class TestDerived:
    def test_two_entries_tell_of_a_whole_batch(self, jobs: Cell) -> None:
        made = create(jobs, 1000)
        assert entries(jobs) == 2
        found = told(jobs)
        assert [event.job_id for event in found] == list(made.job_ids)
        assert {(event.seq, event.type.value, event.created_at) for event in found} == {(1, "job.created", made.batch.created_at)}
        places = [event.place for event in found]
        assert places == sorted(set(places))
        of_log = events.read(jobs.store, str(made.job_ids[-1])).events[0]
        assert found[-1].to_dict() == of_log.to_dict()

    def test_they_are_what_an_entry_for_each_tells(self, jobs: Cell) -> None:
        former_api(jobs)
        create(jobs, 4)
        assert entries(jobs) == 4
        one_by_one = told(jobs)
        assert [event.seq for event in one_by_one] == [1] * 4
        jobs.store.client.delete(jobs.store.keys("apis"), jobs.store.keys("feed", "acme"))
        create(jobs, 4)
        for derived, entry in zip(told(jobs), one_by_one, strict=True):
            assert derived.to_dict().keys() == entry.to_dict().keys()
            assert derived.data == entry.data

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 500])
    def test_pages_of_any_length_tell_each_once_in_order_from_any_place(self, jobs: Cell, limit: int) -> None:
        expected = mixed(jobs)
        found = told(jobs, limit=limit)
        assert [event.id for event in found] == expected
        for n, event in enumerate(found):
            assert [later.id for later in told(jobs, str(event.feed_id), limit)] == expected[n + 1 :]

    @pytest.mark.parametrize("limit", [1, 2, 3, 500])
    def test_those_that_have_gone_leave_their_place(self, jobs: Cell, limit: int) -> None:
        made = create(jobs, 6)
        last = jobs.submit(tenant_id="acme").job_id
        before = told(jobs)
        for n in (1, 2, 5):
            jobs.client.cancel(str(made.job_ids[n]))
            jobs.client.delete(str(made.job_ids[n]))
        left = [f"{made.job_ids[n]}.1" for n in (0, 3, 4)] + [f"{last}.1"]
        assert [event.id for event in told(jobs, limit=limit)] == left
        assert [event.id for event in told(jobs, str(before[2].feed_id), limit)] == left[1:]
        for n in (0, 3, 4):
            jobs.client.cancel(str(made.job_ids[n]))
            jobs.client.delete(str(made.job_ids[n]))
        assert [event.job_id for event in told(jobs, limit=limit)] == [last]

    @pytest.mark.parametrize("limit", [1, 2, 500])
    def test_filters(self, jobs: Cell, limit: int) -> None:
        mixed(jobs)
        lab = [event.id for event in told(jobs, limit=limit) if event.workspace_id == "lab"]
        assert (len(lab), [event.id for event in told(jobs, limit=limit, workspace_id="lab")]) == (4, lab)
        made = create(jobs, 3)
        assert [event.job_id for event in told(jobs, limit=limit, batch_id=made.batch.batch_id)] == list(made.job_ids)
        assert events.feed(jobs.store, "other").events == ()

    def test_another_tenants_batch_is_not_told(self, jobs: Cell) -> None:
        """An entry names a batch; only the batch says whose it is."""
        made = create(jobs, 3, tenant_id="other")
        jobs.store.client.xadd(jobs.store.keys("feed", "acme"), {"j": f"/{made.batch.batch_id}:2"}, id="1-2")
        assert told(jobs) == []

    def test_where_the_feed_was_cut_between_its_two_entries(self, jobs: Cell) -> None:
        """The server cuts whole nodes, of a hundred entries: the first one's is the last of a node that goes."""
        cell = jobs.with_settings(events_per_tenant=1)
        for _ in range(99):
            cell.submit(tenant_id="acme")
        assert entries(cell) == 99
        made = create(cell, 5)
        assert entries(cell) == 1
        found = told(cell, limit=2)
        assert [event.job_id for event in found] == list(made.job_ids[1:])
        assert [event.job_id for event in told(cell, str(found[1].feed_id))] == list(made.job_ids[3:])
        ms, number = events.place_of(str(found[0].feed_id))
        assert told(cell, f"{ms}-{number - 1}") == found

    @pytest.mark.parametrize("most", [0, 1, 10])
    @pytest.mark.parametrize("n", [1, 2, 3, 250])
    def test_a_short_feed_or_none(self, jobs: Cell, most: int, n: int) -> None:
        cell = jobs.with_settings(events_per_tenant=most)
        for _ in range(3):
            made = create(cell, n)
            jobs.store.client.delete(jobs.store.keys("large_batch", "acme"))
        ids = [event.job_id for event in told(cell, limit=7)]
        assert ids[-n:] == (list(made.job_ids) if most else [])

    def test_the_places_go_up_when_the_servers_clock_was_set_back(self, jobs: Cell) -> None:
        """The newest entry is of an hour that comes again."""
        created = create(jobs, 4)
        newest = events.place_of(events.feed_end(jobs.store, "acme"))
        jobs.store.client.xadd(jobs.store.keys("feed", "acme"), {"e": "gone:1"}, id=f"{newest[0] + 3_600_000}-1")
        made = [create(jobs, 4), create(jobs, 1), create(jobs, 3)]
        expected = [job_id for batch in (created, *made) for job_id in batch.job_ids]
        for limit in (1, 3, 500):
            found = told(jobs, limit=limit)
            assert [event.job_id for event in found] == expected
            assert sorted({event.place for event in found}) == [event.place for event in found]

    def test_a_stream_goes_on_in_the_middle(self, jobs: Cell) -> None:
        expected = mixed(jobs)
        hub = Hub(jobs.store)
        middle = told(jobs)[3]
        with hub.follow_feed("acme", str(middle.feed_id)) as follower:
            late = create(jobs, 300)
            expected = expected[4:] + [f"{job_id}.1" for job_id in late.job_ids]
            seen: list[str] = []
            while len(seen) < len(expected):
                seen += [event.id for event in follower.next(60)]
            assert seen == expected


class TestWhoReadsIt:
    """It is written only if each API process that is there can read it."""

    def test_not_beside_an_api_of_a_version_before(self, jobs: Cell) -> None:
        jobs.store.announce_api("new", 60_000)
        create(jobs, 5)
        assert entries(jobs) == 2
        former_api(jobs)
        made = create(jobs, 5)
        assert entries(jobs) == 7
        assert [event.job_id for event in told(jobs)][5:] == list(made.job_ids)

    def test_again_when_that_has_gone(self, jobs: Cell) -> None:
        former_api(jobs)
        jobs.store.client.zadd(jobs.store.keys("apis"), {"former": 1})
        # Who announces itself clears away what has lapsed.
        jobs.store.announce_api("new", 60_000)
        create(jobs, 5)
        assert entries(jobs) == 2

    def test_an_api_that_leaves_takes_both_marks_along(self, jobs: Cell) -> None:
        presence.announce(jobs.store, "api@a/1", About("api"))
        jobs.store.announce_api("api@a/1", 60_000)
        readers = jobs.store.keys("feed_readers")
        assert jobs.store.client.zrange(readers, 0, -1) == ["api@a/1"]
        presence.leave(jobs.store, "api@a/1")
        assert not jobs.store.client.exists(readers, jobs.store.keys("apis"))
        jobs.store.client.zadd(readers, {"killed": 1})
        jobs.store.announce_api("api@a/2", 60_000)
        assert jobs.store.client.zrange(readers, 0, -1) == ["api@a/2"]


#: What a process of the commit before says of the feed, as JSON.
READ = """
import json
from pipeline_jobs.events import log
from pipeline_jobs.settings import load_settings
from pipeline_jobs.worker.app import create_celery
store = create_celery(load_settings()).cell.store
store.announce_api("former", 600_000)
print(json.dumps([event.id for event in log.feed(store, "acme", limit=500).events]))
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of that commit."""
    folder = tmp_path_factory.mktemp("before")
    packed = subprocess.run(["git", "archive", BEFORE, "pipeline_jobs", "examples"], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"the history of this tree does not reach back to {BEFORE}")
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_a_process_of_the_commit_before_hears_of_each_job_as_long_as_it_is_there(jobs: Cell, before: Path) -> None:
    def read() -> list[str]:
        env = {**environment(jobs.client.settings), "PYTHONPATH": str(before), "PYTHONSAFEPATH": "1"}
        done = subprocess.run([sys.executable, "-c", READ], cwd=before, env=env, capture_output=True, text=True, check=True)
        found: list[str] = json.loads(done.stdout.splitlines()[-1])
        return found

    assert read() == []
    made = create(jobs, 5)
    jobs.submit(tenant_id="acme")
    assert read() == [event.id for event in told(jobs)]
    # Gone: what was written since it cannot derive. It passes over that, and goes on behind it.
    jobs.store.client.delete(jobs.store.keys("apis"), jobs.store.keys("feed", "acme"))
    made = create(jobs, 5)
    last = jobs.submit(tenant_id="acme").job_id
    jobs.cell.batches.cancel(made.batch.batch_id)
    whole = [event.id for event in told(jobs)]
    assert read() == [one for one in whole if one not in [f"{job_id}.1" for job_id in made.job_ids[1:]]]
    assert whole[:6] == [f"{job_id}.1" for job_id in (*made.job_ids, last)]
