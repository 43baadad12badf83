"""Sentinel under chaos: at each failover other processes die too, and every second old master is not dead but stood still, so that it takes
itself for the master when it goes on. With `PIPELINE_STORE_REPLICAS=1` no accepted job may be lost, and each must complete.

`make failovers` (RUNS=30 SEED=1). A failover goes back in time for what is not waited for (docs/high-availability.md): a job may run once
more, so this run does not judge how often one ran or which event came first, as `tests/chaos` does.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.heavy.senders import outcomes, sending
from tests.integration.recount import differences
from tests.living import children
from tests.sentinels import Watched, watched
from tests.stack import MakeStack, Stack
from tests.waiting import until

RUNS, SEED = int(os.environ.get("FAILOVER_RUNS", "30")), int(os.environ.get("SEED", "1"))
#: What may die with the master. A machine is a worker and all that it has started.
VICTIMS = ("child", "worker", "machine", "maintenance", "sentinel")
WORKERS = ("one", "two")
#: Of the jobs, in seconds: some are at work when the master goes.
LENGTHS = (0, 0.2, 0, 2)


@dataclass(frozen=True, slots=True)
class Round:
    """One failover and what happens around it."""

    #: The old master stood still and goes on; otherwise it was killed.
    stale: bool
    #: These die before the master goes, and these while there is none.
    before: tuple[str, ...]
    during: tuple[str, ...]


def plan(rounds: int, seed: int) -> Iterator[Round]:
    rng = random.Random(seed)
    for number in range(rounds):
        victims = rng.sample(VICTIMS, rng.randint(1, 3))
        cut = rng.randint(0, len(victims))
        yield Round(bool(number % 2), tuple(victims[:cut]), tuple(victims[cut:]))


class Crew:
    """The processes that die, and are started again."""

    def __init__(self, stack: Stack, servers: Watched, seed: int) -> None:
        self._stack, self._servers, self._rng = stack, servers, random.Random(seed)
        self._beside: dict[str, subprocess.Popen[bytes]] = {}
        self.killed = Counter[str]()
        stack.run_beat()
        self.mend()

    def kill(self, *victims: str) -> None:
        """SIGKILL, of one at random where there are several."""
        for victim in victims:
            self._kill(victim)
            self.killed[victim] += 1

    def _kill(self, victim: str) -> None:
        if victim == "sentinel":
            self._servers.kill_sentinel(self._rng.randrange(3))
        elif victim == "maintenance":
            self._beside[victim].kill()
        else:
            self._kill_of(self._beside[self._rng.choice(WORKERS)], victim)

    def _kill_of(self, worker: subprocess.Popen[bytes], victim: str) -> None:
        with suppress(ProcessLookupError, psutil.NoSuchProcess, IndexError):
            if victim == "child":
                self._rng.choice(children(worker.pid)).kill()
            elif victim == "worker":
                worker.kill()
            else:
                os.killpg(worker.pid, signal.SIGKILL)

    def mend(self) -> None:
        """Start what is not there. Needs the store."""
        starts = dict.fromkeys(WORKERS, self._start_worker) | {"maintenance": self._stack.maintenance_worker}
        for name, start in starts.items():
            if name not in self._beside or self._beside[name].poll() is not None:
                self._beside[name] = start(name)

    def _start_worker(self, name: str) -> subprocess.Popen[bytes]:
        return self._stack.worker(name, "--autoscale=2,2")


def fail_over(stack: Stack, servers: Watched, crew: Crew, round: Round) -> list[str]:
    """:return: the jobs that were accepted meanwhile."""
    with sending(stack, LENGTHS) as clients:
        clients.until_more(10)
        crew.kill(*round.before)
        servers.fail_over(stale=round.stale, meanwhile=lambda: crew.kill(*round.during))
        servers.mend()
        crew.mend()
        clients.until_more(5)
    return clients.accepted


def test_everything_dies_around_failovers(make_stack: MakeStack, tmp_path: Path) -> None:
    jobs, gone = 0, Counter[str]()
    with watched(tmp_path / "servers") as servers:
        stack = make_stack(redis_url=servers.url, store_replicas=1, rescue_seconds=2.0, max_queued_per_tenant=100_000)
        crew = Crew(stack, servers, SEED)
        for number, round in enumerate(plan(RUNS, SEED)):
            accepted = fail_over(stack, servers, crew, round)
            found = outcomes(stack, accepted)
            jobs += len(accepted)
            gone["stale" if round.stale else "killed"] += 1
            print(f"round {number + 1}, {round}: {dict(found)}", flush=True)
            assert found == {"completed": len(accepted)}
        until(lambda: stack.running() == 0, "no lease to be left")
        assert differences(stack.client.store) == []
    print(f"\n{RUNS} failovers, masters {dict(gone)}, besides {dict(crew.killed)}: {jobs} jobs accepted, all completed")
