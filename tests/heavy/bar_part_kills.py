"""Flows, bar 6: 2,000 `kill -9` of children between cut, parts and join, at each line and at random instants, some with the server held.
`KILLS=300` for fewer. The short form is in tests/acceptance/test_parts.py.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import partial

from tests.kills import PATIENT, Deaths, environment, kill_in_full_work
from tests.kills_of_parts import ALL, check, keep_some_in_line
from tests.stack import MakeStack
from tests.torn_parts import MODULES

#: Each with a worker of its own: a log that is read again at each death must not be long.
ROUNDS = 10


def test_two_thousand_kills_between_cut_parts_and_join(make_stack: MakeStack) -> None:
    kills = int(os.environ.get("KILLS", "2000"))
    stack = make_stack(modules=MODULES, max_concurrent_jobs=100, announce_seconds=0.25, **PATIENT)
    stack.maintenance()
    places: Counter[str] = Counter()
    total = at_random = held = jobs_in_all = 0
    for number in range(ROUNDS):
        name = f"mortal-{number}"
        deaths = Deaths(stack, name)
        worker = stack.worker(name, "-c", "4", slots=None, **environment(per_cent=3, places=ALL))
        jobs: list[str] = []
        held += kill_in_full_work(deaths, worker.pid, kills // ROUNDS, partial(keep_some_in_line, stack, jobs))
        check(stack, deaths, jobs)
        places.update(place for place, _ in deaths.named())
        total, at_random, jobs_in_all = total + deaths.count, at_random + deaths.at_random, jobs_in_all + len(jobs)
        worker.terminate()
        worker.wait(60)
    print(json.dumps({"kills": total, "jobs": jobs_in_all, "at random": at_random, "server held": held, "at": dict(places)}, indent=2))
    assert set(places) == set(ALL)
