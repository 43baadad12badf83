"""Pace, bar 2: 2,000 `kill -9` of children in full work, at each line between slot, claim and finish and at random instants, 200 of them
with the server held around the kill. `KILLS=300` for fewer. The short form is in tests/acceptance/test_job_loop.py.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import partial

from tests.kills import PATIENT, PLACES, Deaths, check, environment, kill_in_full_work
from tests.stack import MakeStack, Stack

#: Each with a worker of its own: a log that is read again at each death must not be long.
ROUNDS = 10


def keep_some_in_line(stack: Stack, jobs: list[str]) -> None:
    """Each finish has one to hand over; and where all of them have ended and nobody died, there are more."""
    waiting = int(stack.client.store.client.zcard(stack.client.store.keys("status", "queued")))
    jobs += [stack.submit(params={"seconds": 0}, tenant_id=f"t{n % 3}").job_id for n in range(max(0, 20 - waiting))]


def test_two_thousand_kills_of_children(make_stack: MakeStack) -> None:
    kills = int(os.environ.get("KILLS", "2000"))
    stack = make_stack(max_concurrent_jobs=100, announce_seconds=0.25, **PATIENT)
    places: Counter[str] = Counter()
    total = at_random = held = 0
    for number in range(ROUNDS):
        name = f"mortal-{number}"
        deaths = Deaths(stack, name)
        worker = stack.worker(name, "-c", "4", slots=None, **environment(per_cent=4))
        jobs: list[str] = []
        held += kill_in_full_work(deaths, worker.pid, kills // ROUNDS, partial(keep_some_in_line, stack, jobs))
        check(stack, deaths, jobs)
        places.update(place for place, _ in deaths.named())
        total, at_random = total + deaths.count, at_random + deaths.at_random
        worker.terminate()
        worker.wait(60)
    print(json.dumps({"kills": total, "at random": at_random, "with the server held": held, "at": dict(places)}, indent=2))
    assert set(places) == set(PLACES)
