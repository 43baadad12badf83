"""Many streams of one tenant's workflows and workspaces: one look at its feed serves all that are as far, and each is told its own."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline_jobs.events import hub
from pipeline_jobs.events import log as events
from pipeline_jobs.events.hub import End, Follower, Hub
from pipeline_jobs.events.shared_feeds import Asked, read_feeds
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from tests.integration.conftest import Cell
from tests.waiting import until


def history(jobs: Cell, draw: random.Random) -> list[str]:
    """Batches of two workspaces and jobs of none, some of which end. :return: the batches."""
    jobs.slots(0)
    made, singles = [], []
    for _ in range(12):
        workspace = draw.choice(("main", "lab"))
        match draw.randrange(3):
            case 0:
                batch = NewBatch([NewJob(pipeline="sleep")] * draw.randrange(1, 5), "acme", workspace)
                made.append(jobs.cell.batches.create(batch).batch.batch_id)
            case 1:
                singles.append(jobs.submit(tenant_id="acme", workspace_id=workspace).job_id)
            case _ if made and draw.random() < 0.6:
                jobs.cell.batches.cancel(draw.choice(made))
            case _ if singles:
                jobs.client.cancel(draw.choice(singles))
    return made


@pytest.mark.parametrize("seed", range(12))
def test_a_shared_look_tells_each_what_its_own_would(jobs: Cell, seed: int) -> None:
    draw = random.Random(seed)
    batches = history(jobs, draw)
    places = [events.place_of(event.feed_id or "") for event in events.feed(jobs.store, "acme", limit=500).events]
    for limit in (3, 500):
        after = draw.choice([events.place_of(events.FEED_START), *places])
        asked: list[Asked] = [("acme", workspace, batch, after) for workspace in ("", "main", "lab") for batch in ("", *batches)]
        own = read_feeds(jobs.store, asked, [True] * len(asked), limit)
        shared = read_feeds(jobs.store, asked, [False] * len(asked), limit)
        for one, other in zip(own, shared, strict=True):
            assert (one.events, one.after) == (other.events, other.after)
            # That it ended is known with its last event: the look of its own may see it before.
            assert not other.ended or one.ended
            assert other.more in (one.more, one.more and not other.ended)


class Looks:
    """Counts how many feeds the hub has read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counted: Counter[str] = Counter()
        real = events.feed_many

        def counting(store: Any, feeds: Sequence[Any], limit: int = 100) -> Any:
            self.counted.update(batch for _, _, batch, _ in feeds)
            return real(store, feeds, limit)

        monkeypatch.setattr("pipeline_jobs.events.shared_feeds.feed_many", counting)


def ended(follower: Follower) -> list[str]:
    """What a stream is told until its end."""
    told: list[str] = []
    while follower.end is None:
        told += [event.id for event in follower.next(60)]
    return told


def test_a_tenants_many_streams_cost_about_as_much_as_one(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look of each of a hundred streams at each event of their tenant kept the server busy, and nobody was charged."""
    monkeypatch.setattr(hub, "POLL_SECONDS", 3600.0)
    jobs.slots(0)
    made = Hub(jobs.store)
    batches = [jobs.cell.batches.create(NewBatch([NewJob(pipeline="sleep")], "acme", "main")).batch for _ in range(30)]
    start = events.FEED_START
    followers = [made.follow_batch(batch.batch_id, "acme", start) for batch in batches]
    for follower in followers:
        until(lambda follower=follower: follower.next(0.01), "the first event")
    until(lambda: all(topic.place is not None for topic in made._topics.values()), "the hub's first looks")
    looks = Looks(monkeypatch)
    for _ in range(20):
        jobs.client.cancel(jobs.submit(tenant_id="acme").job_id)
    jobs.cell.batches.cancel(batches[0].batch_id)
    assert len(ended(followers[0])) == 2
    assert followers[0].end is End.COMPLETE
    assert looks.counted[""] >= 1
    assert sum(looks.counted.values()) < 150, "a look for all at each piece of news, and not one of each"
    for follower in followers:
        follower.close()
    until(lambda: made._thread is None, "the hub's thread to end")


def test_of_a_batch_that_is_gone_its_stream_is_told_beside_others(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "POLL_SECONDS", 0.2)
    jobs.slots(0)
    made = Hub(jobs.store)
    batches = [jobs.cell.batches.create(NewBatch([NewJob(pipeline="sleep")], "acme", "main")) for _ in range(3)]
    followers = [made.follow_batch(one.batch.batch_id, "acme", events.feed_end(jobs.store, "acme")) for one in batches]
    assert [list(follower.next(0.3)) for follower in followers] == [[], [], []]
    (job_id,) = batches[0].job_ids
    with jobs.store.client.pipeline() as pipe:
        pipe.delete(jobs.store.keys("batch", batches[0].batch.batch_id), jobs.store.keys("job", str(job_id)))
        pipe.execute()
    reader = threading.Thread(target=ended, args=(followers[0],), daemon=True)
    reader.start()
    # As long as others' news come, all are looked at together.
    until(lambda: jobs.submit(tenant_id="acme") and not reader.is_alive(), "the end of its stream", 15)
    assert followers[0].end is End.GONE
    for follower in followers:
        follower.close()
    until(lambda: made._thread is None, "the hub's thread to end")
