"""Jobs that make events without a worker, and clients that follow them: what the bar of the event streams is measured with."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipeline_jobs.events import log as events
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.store import ClaimRefused, Store
from tests.sse import SseClient

T = TypeVar("T")
TENANT = "acme"
#: Events of progress in the life of a job.
STEPS = 7


def patiently(call: Callable[..., T]) -> T:
    """Repeat while the server is away, as workers do."""
    while True:
        try:
            return call()
        except StoreUnavailable:
            threading.Event().wait(0.1)


def live(client: Client, job: Job, pause: Callable[[], object]) -> None:
    """The life of a job: submitted, claimed, in progress, completed (or failed, or cancelled)."""
    store, job_id = client.store, job.job_id
    patiently(lambda: store.submit(job, nonce=job_id))
    while True:
        fence = patiently(lambda: store.get(job_id)).fence
        claimed = patiently(lambda fence=fence: store.claim(job_id, fence, worker="w", run="r")) if fence else None
        if claimed is not None and not isinstance(claimed, ClaimRefused):
            break
        pause()
    for step in range(STEPS):
        pause()
        patiently(lambda step=step: store.progress(job_id, fence, 100 * step / STEPS, f"stage {step // 3}", f"step {step}"))
    number = int(job_id[-2:], 16)
    if number % 10 == 0:
        patiently(lambda: store.cancel(job_id))
    outcome = JobStatus.FAILED if number % 10 == 1 else JobStatus.COMPLETED
    patiently(lambda: store.finish(job_id, fence, outcome, result={"success": True, "data": {}}, error="no luck"))


def work(client: Client, jobs: Sequence[Job], threads: int, seed: int) -> list[threading.Thread]:
    """Start to make the events of these jobs."""
    patiently(lambda: client.store.announce("w", 1000, []))
    todo = iter(list(jobs))
    lock = threading.Lock()

    def run(chance: random.Random) -> None:
        nap = threading.Event()
        while True:
            with lock:
                job = next(todo, None)
            if job is None:
                return
            live(client, job, lambda: nap.wait(chance.random() * 0.02))

    made = [threading.Thread(target=run, args=(random.Random(seed * 1000 + i),), daemon=True) for i in range(threads)]
    for thread in made:
        thread.start()
    return made


def new_jobs(client: Client, count: int) -> list[Job]:
    """Records of jobs, not submitted yet; their ids are known."""
    return [client.prepare(NewJob(pipeline="sleep", tenant_id=TENANT), f"job_1795500000_{number:08x}") for number in range(count)]


@dataclass
class Verdict:
    """What the clients saw, held against the logs."""

    clients: int = 0
    streams: int = 0
    connections: int = 0
    #: Times that a client was told that all places are taken.
    refused: int = 0
    events: int = 0
    wrong: list[str] = field(default_factory=list)

    def compare(self, what: str, seen: Sequence[Any], expected: Sequence[Any]) -> None:
        self.streams += 1
        self.events += len(seen)
        if seen != expected:
            doubled = [one for one, times in Counter(map(str, seen)).items() if times > 1]
            missing = [one for one in map(str, expected) if one not in set(map(str, seen))]
            self.wrong.append(f"{what}: {len(seen)} of {len(expected)}; doubled {doubled[:3]}, missing {missing[:3]}")


def follow_jobs(address: Callable[[], tuple[str, int]], job_ids: Iterable[str], seed: int, **options: Any) -> list[SseClient]:
    """One client's streams, one job after the other."""
    done = []
    for number, job_id in enumerate(job_ids):
        client = SseClient(address, f"/pipeline/jobs/{job_id}/events", random.Random(seed * 100_003 + number), **options)
        client.run()
        done.append(client)
    return done


def follow_feed(address: Callable[[], tuple[str, int]], ends: int, seed: int, **options: Any) -> SseClient:
    """One client on the tenant's feed, until it saw so many jobs end."""
    terminal = {"job.completed", "job.failed", "job.cancelled"}
    counted = [0, 0]

    def is_done(client: SseClient) -> bool:
        for event in client.received[counted[0] :]:
            counted[1] += event["type"] in terminal
        counted[0] = len(client.received)
        return counted[1] >= ends

    client = SseClient(
        address, f"/pipeline/events?tenant_id={TENANT}&after=0-0", random.Random(seed * 7919), patience=200, is_done=is_done, **options
    )
    client.run()
    return client


def log_of(store: Store, job_id: str) -> list[dict[str, Any]]:
    return [event.to_dict() for event in events.read(store, job_id, limit=1000).events]


def feed_of(store: Store) -> list[dict[str, Any]]:
    """The whole feed."""
    found: list[dict[str, Any]] = []
    place = events.FEED_START
    while True:
        page = events.feed(store, TENANT, place, limit=events.MAX_PAGE)
        found += [event.to_dict() for event in page.events]
        place = page.after
        if not page.more:
            return found


def run_streams(
    client: Client,
    address: Callable[[], tuple[str, int]],
    *,
    jobs: int,
    on_jobs: int,
    jobs_each: int,
    on_feed: int,
    seed: int,
    meanwhile: Callable[[Callable[[], float]], object],
) -> Verdict:
    """Clients on jobs and clients on the feed, all dropping their connections at random, while `jobs` live.

    :param meanwhile: called with a function that tells which share of the jobs has ended; does what is to be survived.
    """
    records = new_jobs(client, jobs)
    chance = random.Random(seed)
    ids = [job.job_id for job in records]
    chosen = [sorted(chance.sample(ids, jobs_each)) for _ in range(on_jobs)]
    results: list[list[SseClient]] = [[] for _ in range(on_jobs)]
    feeds: list[SseClient | None] = [None] * on_feed
    workers = work(client, records, 4, seed)

    def on_job(number: int) -> None:
        for job_id in chosen[number]:
            # An unknown id is answered 404: clients come when their job is there.
            while not patiently(lambda job_id=job_id: exists(client.store, job_id)):
                threading.Event().wait(0.05)
            results[number] += follow_jobs(address, [job_id], seed * 1000 + number)

    def on_tenant(number: int) -> None:
        feeds[number] = follow_feed(address, jobs, seed * 1000 + number)

    readers = [threading.Thread(target=on_job, args=(n,), daemon=True) for n in range(on_jobs)]
    readers += [threading.Thread(target=on_tenant, args=(n,), daemon=True) for n in range(on_feed)]
    for reader in readers:
        reader.start()

    def share() -> float:
        return patiently(lambda: ended(client.store)) / jobs

    meanwhile(share)
    for thread in [*workers, *readers]:
        thread.join(1800)
    verdict = Verdict(clients=on_jobs + on_feed)
    for mine in results:
        for one in mine:
            job_id = one.path.split("/")[3]
            verdict.compare(job_id, one.received, log_of(client.store, job_id))
    everything = feed_of(client.store)
    for number, feed in enumerate(feeds):
        verdict.compare(f"feed {number}", [] if feed is None else feed.received, everything)
    for one in [*(one for mine in results for one in mine), *(feed for feed in feeds if feed is not None)]:
        verdict.connections += one.connections
        verdict.refused += one.refused
    if any(thread.is_alive() for thread in [*workers, *readers]):
        verdict.wrong.append("not all clients came to their end")
    return verdict


def exists(store: Store, job_id: str) -> bool:
    with store_errors():
        return bool(store.client.exists(store.keys("job", job_id)))


def ended(store: Store) -> int:
    """How many jobs have ended."""
    with store_errors():
        return int(store.client.zcard(store.keys("ended")))
