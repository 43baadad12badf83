"""A client on a real server, and shorthands to move a job through its life without a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from examples.demo_pipelines import SLEEP
from pipeline_jobs import cell as cells
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.settings import Settings
from pipeline_jobs.store import scripts
from pipeline_jobs.store.store import ClaimRefused, Hint, HintTemplate, Store
from tests.waiting import until

TEMPLATE = HintTemplate("jobs", '{"id":"@ID@","fence":@FENCE@,"tag":"@TAG@","tenant":"@TENANT@"}')


@dataclass
class Cell:
    """A cell, and a pretended worker."""

    cell: cells.Cell
    #: The cells that were made of this one, and of those: they are closed with it.
    others: list[Cell] = field(default_factory=list, repr=False, compare=False)

    @property
    def client(self) -> Client:
        return self.cell.client

    @property
    def store(self) -> Store:
        return self.cell.store

    @property
    def settings(self) -> Settings:
        return self.cell.settings

    def with_settings(self, **changes: object) -> Cell:
        """The same cell as another process with other settings sees it."""
        other = make_cell(self.settings.model_copy(update=changes))
        self.others.append(other)
        other.others = self.others
        return other

    def close(self) -> None:
        """What is left to the collector of garbage may lose its socket before the connection that would have closed it, and that warns."""
        for one in (self, *self.others):
            one.cell.close()

    def slots(self, n: int, worker: str = "w1") -> None:
        self.store.announce(worker, n, [])

    def submit(self, **fields: object) -> Job:
        return self.client.submit(NewJob(**{"pipeline": "sleep", **fields}))  # type: ignore[arg-type]

    def start(self, job_id: str, worker: str = "w1", run: str = "run") -> Job:
        """Claim a dispatched job with the fence its hint has."""
        claimed = self.store.claim(job_id, self.client.get(job_id).fence, worker=worker, run=run)
        assert not isinstance(claimed, ClaimRefused), claimed
        return claimed

    def running(self, **fields: object) -> Job:
        """A job that a worker runs."""
        self.slots(100)
        return self.start(self.submit(**fields).job_id)

    def hints(self) -> list[str]:
        """What is on the broker, oldest first."""
        return list(reversed(self.store.client.lrange("jobs", 0, -1)))

    def let_worker_die(self, worker: str = "w1") -> None:
        """As if it had died, and the lease time had passed. `slots` is that of its successor, of the same name."""
        self.store.client.zadd(self.store.keys("workers"), {worker: 1})
        self.let_leases_end()

    def let_leases_end(self) -> None:
        """As if the lease time had passed."""
        for key in (self.store.keys("leases"), self.store.keys("hints")):
            for member in self.store.client.zrange(key, 0, -1):
                self.store.client.zadd(key, {member: 1})


def make_cell(settings: Settings, publish: Callable[[Sequence[Hint]], None] | None = None) -> Cell:
    """:param publish: gets the hints, as where the broker is another server."""
    registry = Registry()
    registry.register(SLEEP)
    return Cell(cells.Cell.of(settings, template=None if publish else TEMPLATE, publish=publish, pipelines=registry))


def all_jobs(cell: Cell) -> dict[str, Job]:
    """Each by its id, by a round trip for all of them: after each step of a random history all are looked at."""
    found: dict[str, Job] = {}
    cursor = None
    while True:
        page = cell.client.list(JobQuery(limit=1000, cursor=cursor))
        found |= {job.job_id: job for job in page.items}
        if (cursor := page.next_cursor) is None:
            return found


@contextmanager
def tired_scripts(commands: int = 60) -> Iterator[None]:
    """Scripts stop after so little work: what is left for the next one, which else only very many jobs bring about, is nearly everything.

    Of a call only the last job's tags are written with it.
    """
    bounds = {"WORK_MOST = 1200": f"WORK_MOST = {commands}", "TAGS_AT_ONCE = 200": "TAGS_AT_ONCE = 1"}
    texts = scripts._library()
    for bound, less in bounds.items():
        assert sum(text.count(bound) for text in texts) == 1
        texts = [text.replace(bound, less) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts, "_library", lambda: texts)
        _forget_scripts()
        try:
            yield
        finally:
            patch.undo()
            _forget_scripts()


def _forget_scripts() -> None:
    for made in (scripts.source, scripts.function):
        made.cache_clear()


#: Threads of ours that ask the server again and again until they are told to end.
ASKING = ("event-hub", "watch", "watch-try", "webhook-sender")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """It would ask the server in the middle of a later test."""
    yield
    until(lambda: not [thread for thread in threading.enumerate() if thread.name in ASKING], f"the end of threads of {ASKING}")


@pytest.fixture
def jobs(cell: Settings) -> Iterator[Cell]:
    made = make_cell(cell)
    yield made
    made.close()
