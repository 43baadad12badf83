"""`make loadtest RATE=100 DURATION=30`: how many jobs a second this machine takes, and what each part of the installation pays for them.

A stack of its own is started (a store with `appendfsync always`, an API of two processes, one worker, Flower), so none of your jobs is
touched. Jobs that do nothing are posted over HTTP at a given rate by several tenants in turn, and the run waits until all have ended.
Without RATE the rate is doubled from 25 a second until the installation no longer keeps up: 95 % of what is offered is accepted, and the
last job has ended a second after the last answer. Client and stack share the machine's cores. `--write` puts the table into
`docs/capacity.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import noop
from benchmarks.kit.bench import ALWAYS, Bench, percentile
from benchmarks.kit.load import request
from benchmarks.kit.open_load import open_load
from benchmarks.kit.peer import ROOT
from benchmarks.kit.report import number
from benchmarks.kit.runner import machine
from benchmarks.peers.talk import FIELDS
from pipeline_jobs.access.api_keys import KeyStore, Role
from tests.living import running

PAGE = ROOT / "docs" / "capacity.md"
BEGIN, END = "<!-- loadtest: written by `make loadtest` -->", "<!-- end of loadtest -->"
TENANTS = 20
#: The parts whose CPU is told apart, and by which name their process was started.
PARTS = ("store", "api", "worker", "flower")
FIRST_RATE, LAST_RATE = 25, 3200
#: How long the end of all jobs is waited for, in seconds.
PATIENCE = 120.0
#: Keeping up: this share of the offered rate, and this many seconds until the last job has ended.
SHARE, BEHIND = 0.95, 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one rate."""

    rate: float
    accepted: float
    ended: float
    #: Answers other than 201.
    refused: int
    #: Percent of one core, by part.
    cpu: Mapping[str, float]
    #: p50 and p99 in ms: of the POST's answer, and from the record's creation to the job's start.
    post: tuple[float, float]
    start: tuple[float, float]
    #: Seconds from the last answer until the last job had ended.
    behind: float

    @property
    def keeps_up(self) -> bool:
        return not self.refused and self.accepted >= SHARE * self.rate and self.behind <= BEHIND


@dataclass(slots=True)
class Target:
    """A running stack under load."""

    bench: Bench
    url: str
    #: A ready request of each tenant.
    requests: Sequence[bytes]
    processes: Mapping[str, psutil.Process]

    @property
    def _store(self) -> Any:
        return self.bench.jobs(ALWAYS).client.store

    def step(self, rate: float, seconds: float) -> Step:
        """Load at this rate; wait until all jobs have ended."""
        store = self._store
        before, spent = self._ended(), self._spent()
        start = time.perf_counter()
        load = open_load(self.url, self.requests, rate=rate, seconds=seconds)
        accepted = load.statuses[201]
        answered = time.perf_counter()
        while self._ended() < before + accepted:
            if time.perf_counter() - answered > PATIENCE:
                raise RuntimeError(f"{self._ended() - before} of {accepted} jobs ended")
            time.sleep(0.02)
        over = time.perf_counter()
        cpu = {part: (value - spent[part]) / (over - start) * 100 for part, value in self._spent().items()}
        waits = waits_of(store, accepted)
        return Step(
            rate, accepted / load.seconds, accepted / (over - start), len(load.took) - accepted, cpu,
            (percentile(load.took, 0.5), percentile(load.took, 0.99)), (percentile(waits, 0.5), percentile(waits, 0.99)), over - answered,
        )  # fmt: skip

    def _ended(self) -> int:
        return int(self._store.client.zcard(self._store.keys("status", "completed")))

    def _spent(self) -> dict[str, float]:
        return {part: _cpu(process) for part, process in self.processes.items()}


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU of a process and its children."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def waits_of(store: Any, newest: int) -> list[float]:
    """Milliseconds from creation to start of the jobs that ended last."""
    ids = store.client.zrevrange(store.keys("status", "completed"), 0, newest - 1)
    with store.client.pipeline(transaction=False) as pipe:
        for one in ids:
            pipe.hmget(store.keys("job", one if isinstance(one, str) else one.decode()), "created_at", "started_at")
        return [float(started) - float(created) for created, started in pipe.execute()]


@contextmanager
def target(folder: Path, slots: int) -> Iterator[Target]:
    """The stack, up and warm."""
    bench = Bench(folder, rounds=1, smoke=False)
    try:
        # The worker first: it empties the contender's database.
        with noop.ours(bench, ALWAYS, slots=slots) as worker, bench.our_web(ALWAYS, PIPELINE_MAX_CONCURRENT_JOBS=str(slots)) as url:
            store_pid = int(bench.jobs(ALWAYS).client.store.client.info("server")["process_id"])
            processes = {
                "store": psutil.Process(store_pid),
                "api": running("gunicorn")[0],
                "worker": psutil.Process(worker.worker.pid),
                "flower": running(" flower ")[0],
            }
            path = f"{url}/pipeline/jobs"
            yield Target(bench, path, [_post(bench, path, f"tenant-{one}") for one in range(TENANTS)], processes)
    finally:
        bench.close()


def _post(bench: Bench, path: str, tenant: str) -> bytes:
    _, key = KeyStore(bench.jobs(ALWAYS).client.store).create(tenant, Role.SUBMIT, actor="loadtest")
    body = {**FIELDS, "tenant_id": tenant, "pipeline": "noop"}
    return request(path, "POST", json.dumps(body).encode(), {"Authorization": f"Bearer {key}"})


def table(steps: Sequence[Step]) -> str:
    """For the page and the terminal."""
    head = ("offered, jobs/s", "accepted", "ended", *(f"{part}, CPU %" for part in PARTS), "POST p50 / p99, ms", "start p50 / p99, ms", "")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for step in steps:
        times = (f"{number(low)} / {number(high)}" for low, high in (step.post, step.start))
        cpu = (f"{step.cpu[part]:.0f}" for part in PARTS)
        verdict = "kept up" if step.keeps_up else f"{step.behind:.1f} s behind" + (f", {step.refused} refused" if step.refused else "")
        lines.append(
            f"| {' | '.join((number(step.rate), number(step.accepted), number(step.ended), *cpu, *times, verdict))} |",
        )
    return "\n".join(lines) + "\n"


def costs(steps: Sequence[Step]) -> str:
    """What one job costs each part at the highest rate that was kept up, and so how many one core of it carries."""
    kept = [step for step in steps if step.keeps_up]
    if not kept:
        return "No rate was kept up.\n"
    best = kept[-1]
    lines = [
        f"At {number(best.rate)} jobs a second:\n",
        "| part | CPU of a job, us | jobs a second that one core of it carries |",
        "|---|---|---|",
    ]
    for part in PARTS:
        each = best.cpu[part] / 100 / best.ended * 1e6
        lines.append(f"| {part} | {each:.0f} | {number(1e6 / each) if each else '-'} |")
    return "\n".join(lines) + "\n"


def write(text: str) -> None:
    """Between the marks of the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", "utf-8")


def steps(at: Target, rate: float | None, seconds: float) -> Iterator[Step]:
    """One step at the given rate, or doubling ones until one is not kept up."""
    if rate is not None:
        yield at.step(rate, seconds)
        return
    offered = float(FIRST_RATE)
    while offered <= LAST_RATE:
        step = at.step(offered, seconds)
        yield step
        if not step.keeps_up:
            return
        offered *= 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loadtest", description=__doc__)
    parser.add_argument("--rate", type=float, help="jobs a second; without it: doubled until the installation does not keep up")
    parser.add_argument("--duration", type=float, default=20, help="seconds of each rate")
    parser.add_argument("--slots", type=int, default=4, help="the worker's autoscale maximum")
    parser.add_argument("--write", action="store_true", help="put the table into docs/capacity.md")
    given = parser.parse_args(arguments)
    found: list[Step] = []
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder, target(Path(folder), given.slots) as at:
        at.step(20, 2)
        for step in steps(at, given.rate, given.duration):
            found.append(step)
            print(table(found).splitlines()[-1], flush=True)
    about = machine()
    made_by = f"`make loadtest DURATION={given.duration:g}`"
    text = f"{table(found)}\n{costs(found)}\n{about['machine']}, {about['when']}, load before it {about['load']}; {made_by}.\n"
    print(text)
    if given.write:
        write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
