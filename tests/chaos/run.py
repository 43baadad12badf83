"""One run: start the system, put it under load, do the faults of the plan, let it come to rest, judge."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import redis

from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store
from pipeline_jobs.worker.app import create_celery
from tests.chaos.evidence import Evidence, Verdict, disagreements, read_artifacts, read_records
from tests.chaos.faults import Done, Faults
from tests.chaos.figures import Executions, Rescues, all_outages, executions, rescues
from tests.chaos.journal import BODIES, ClientJournal, read_bodies
from tests.chaos.load import Load, Told
from tests.chaos.oracle import judge
from tests.chaos.plan import Plan
from tests.chaos.processes import Processes
from tests.chaos.schedules import Slots
from tests.chaos.system import System, make_roles, make_settings
from tests.chaos.witness import Witness
from tests.servers import Server
from tests.stack import ROOT, environment

TICK_SECONDS = 0.1
ORPHAN_LOOK_SECONDS = 5.0
#: How long the system may take to come up, and to come to rest after the last fault, in seconds.
UP_SECONDS, REST_SECONDS = 90.0, 240.0
#: How much longer than planned load and faults may take, in seconds.
LATE_SECONDS = 120.0


class NotUp(Exception):
    """The system did not come up: nothing can be said about it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found and measured."""

    plan: Plan
    settings: Settings
    verdict: Verdict
    evidence: Evidence
    told: Told
    faults: list[Done]
    executions: Executions
    worker_rescues: Rescues
    #: The same, also without the lease that each restart of the server grants anew.
    worker_rescues_but_for_restarts: Rescues
    child_rescues: Rescues
    #: Ends of processes that nobody asked for.
    unexpected: list[str]
    #: Seconds from the last fault until every job had ended.
    rest_seconds: float
    seconds: float


def run(plan: Plan, folder: Path, system: System, *, purge_some: bool = False, say: Callable[[str], None] = lambda text: None) -> Outcome:
    """Carry a plan out.

    :param folder: for everything that the run writes; it must be empty.
    :param purge_some: let the time of some jobs pass at the end, and see them and their artifacts go.
    :param say: told how it goes.
    :raises NotUp: the system did not start at all.
    """
    server = Server(folder / "server").start()
    settings = make_settings(server, folder, system)
    settings.data_dir.mkdir(parents=True)
    processes = Processes(make_roles(settings, folder, system), secrets.token_hex(6), folder / "logs", environment(settings), ROOT)
    app = create_celery(settings)
    journal, witness = ClientJournal(folder / "client.log"), Witness(server.url)
    try:
        load = Load(plan.jobs, app.cell.client, settings.base_url, journal)
        slots = Slots(app.cell.client)
        return _Run(plan, folder, settings, server, processes, app.cell.store, journal, witness, slots, say, purge_some).go(load)
    finally:
        witness.stop()
        processes.clear()
        app.cell.store.client.close()
        app.close()
        journal.close()
        server.stop()


@dataclass(slots=True)
class _Run:
    plan: Plan
    folder: Path
    settings: Settings
    server: Server
    processes: Processes
    store: Store
    journal: ClientJournal
    witness: Witness
    slots: Slots
    say: Callable[[str], None]
    purge_some: bool

    def go(self, load: Load) -> Outcome:
        began = time.time()
        self.processes.start_all()
        self._tick_until(self.processes.all_up, UP_SECONDS)
        if not self.processes.all_up():
            raise NotUp("; ".join(self.processes.unexpected) or "some process is not ready in time")
        with (self.folder / "faults.log").open("a", buffering=1) as log:
            faults = Faults(self.plan.faults, self.processes, self.server, lambda line: print(line, file=log))
            self.witness.start()
            self.slots.lay(self.plan.seconds)
            load.start()
            self._under_load(load, faults)
        faulty_until = time.time()
        self.say("no more faults; waiting for the jobs to end")
        self._tick_until(lambda: self.processes.all_up() and self._at_rest() and self.slots.settled(), REST_SECONDS)
        rest_seconds = time.time() - faulty_until
        purged = self._purge() if self.purge_some else set()
        self._tick_until(lambda: self._tidy() and not self._there(purged), REST_SECONDS / 4)
        evidence = self._gather(load, purged)
        outages = all_outages(
            faults.outages,
            self.processes.history,
            [role.name for role in self.processes.roles.values() if role.kind == "maintenance"],
            time.time(),
        )
        bodies = evidence.bodies
        return Outcome(
            plan=self.plan,
            settings=self.settings,
            verdict=judge(evidence),
            evidence=evidence,
            told=load.told,
            faults=faults.done,
            executions=executions(evidence),
            worker_rescues=rescues(bodies, _of(faults.done, "kill_worker"), outages, of_children=False),
            worker_rescues_but_for_restarts=rescues(
                bodies, _of(faults.done, "kill_worker"), [*outages, *self._granted_anew(faults.outages.server)], of_children=False
            ),
            child_rescues=rescues(bodies, _of(faults.done, "kill_child"), outages, of_children=True),
            unexpected=self.processes.unexpected,
            rest_seconds=rest_seconds,
            seconds=time.time() - began,
        )

    def _granted_anew(self, down: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """After each outage of the server, the time for which it extends all leases."""
        return [(back, back + self.settings.lease_seconds) for _, back in down]

    def _under_load(self, load: Load, faults: Faults) -> None:
        start, looked, said = time.monotonic(), 0.0, 0.0
        while load.submitting or not faults.idle:
            now = time.monotonic() - start
            self.processes.tick()
            faults.tick(now)
            if now - looked > ORPHAN_LOOK_SECONDS:
                looked = now
                self.processes.look_for_orphans()
            if now - said > 30:
                said = now
                self.say(f"{now:.0f} s: {len(faults.done)} faults done, {dict(load.told.http)}")
            time.sleep(TICK_SECONDS)
            if now > self.plan.seconds + LATE_SECONDS:
                load.give_up()
                break
        load.join()

    def _tick_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            self.processes.tick()
            time.sleep(TICK_SECONDS)

    def _at_rest(self) -> bool:
        keys, client = self.store.keys, self.store.client
        try:
            return not client.zcard(keys("status", "queued")) and not client.zcard(keys("status", "running"))
        except redis.RedisError:
            return False

    def _tidy(self) -> bool:
        """Maintenance has swept what killed runs left."""
        return not self._folders() and not self.store.client.llen(self.store.keys("trash"))

    def _folders(self) -> list[str]:
        return [path.name for path in self.settings.work_dir.glob("[!.]*")]

    def _purge(self) -> set[str]:
        """Let the time of every third ended job pass. :return: their ids."""
        client, ended = self.store.client, self.store.keys("ended")
        passed = set(client.zrange(ended, 0, -1)[::3])
        for job_id in passed:
            client.zadd(ended, {job_id: 1})
        return passed

    def _there(self, jobs: Iterable[str]) -> list[str]:
        """Those of the jobs that have a record."""
        client, keys = self.store.client, self.store.keys
        return [job_id for job_id in jobs if client.exists(keys("job", job_id))]

    def _gather(self, load: Load, purged: set[str]) -> Evidence:
        """Stop everything, so that nothing moves while it is looked at; what the stop itself broke is seen too."""
        self.processes.look_for_orphans()
        self.processes.stop()
        records = read_records(self.store)
        bodies, odd = read_bodies(self.settings.data_dir / BODIES)
        return Evidence(
            planned={job.token: job for job in self.plan.jobs},
            client=self.journal.read(),
            bodies=bodies,
            odd_bodies=odd,
            records=records,
            heard=dict(self.witness.heard),
            differences=disagreements(self.store, records, purged=bool(purged)),
            artifacts=read_artifacts(self.settings.data_dir / "artifacts"),
            folders=self._folders(),
            orphans=sorted(self.processes.orphans),
            stuck=self.processes.stuck,
            undeclared=load.told.undeclared,
            given_up=load.told.given_up,
            odd_slots=self.slots.wrong(records, purged),
            purged=purged,
        )


def _of(done: list[Done], kind: str) -> list[Done]:
    return [one for one in done if one.kind == kind]


def kinds(outcome: Outcome) -> Counter[str]:
    """How many faults of each kind were done."""
    return Counter(done.kind for done in outcome.faults)
