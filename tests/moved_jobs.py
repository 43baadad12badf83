"""Jobs that end, are moved into the history and purged, while the mover is killed again and again (Flows, bar 2)."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from pipeline_jobs import failpoints
from pipeline_jobs.history.history import History
from pipeline_jobs.history.mover import PAGE, Mover
from pipeline_jobs.history.queries import Range
from pipeline_jobs.history.tables import JOBS
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell, make_cell
from tests.waiting import until

#: A larger batch has to wait for the one before.
BATCH = 200
TENANTS = ("acme", "beta", "gamma")
_STATUSES = ("completed", "failed", "cancelled")
ALL = Range(0, 2**53)


def recount(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluation once more, by hand; of each line the day as a number."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["ended_ms"] // 86_400_000, row["tenant_id"], row["pipeline"]].append(row)

    def quantile(some: list[dict[str, Any]], name: str, percent: int) -> float | None:
        values = sorted(row[name] for row in some if row[name] is not None)
        return values[-(-len(values) * percent // 100) - 1] / 1000 if values else None

    found = []
    for (day, tenant_id, pipeline), some in sorted(groups.items()):
        codes = Counter(row["error_code"] or "unknown" for row in some if row["status"] == "failed")
        found.append({
            "day": day, "tenant_id": tenant_id, "pipeline": pipeline,
            **{status: sum(row["status"] == status for row in some) for status in _STATUSES},
            "duration_p50_seconds": quantile(some, "run_ms", 50), "duration_p95_seconds": quantile(some, "run_ms", 95),
            "wait_p50_seconds": quantile(some, "wait_ms", 50), "wait_p95_seconds": quantile(some, "wait_ms", 95),
            "slot_seconds": sum(row["slot_ms"] for row in some) / 1000, "failures": dict(codes),
        })  # fmt: skip
    return found


def rows_of(history: History) -> list[dict[str, Any]]:
    """Whatever is in the table, tombstones too."""
    with history.database.reading(60) as connection:
        return [dict(row) for row in connection.execute(select(JOBS).order_by(JOBS.c.ord)).mappings()]


def expire(cell: Cell) -> None:
    """As if the time of every ended job were over."""
    ended, client = cell.store.keys("ended"), cell.store.client
    some = client.zrange(ended, 0, -1)
    for start in range(0, len(some), 5_000):
        client.zadd(ended, dict.fromkeys(some[start : start + 5_000], 1), xx=True)


def _move(settings: Settings, plan: str) -> None:
    """A mover that does nothing else. :param plan: of its death, as `PIPELINE_FAILPOINTS` has it."""
    if plan:
        failpoints.reach = failpoints._armed(failpoints.parse(plan))
    history, pause = make_cell(settings).cell.history, threading.Event()
    assert history is not None
    while True:
        Mover(history).move()
        pause.wait(0.02)


@dataclass
class Killing:
    """One installation and its mover."""

    cell: Cell
    seed: int
    #: By tenant and status, as it was done.
    tally: Counter[tuple[str, str]] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    deaths: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.moved_jobs"])

    def run(self, jobs: int, kills: int) -> None:
        """End so many jobs in as many portions as movers die, and one more."""
        for number in range(kills):
            self.end(jobs // (kills + 1))
            self.kill(at_the_mark=number % 2 == 0, pages=jobs // (kills + 1) // PAGE)
            self.purge()
        self.end(jobs - len(self.ids))
        mover = self._start("")
        until(lambda: not self.cell.store.exists("unmoved_tenants"), seconds=1800)
        mover.kill()
        mover.join()
        self.purge()

    def end(self, n: int) -> None:
        """A tenth of them run, the others are cancelled."""
        for number in range(n // 10):
            tenant = TENANTS[number % 3]
            outcome = self._rng.choice((JobStatus.COMPLETED, JobStatus.FAILED))
            run = self.cell.running(tenant_id=tenant)
            detail = {"code": self._rng.choice(("a", "b")), "message": "x", "stage": None, "retryable": False}
            self.cell.store.finish(run.job_id, run.fence, outcome, result={}, error="x", error_detail=detail)
            self._note(run.job_id, tenant, outcome)
        batches = self.cell.cell.batches
        for start in range(0, n - n // 10, BATCH):
            tenant = self._rng.choice(TENANTS)
            made = batches.create(NewBatch((NewJob(pipeline="sleep"),) * min(BATCH, n - n // 10 - start), tenant_id=tenant))
            batches.cancel(made.batch.batch_id)
            for job_id in filter(None, made.job_ids):
                self._note(job_id, tenant, JobStatus.CANCELLED)

    def kill(self, *, at_the_mark: bool, pages: int) -> None:
        """A mover dies: between the commit and its word to the store, or wherever it is. :param pages: about so many wait."""
        if at_the_mark:
            mover = self._start(f"history.before_mark=kill@{self._rng.randint(1, max(1, pages))}")
        else:
            before, mover = self._moved(), self._start("")
            until(lambda: self._moved() > before)
            os.kill(mover.pid or 0, signal.SIGKILL)
        mover.join(60)
        assert mover.exitcode == -signal.SIGKILL
        self.deaths += 1

    def purge(self) -> int:
        """What is past its time, as all are."""
        expire(self.cell)
        removed = 0
        while True:
            page = self.cell.store.run("purge", limit=500, keep=-1)
            removed += int(page.removed)
            if int(page.looked_at) < 500:
                return removed

    def wrong(self) -> list[str]:
        """What must not be, at rest."""
        history, store = self.cell.cell.history, self.cell.store
        assert history is not None
        rows = rows_of(history)
        each = Counter(row["job_id"] for row in rows)
        told = [{"day": line.date, **line.to_dict()} for line in history.lines(ALL)]
        by_hand = recount(rows)
        for one, other in zip(told, by_hand, strict=False):
            one.pop("date")
            one["day"] = other["day"]
        tally: Counter[tuple[str, str]] = Counter()
        for row in rows:
            tally[row["tenant_id"], row["status"]] += 1
        counters = store.record("counters")
        checks = {
            "missing in the history": self.ids - each.keys(),
            "unknown in the history": each.keys() - self.ids,
            "more than once": [job_id for job_id, n in each.items() if n > 1],
            "left in the store": list(store.client.scan_iter(store.keys("job", "*"), count=1000))[:9],
            "the evaluation differs from a recount": [] if told == by_hand else [told, by_hand],
            "the recount differs from what was done": [] if tally == self.tally else [tally, self.tally],
            "counted": [] if int(counters["history_moved"]) == len(self.ids) and "history_lost" not in counters else [counters],
        }
        return [f"{name}: {found}"[:500] for name, found in checks.items() if found]

    def _moved(self) -> int:
        return int(self.cell.store.record("counters").get("history_moved", 0))

    def _note(self, job_id: str, tenant: str, status: JobStatus) -> None:
        self.ids.add(job_id)
        self.tally[tenant, status.value] += 1

    def _start(self, plan: str) -> Any:
        mover = self._context.Process(target=_move, args=(self.cell.settings, plan), daemon=True)
        mover.start()
        return mover
