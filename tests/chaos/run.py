"""One run: start the system, put it under load, do the faults of the plan, let it come to rest, judge."""

from __future__ import annotations

import gc
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store
from pipeline_jobs.worker.app import JobsCelery, create_celery
from tests.chaos.brokers import Brokers
from tests.chaos.canvases import CanvasLoad, states
from tests.chaos.clock import Clock
from tests.chaos.crashes import causes, crashes, hops, read_histories, slain
from tests.chaos.evidence import (
    Evidence,
    Verdict,
    apart_for,
    at_work,
    crashes_counted,
    disagreements,
    read_artifacts,
    read_kept,
    read_records,
)
from tests.chaos.faults import Around, Done, Faults, out_of_reach
from tests.chaos.figures import Executions, Rescues, executions, rescues
from tests.chaos.in_parts import lost_parts
from tests.chaos.journal import BODIES, ClientJournal, read_bodies
from tests.chaos.load import Load, Told
from tests.chaos.oracle import judge
from tests.chaos.plan import PARTED, POOLED, Plan
from tests.chaos.processes import Processes
from tests.chaos.proxy import Proxies
from tests.chaos.schedules import Slots
from tests.chaos.small_disk import SmallDisk
from tests.chaos.system import ON_SMALL_DISK, System, make_roles, make_settings, surrounded
from tests.chaos.waits import OF_CHILDREN, OF_WORKERS, slot_times, until_requeued, waited_apart
from tests.chaos.witness import Witness
from tests.rabbit import Rabbit, cluster
from tests.servers import Server
from tests.stack import ROOT, environment

TICK_SECONDS = 0.1
ORPHAN_LOOK_SECONDS = 5.0
#: How long the system may take to come up, to end one more job when nothing disturbs it any more, and to tidy up, in seconds.
UP_SECONDS, STILL_SECONDS, REST_SECONDS = 180.0, 45.0, 60.0
#: How long jobs that kill their worker, and those that were lost with them, may take in all to be told apart, in seconds.
APART_SECONDS = 900.0
#: How much longer than planned load and faults may take, in seconds; or as long again, where that is more.
LATE_SECONDS = 120.0


class NotUp(Exception):
    """The system did not come up: nothing can be said about it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found and measured."""

    plan: Plan
    #: All that it wrote: logs of processes and of faults, journals.
    folder: Path
    around: Around
    settings: Settings
    verdict: Verdict
    evidence: Evidence
    told: Told
    faults: list[Done]
    executions: Executions
    #: From what ended a run until its job was back in the queue; and from there until it ran, while a slot was free for it.
    #: From a worker's SIGKILL to its job's next start, in all; without the server's outages.
    worker_rescues: Rescues
    worker_requeues: Rescues
    child_requeues: Rescues
    restarts: Rescues
    #: The same of jobs whose process died alone: they wait for their turn.
    turns: Rescues
    #: Of jobs that start apart on purpose, from the return to the queue to the start, whatever slots there were.
    apart: Rescues
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
    with ExitStack() as ends:
        folder.mkdir(parents=True, exist_ok=True)
        clock = Clock(folder)
        server = Server(folder / "server")
        server.environment = clock.environment if any(fault.kind == "clock_step" for fault in plan.faults) else {}
        ends.callback(server.start().stop)
        brokers = _start_nodes(folder / "rabbit", ends) if system.quorum else None
        broker = brokers.url if brokers else _start_rabbit(folder / "rabbit", ends) if system.rabbitmq else ""
        settings = make_settings(server, folder, system, broker)
        settings.data_dir.mkdir(parents=True)
        disk, proxies = SmallDisk(folder), Proxies()
        ends.callback(proxies.stop)
        ends.callback(disk.remove)
        around = Around(clock, proxies, disk, ON_SMALL_DISK[0], brokers)
        roles = surrounded(make_roles(settings, folder, system), system, settings, proxies, disk)
        processes = Processes(roles, secrets.token_hex(6), folder / "logs", environment(settings), ROOT, forked=system.forked)
        app = create_celery(settings)
        ends.callback(app.close)
        ends.callback(app.backend.client.connection_pool.disconnect)
        ends.callback(app.backend.result_consumer.stop)
        ends.callback(app.cell.store.client.close)
        ends.callback(processes.clear)
        journal, witness = ClientJournal(folder / "client.log"), Witness(server.url)
        ends.callback(journal.close)
        ends.callback(witness.stop)
        load = Load(plan.jobs, app.cell.client, settings.base_url, journal)
        canvases = CanvasLoad(plan.canvases, app, journal)
        slots = Slots(app.cell.client)
        outcome = _Run(plan, folder, system, settings, server, around, processes, app, journal, witness, slots, say, purge_some)
        return outcome.go(load, canvases)


def _start_rabbit(folder: Path, ends: ExitStack) -> str:
    rabbit = Rabbit(folder)
    ends.callback(rabbit.stop)
    return rabbit.start().url


def _start_nodes(folder: Path, ends: ExitStack) -> Brokers:
    brokers = Brokers(ends.enter_context(cluster(folder)))
    ends.callback(brokers.stop)
    return brokers


@dataclass(slots=True)
class _Run:
    plan: Plan
    folder: Path
    system: System
    settings: Settings
    server: Server
    around: Around
    processes: Processes
    app: JobsCelery
    journal: ClientJournal
    witness: Witness
    slots: Slots
    say: Callable[[str], None]
    purge_some: bool

    @property
    def store(self) -> Store:
        return self.app.cell.store

    def go(self, load: Load, canvases: CanvasLoad) -> Outcome:
        began = time.time()
        self.processes.start_all()
        self._tick_until(self.processes.all_up, UP_SECONDS)
        if not self.processes.all_up():
            raise NotUp("; ".join(self.processes.unexpected) or "some process is not ready in time")
        with (self.folder / "faults.log").open("a", buffering=1) as log:
            faults = Faults(self.plan.faults, self.processes, self.server, lambda line: print(line, file=log), self.around)
            self.witness.start()
            self.slots.lay(self.plan.seconds)
            load.start()
            canvases.start()
            self._under_load(load, canvases, faults)
        faulty_until = time.time()
        self.say("no more faults; waiting for the jobs to end")
        # Jobs must come to their ends whatever the clock shows; a schedule's slot may rightly wait for its hour.
        self._until_still()
        rest_seconds, stuck = time.time() - faulty_until, at_work(self.store)
        self.around.clock.step_past_all()
        self._tick_until(lambda: self.slots.settled() and not at_work(self.store), REST_SECONDS)
        purged = self._purge() if self.purge_some else set()
        self._tick_until(lambda: self._tidy() and not self._there(purged), REST_SECONDS)
        evidence = self._gather(load, canvases, faults, purged, stuck)
        away = faults.away
        restarts, turns = slot_times(evidence, self.processes.history, faults.done, away, self.system.older)
        return Outcome(
            plan=self.plan,
            folder=self.folder,
            around=self.around,
            settings=self.settings,
            verdict=judge(evidence),
            evidence=evidence,
            told=load.told,
            faults=faults.done,
            executions=executions(evidence),
            worker_rescues=rescues(evidence.bodies, [one for one in faults.done if one.kind == "kill_worker"], away, of_children=False),
            worker_requeues=until_requeued(evidence.crashes, evidence.causes, away, OF_WORKERS),
            child_requeues=until_requeued(evidence.crashes, evidence.causes, away, OF_CHILDREN),
            restarts=restarts,
            turns=turns,
            apart=waited_apart(evidence.crashes, evidence.bodies),
            unexpected=self._unexpected(faults, evidence.slain),
            rest_seconds=rest_seconds,
            seconds=time.time() - began,
        )

    def _under_load(self, load: Load, canvases: CanvasLoad, faults: Faults) -> None:
        start, looked, said = time.monotonic(), 0.0, 0.0
        while load.submitting or canvases.sending or not faults.idle:
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
            if now > self.plan.seconds + max(LATE_SECONDS, self.plan.seconds):
                load.give_up()
                canvases.give_up()
                break
        load.join()
        canvases.join()

    def _tick_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            self.processes.tick()
            time.sleep(TICK_SECONDS)

    def _until_still(self) -> None:
        """Until all jobs have ended, and Celery knows it; or none has for a while: what still waits then waits for what does not come.

        A job that starts apart is waited for, and one that kills its worker until that was its last.
        """
        began = moved = time.monotonic()
        seen = self._at_work()
        while seen[0] and time.monotonic() - moved < self._patience(seen[0], moved) and time.monotonic() - began < APART_SECONDS:
            self.processes.tick()
            time.sleep(TICK_SECONDS)
            if (now := self._at_work()) != seen:
                seen, moved = now, time.monotonic()
        self._tick_until(self.processes.all_up, STILL_SECONDS)

    def _at_work(self) -> tuple[set[str], str]:
        return at_work(self.store), crashes_counted(self.store)

    def _patience(self, live: set[str], moved: float) -> float:
        """How long nothing may happen."""
        return STILL_SECONDS + (apart_for(self.store, live) if time.monotonic() - moved >= STILL_SECONDS else 0)

    def _tidy(self) -> bool:
        """Maintenance has swept what killed runs left."""
        return not self._folders() and not self.store.client.llen(self.store.keys("trash"))

    def _folders(self) -> list[str]:
        return [*(path.name for path in self.settings.work_dir.glob("[!.]*")), *self.around.disk.left()]

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

    def _unexpected(self, faults: Faults, slain: Mapping[str, float]) -> list[str]:
        """Ends that nobody asked for, no job of theirs neither, and those of workers that found the store away while nothing kept them from
        it."""
        unasked = [one for one in self.processes.died if one.mark not in slain]
        ends = [(one, one.termed or 0.0, one.ended or 0.0) for one in self.processes.gave_up]
        alone = [one for one, termed, ended in ends if not out_of_reach(faults.done, one.mark, termed, ended)]
        return [one.obituary() for one in (*unasked, *alone)]

    def _gather(self, load: Load, canvases: CanvasLoad, faults: Faults, purged: set[str], unmoved: set[str]) -> Evidence:
        """Stop everything, so that nothing moves while it is looked at; what the stop itself broke is seen too."""
        self.processes.look_for_orphans()
        self.processes.stop()
        # Celery's results of chords are cycles, and each of them says goodbye to the server, which is there now.
        gc.collect()
        records, client = read_records(self.store), self.journal.read()
        bodies, odd = read_bodies(self.settings.data_dir / BODIES)
        crashed = read_histories(self.store, [job_id for job_id, flat in records.items() if int(flat.get("crashes", 0))])
        pooled, parted = (
            read_histories(self.store, [job_id for job_id, flat in records.items() if flat.get("pipeline") == pipeline])
            for pipeline in (POOLED, PARTED)
        )
        lost = lost_parts(parted, records)
        killed = slain(bodies, self.processes.history)
        return Evidence(
            planned=self.plan.tokens(),
            client=client,
            bodies=bodies,
            odd_bodies=odd,
            records=records,
            heard=dict(self.witness.heard),
            differences=disagreements(
                self.store,
                records,
                [line for line in client if line["what"] == "removed"],
                purged=bool(purged),
                of_parts=sum(sum(one.values()) for one in lost.values()),
            ),
            artifacts=read_artifacts(self.settings.data_dir / "artifacts"),
            kept=read_kept(self.store),
            folders=self._folders(),
            orphans=sorted(self.processes.orphans),
            stuck=self.processes.stuck,
            undeclared=[*load.told.undeclared, *canvases.undeclared],
            given_up=[*load.told.given_up, *canvases.given_up],
            unmoved=sorted(unmoved),
            odd_slots=self.slots.wrong(records, purged),
            crashes=crashes(crashed, self.around.clock.real, bodies),
            causes=causes(faults.done, self.processes.history, self.settings.lease_seconds, faults.away, killed),
            slain=killed,
            hops=hops(pooled),
            lost_parts=lost,
            armed=frozenset(self.system.failpoints),
            unexpected=[] if self.system.failpoints else self._unexpected(faults, killed),
            canvas_states=states(self.app, client),
            purged=purged,
        )


def kinds(outcome: Outcome) -> Counter[str]:
    """How many faults of each kind were done."""
    return Counter(done.kind for done in outcome.faults)
