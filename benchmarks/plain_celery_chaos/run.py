"""One run on plain Celery: load, the faults, rest, and what became of what was accepted."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from benchmarks.plain_celery_chaos.app import VISIBILITY_SECONDS, app, body
from tests.chaos.faults import Done, Faults
from tests.chaos.figures import Rescues, by_job, ghosts, ran_although_cancelled, rescues
from tests.chaos.journal import Body, ClientJournal, read_bodies
from tests.chaos.load import Load
from tests.chaos.plan import Plan, PlannedJob
from tests.chaos.processes import Processes, Role
from tests.chaos.witness import Witness
from tests.servers import Server
from tests.stack import ROOT

TICK_SECONDS = 0.1
#: How long after the last fault everything may take to end, in seconds: the visibility timeout, kombu's look for what has passed it
#: (every 100 s), and time to run it.
REST_SECONDS = VISIBILITY_SECONDS + 100 + 80
UP_SECONDS = 90.0
READY = {"SUCCESS", "FAILURE", "REVOKED"}


class PlainLoad(Load):
    """Submits and cancels as a program that uses Celery does."""

    def __init__(self, jobs: tuple[PlannedJob, ...], celery: Celery, journal: ClientJournal) -> None:
        super().__init__(jobs, None, "", journal)  # type: ignore[arg-type]
        self._celery = celery

    def _submit_core(self, job: PlannedJob) -> str | None:
        try:
            return str(body.apply_async((dict(job.params),)).id)
        except (OperationalError, redis.RedisError, OSError, RuntimeError) as error:
            # RuntimeError: Celery's result consumer gave up reconnecting.
            self.told.refused[type(error).__name__] += 1
            return None

    def _cancel_core(self, job_id: str) -> tuple[str, bool] | None:
        try:
            self._celery.control.revoke(job_id, terminate=True)
        except (OperationalError, redis.RedisError, OSError):
            return None
        return "told", True


@dataclass(frozen=True, slots=True)
class Plain:
    """What was found. Poison tasks are told apart: plain Celery runs them for ever."""

    plan: Plan
    accepted: int
    #: No result, and no message that could still make one.
    lost: list[str]
    #: No result at the end of the rest, although there is a message or a STARTED record.
    stuck: list[str]
    #: The body came to its end; the result says that it failed, or there is none.
    misreported: list[str]
    #: The body came to its end more than once.
    twice: list[str]
    #: Executions that began after the task was heard to have ended.
    ghosts: list[str]
    #: More than one end was heard.
    ended_twice: list[str]
    #: Told to be cancelled before its end, and its body came to the end all the same (begun before the cancel, or even after it).
    cancelled_but_ran: list[str]
    cancels: int
    poison: int
    #: Executions of poison tasks, and how many of them have a result.
    poison_runs: int
    poison_ended: int
    orphans: list[str]
    unexpected: list[str]
    faults: list[Done]
    rescues: Rescues
    executions: int


def run_plain(plan: Plan, folder: Path, *, workers: int, say: Callable[[str], None]) -> Plain:
    """Carry a plan out on plain Celery; its faults may name workers, children, the server and connections only."""
    server = Server(folder / "server").start()
    journal_path = folder / "bodies.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PLAIN_REDIS_URL": server.url, "PLAIN_JOURNAL": str(journal_path)}
    processes = Processes(_roles(workers), secrets.token_hex(6), folder / "logs", environment, ROOT)
    app.conf.update(broker_url=server.url, result_backend=server.url)
    journal, witness = ClientJournal(folder / "client.log"), Witness(server.url)
    try:
        load = PlainLoad(plan.jobs, app, journal)
        return _Run(plan, folder, server, processes, journal, witness, say).go(load, journal_path)
    finally:
        witness.stop()
        processes.clear()
        app.close()
        journal.close()
        server.stop()


def _roles(workers: int) -> list[Role]:
    return [_role(f"w{number}") for number in range(1, workers + 1)]


def _role(name: str) -> Role:
    options = ("-n", f"{name}@plain", "-c", "2", "--loglevel=INFO")
    command = (sys.executable, "-m", "celery", "-A", "benchmarks.plain_celery_chaos.app", "worker", *options)
    return Role(name, "worker", command, lambda log: f"{name}@plain ready" in log)


@dataclass(slots=True)
class _Run:
    plan: Plan
    folder: Path
    server: Server
    processes: Processes
    journal: ClientJournal
    witness: Witness
    say: Callable[[str], None]

    def go(self, load: PlainLoad, journal_path: Path) -> Plain:
        self.processes.start_all()
        self._tick_until(self.processes.all_up, UP_SECONDS)
        with (self.folder / "faults.log").open("a", buffering=1) as log:
            faults = Faults(self.plan.faults, self.processes, self.server, lambda line: print(line, file=log))
            self.witness.start()
            load.start()
            self._under_load(load, faults)
        self.say("no more faults; waiting for the tasks to end")
        accepted = self._accepted()
        waited_for = {task_id for task_id, job in accepted.items() if job.kind != "poison"}
        with self.server.client() as client:
            self._tick_until(lambda: not waited_for - _ready(client), REST_SECONDS)
            self.processes.look_for_orphans()
            return self._judge(client, accepted, read_bodies(journal_path)[0], faults)

    def _under_load(self, load: PlainLoad, faults: Faults) -> None:
        start, looked = time.monotonic(), 0.0
        while load.submitting or not faults.idle:
            now = time.monotonic() - start
            self.processes.tick()
            faults.tick(now)
            if now - looked > 5:
                looked = now
                self.processes.look_for_orphans()
            time.sleep(TICK_SECONDS)
        load.join()

    def _tick_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            self.processes.tick()
            time.sleep(TICK_SECONDS * 5)

    def _accepted(self) -> dict[str, PlannedJob]:
        planned = {job.token: job for job in self.plan.jobs}
        return {line["job_id"]: planned[line["token"]] for line in self.journal.read() if line["what"] == "accepted"}

    def _judge(self, client: redis.Redis, accepted: Mapping[str, PlannedJob], bodies: Sequence[Body], faults: Faults) -> Plain:
        results, waiting = _results(client), _messages(client)
        runs, told = by_job(bodies), self.journal.read()
        cancelled = {line["job_id"] for line in told if line["what"] == "cancel"}
        good = {task_id: job for task_id, job in accepted.items() if job.kind != "poison"}
        poison = [task_id for task_id, job in accepted.items() if job.kind == "poison"]
        unready = [task_id for task_id in good if results.get(task_id) not in READY]
        heard = self.witness.heard
        return Plain(
            plan=self.plan,
            accepted=len(accepted),
            lost=[task_id for task_id in unready if task_id not in waiting and not _ended(runs[task_id])],
            stuck=[task_id for task_id in unready if task_id in waiting],
            misreported=[
                task_id
                for task_id, job in good.items()
                if _ended(runs[task_id]) and results.get(task_id) != "SUCCESS" and task_id not in cancelled and task_id not in waiting
            ],
            twice=[task_id for task_id in good if len(_ended(runs[task_id])) > 1],
            ghosts=ghosts(runs, {task_id: ends for task_id, ends in heard.items() if task_id in good}),
            ended_twice=[task_id for task_id in good if len(heard.get(task_id, [])) > 1],
            cancelled_but_ran=ran_although_cancelled(runs, told),
            cancels=len(cancelled),
            poison=len(poison),
            poison_runs=sum(len(runs[task_id]) for task_id in poison),
            poison_ended=sum(results.get(task_id) in READY for task_id in poison),
            orphans=sorted(self.processes.orphans),
            unexpected=self.processes.unexpected,
            faults=faults.done,
            rescues=rescues(bodies, [done for done in faults.done if done.kind == "kill_worker"], faults.away, of_children=False),
            executions=len(bodies),
        )


def _ended(runs: Sequence[Body]) -> list[Body]:
    return [one for one in runs if one.over == "end"]


def _results(client: redis.Redis) -> dict[str, str]:
    """Celery's state of each task that has one."""
    found = {}
    for key in client.scan_iter("celery-task-meta-*", count=1000):
        meta = client.get(key)
        if meta is not None:
            found[key.removeprefix("celery-task-meta-")] = json.loads(meta)["status"]
    return found


def _ready(client: redis.Redis) -> set[str]:
    try:
        return {task_id for task_id, status in _results(client).items() if status in READY}
    except redis.RedisError:
        return set()


def _messages(client: redis.Redis) -> set[str]:
    """Ids of the tasks whose message is on the queue, or delivered and not acknowledged."""
    queued = [json.loads(message) for message in client.lrange("celery", 0, -1)]
    delivered = [json.loads(packed)[0] for packed in client.hvals("unacked")]
    return {message["headers"]["id"] for message in (*queued, *delivered)}
