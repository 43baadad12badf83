"""Clients that send jobs until they are accepted, each with a key, whatever happens to the store; and what became of those accepted."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline_jobs.exceptions import StoreUnavailable, TryLater, UnknownJob
from pipeline_jobs.job import NewJob
from pipeline_jobs.states import JobStatus
from tests.stack import Stack
from tests.waiting import until


class Senders:
    """Two threads that send; `accepted` has the ids that they were told."""

    def __init__(self, stack: Stack, seconds: Sequence[float]) -> None:
        """:param seconds: how long the jobs take, one after the other, from each thread again and again."""
        self._client = stack.client
        self._seconds = seconds
        self._stop = threading.Event()
        self.accepted: list[str] = []
        self.refused = 0
        self._threads = [threading.Thread(target=self._send) for _ in range(2)]

    def until_more(self, count: int) -> None:
        """Until so many more are accepted."""
        before = len(self.accepted)
        until(lambda: len(self.accepted) >= before + count, f"{count} jobs to be accepted", 180)

    def _send(self) -> None:
        for seconds in itertools.takewhile(lambda _: not self._stop.is_set(), itertools.cycle(self._seconds)):
            key = uuid.uuid4().hex
            while not self._stop.is_set():
                try:
                    job = self._client.submit(NewJob(pipeline="sleep", params={"seconds": seconds}), idempotency_key=key)
                except (TryLater, StoreUnavailable):
                    self.refused += 1
                    self._stop.wait(0.05)
                    continue
                self.accepted.append(job.job_id)
                break
            self._stop.wait(0.02)


@contextmanager
def sending(stack: Stack, seconds: Sequence[float] = (0,)) -> Iterator[Senders]:
    made = Senders(stack, seconds)
    for thread in made._threads:
        thread.start()
    try:
        yield made
    finally:
        made._stop.set()
        for thread in made._threads:
            thread.join()


def outcomes(stack: Stack, ids: list[str]) -> Counter[str]:
    """How these jobs ended, when all have; `lost`: the store knows nothing of it."""
    found: Counter[str] = Counter()

    def all_ended() -> bool:
        found.clear()
        for job_id in ids:
            found[_status(stack, job_id)] += 1
        return not {"away", JobStatus.QUEUED.value, JobStatus.RUNNING.value} & set(+found)

    until(all_ended, "the accepted jobs to end", 240)
    return found


def _status(stack: Stack, job_id: str) -> str:
    try:
        return stack.client.get(job_id).status.value
    except UnknownJob:
        return "lost"
    except (TryLater, StoreUnavailable):
        return "away"
