"""`kill -9` of the children of a worker in full work, and what must hold afterwards (Pace, bar 2)."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from pipeline_jobs.failpoints import LAST_WORD, VARIABLE
from pipeline_jobs.states import JobStatus
from tests.integration.recount import differences
from tests.living import children
from tests.stack import Stack
from tests.waiting import until

#: The lines between slot, claim and finish; whose crash a death there is: nobody's, that of the job which the process says, or of one that
#: it does not know.
PLACES = {
    "claim.asked": "nobody", "claim.answered": "unknown", "run.after_claim": "named", "run.in_stage": "named",
    "run.after_artifact": "named", "finish.asked": "named", "finish.answered": "next", "run.after_finish": "next",
}  # fmt: skip
#: Nothing is brought back by a lease or a hint that ends: only by what a worker gives back.
PATIENT = {"lease_seconds": 3600.0, "hint_seconds": 3600.0, "max_crashes": 1000, "canary_seconds": 0.0}

_DIED = re.compile(rf"{LAST_WORD}(\S+) (\S*)")


@dataclass
class Deaths:
    """Of the children of a worker of this name."""

    stack: Stack
    worker: str
    #: At no named place: by this process.
    at_random: int = 0
    _paused: int = 0
    _rng: random.Random = field(default_factory=random.Random)

    def named(self) -> list[tuple[str, str]]:
        """Place and job of each death at a place."""
        return _DIED.findall(self.stack.log(self.worker))

    @property
    def count(self) -> int:
        return len(self.named()) + self.at_random

    def kill_one(self, main: int, pause_ms: int = 0) -> None:
        """A child at random, at whatever it does; with the server held for so long."""
        with suppress(psutil.Error, ProcessLookupError, IndexError):
            child = self._rng.choice(children(main))
            if pause_ms:
                self.stack.client.store.client.execute_command("CLIENT", "PAUSE", pause_ms, "ALL")
                self._paused += 1
            os.kill(child.pid, signal.SIGKILL)
            self.at_random += 1


def kill_in_full_work(deaths: Deaths, main: int, kills: int, work: Callable[[], object]) -> int:
    """Until so many children of this process have died: a fifth of them at random instants, every second one of these with the server held.

    :param work: called again and again, so that there is always something to do. :return: how often the server was held.
    """
    held = 0
    while (before := deaths.count) < kills:
        work()
        if deaths.at_random < kills / 5:
            pause = 100 * (deaths.at_random % 2)
            deaths.kill_one(main, pause_ms=pause)
            held += bool(pause)
        until(lambda before=before: work() or deaths.count > before, "a death")
    return held


def environment(per_cent: int, places: Iterable[str] = PLACES) -> dict[str, str]:
    """Of a worker whose children die at each of the places, at each arrival with this chance."""
    return {VARIABLE: ",".join(f"{place}=kill%{per_cent}" for place in places)}


def check(stack: Stack, deaths: Deaths, job_ids: list[str]) -> None:
    """Nothing lost, nothing twice, each crash on its own job, no lease of a dead process."""
    store = stack.client.store
    jobs = [stack.until_status(job_id, JobStatus.COMPLETED, seconds=120) for job_id in job_ids]
    until(lambda: store.client.zcard(store.keys("leases")) == 0, "the leases of dead processes to be given back")
    assert differences(store) == []
    for job in jobs:
        log = [json.loads(line)[0] for line in store.client.lrange(store.keys("events", job.job_id), 0, -1)]
        counts = {kind: log.count(kind) for kind in ("completed", "started", "requeued")}
        assert counts == {"completed": 1, "started": job.crashes + 1, "requeued": job.crashes}, (job.job_id, log)
    named = deaths.named()
    own = Counter(job for place, job in named if PLACES[place] == "named")
    places = Counter(PLACES[place] for place, _ in named)
    more = {job.job_id: job.crashes - own[job.job_id] for job in jobs}
    assert min(more.values()) >= 0, f"deaths that were counted on another job: {more}"
    assert sum(own.values()) == places["named"], "deaths with jobs that are none of these"
    least, most = places["unknown"], places["unknown"] + places["next"] + deaths.at_random
    assert least <= sum(more.values()) <= most, (least, sum(more.values()), most, places)
