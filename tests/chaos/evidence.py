"""All that a run leaves to be judged, gathered once the system is at rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from pipeline_jobs.store.store import Store
from tests.chaos.crashes import Cause, Crash, apart_seconds, read_histories
from tests.chaos.journal import Body
from tests.chaos.pipeline import ARTIFACT
from tests.chaos.plan import PlannedJob
from tests.chaos.witness import Heard
from tests.integration.recount import differences


@dataclass(frozen=True, slots=True)
class Evidence:
    """From outside the system, except `records`, `differences` and `counters`."""

    #: The planned jobs, by token.
    planned: Mapping[str, PlannedJob]
    #: Lines of the client journal.
    client: Sequence[Mapping[str, Any]]
    bodies: Sequence[Body]
    #: What the body journal cannot explain.
    odd_bodies: Sequence[str]
    #: The store's hash of each job.
    records: Mapping[str, Mapping[str, str]]
    #: How each job was heard to end, as often as it was heard.
    heard: Mapping[str, Sequence[Heard]]
    #: What of the store's indexes and counters does not agree with the records.
    differences: Sequence[str]
    #: Text of the artifact of each run that has one: `{tenant}/{workspace}/{job}/{fence}`.
    artifacts: Mapping[str, str]
    #: Folders that are kept after the record of their job.
    kept: Set[str] = frozenset()
    #: Jobs that stood still although nothing disturbed them any more: the clock was set on to see that they end at all.
    unmoved: Sequence[str] = ()
    #: Left over at the end: working folders, processes.
    folders: Sequence[str] = ()
    orphans: Sequence[str] = ()
    #: Processes that did not end after SIGTERM.
    stuck: Sequence[str] = ()
    #: HTTP answers of 5xx that are not declared, and what a submit in process raised that is not.
    undeclared: Sequence[str] = ()
    #: Jobs that nobody accepted although their client tried for minutes.
    given_up: Sequence[str] = ()
    #: Slots of schedules that were not fired or skipped exactly once.
    odd_slots: Sequence[str] = ()
    #: Runs that count as crashed, and what was done that may have ended a run.
    crashes: Sequence[Crash] = ()
    causes: Sequence[Cause] = ()
    #: Roles whose processes were told to die at a named place.
    armed: Set[str] = frozenset()
    #: When a worker was killed by a job of its own, by its mark.
    slain: Mapping[str, float] = field(default_factory=dict)
    #: How often each job of several pools went on in another one.
    hops: Mapping[str, int] = field(default_factory=dict)
    #: Of each job in parts how often a run of each of these is told to have crashed.
    lost_parts: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    #: Ends of processes that nobody asked for.
    unexpected: Sequence[str] = ()
    #: What Celery says of the last job of each canvas.
    canvas_states: Mapping[str, str] = field(default_factory=dict)
    #: Jobs whose time was made to pass after their end: they must be gone.
    purged: Set[str] = frozenset()

    @property
    def accepted(self) -> dict[str, PlannedJob]:
        """What the clients were promised, and is still due: job id -> what they asked for."""
        lines = [line for line in self.client if line["what"] == "accepted" and line["job_id"] not in self.purged]
        # Of two lives of an id the second.
        return {line["job_id"]: self.planned[line["token"]] for line in lines}

    @property
    def removed(self) -> dict[str, float]:
        """When an id was free again: what happened before was another job's."""
        return {line["job_id"]: line["at"] for line in self.client if line["what"] == "removed"}

    @property
    def ends(self) -> dict[str, Sequence[Heard]]:
        """How each job of now was heard to end. What follows in a canvas has a result before it is a job, and perhaps never is one.

        Where the client broke off as it sent a canvas, nobody knows the ids of that: then it can only have failed, and never ran.
        """
        removed, known = self.removed, {*self.records, *self.accepted, *self.purged, *(body.job_id for body in self.bodies)}
        promised = {job_id for line in self.client if line["what"] == "canvas" for job_id in line["ids"]} - set(self.records)
        of_now = {job_id: [one for one in heard if one.at > removed.get(job_id, 0.0)] for job_id, heard in self.heard.items()}
        promised |= {job_id for job_id, heard in of_now.items() if job_id not in known and {one.status for one in heard} == {"failed"}}
        return {job_id: heard for job_id, heard in of_now.items() if heard and job_id not in promised}


@dataclass(slots=True)
class Verdict:
    """What was found. `violations`: what must not be, by the promise it breaks."""

    violations: dict[str, list[str]] = field(default_factory=dict)

    def must_not(self, promise: str, found: Sequence[str]) -> None:
        self.violations[promise] = list(found)

    @property
    def ok(self) -> bool:
        return not any(self.violations.values())

    def text(self) -> str:
        return "\n".join(f"{promise}: {len(found)}, such as {found[:5]}" for promise, found in self.violations.items() if found)


def read_records(store: Store) -> dict[str, dict[str, str]]:
    """Every job's hash."""
    prefix = store.keys("job", "")
    return {key.removeprefix(prefix): store.client.hgetall(key) for key in store.client.scan_iter(prefix + "*", count=1000)}


def read_artifacts(root: Path) -> dict[str, str]:
    """Text of each run's artifact by its folder, relative to the root."""
    return {str(path.parent.relative_to(root)): path.read_text() for path in root.glob(f"*/*/*/*/{ARTIFACT}")}


def read_kept(store: Store) -> set[str]:
    """Folders of artifacts whose job's record is gone, and whose own time has not come."""
    return {store.client.hget(key, "path") for key in store.client.scan_iter(store.keys("kept", "*"), count=1000, _type="hash")}


def at_work(store: Store) -> set[str]:
    """Jobs that have not ended, and those of whose end Celery has not been told: the next one of their chain may not be there yet.

    While the server cannot be asked: one that nobody knows.
    """
    try:
        with store.client.pipeline() as at_once:
            for index in (store.keys("status", "queued"), store.keys("status", "running"), store.keys("continuations")):
                at_once.zrange(index, 0, -1)
            return {job_id for ids in at_once.execute() for job_id in ids}
    except redis.RedisError:
        return {"?"}


def crashes_counted(store: Store) -> str:
    """While the server cannot be asked: one that is no number."""
    try:
        return str(store.client.hget(store.keys("counters"), "crashes"))
    except redis.RedisError:
        return "?"


def apart_for(store: Store, jobs: Iterable[str]) -> float:
    """The longest time for which one of these jobs waits to start apart, by what its log says last, in seconds."""
    try:
        found = read_histories(store, sorted(jobs))
    except redis.RedisError:
        return 0.0
    return max((apart_seconds(log[-1]) for log in found.values() if log), default=0.0)


def disagreements(
    store: Store,
    records: Mapping[str, Mapping[str, str]],
    removed: Sequence[Mapping[str, Any]] = (),
    *,
    purged: bool = False,
    of_parts: int = 0,
) -> list[str]:
    """Indexes and counters against the records, for a system at rest. Counters that never fall are left out once jobs were purged.

    :param removed: what jobs were that clients removed: the lines of the journal.
    :param of_parts: crashes that no record counts.
    """
    found = differences(store) + _stranded(store) + [f"{split} has something left" for split in store.lines("ended_splits")]
    return found if purged else found + _counters(store, [*records.values(), *removed], of_parts)


def _counters(store: Store, jobs: Sequence[Mapping[str, Any]], of_parts: int) -> list[str]:
    found = []
    created: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for flat in jobs:
        created[f"created|{flat['tenant_id']}|{flat['workspace_id']}"] += 1
        if flat["status"] not in ("queued", "running"):
            ended[f"completed|{flat['tenant_id']}|{flat['workspace_id']}|{flat['status']}"] += 1
    counters = {name: int(n) for name, n in store.client.hgetall(store.keys("counters")).items()}
    counted = {name: n for name, n in counters.items() if name.partition("|")[0] in ("created", "completed")}
    if counted != dict(created | ended):
        found.append(f"counters {counted} instead of {dict(created | ended)}")
    if crashes := counters.get("crashes", 0) - of_parts - sum(int(flat.get("crashes", 0)) for flat in jobs):
        found.append(f"counter of crashes: {crashes} too many")
    return found


def _stranded(store: Store) -> list[str]:
    live = set(store.client.zrange(store.keys("workers"), 0, -1))
    stranded = sum(int(n) for worker, n in store.client.hgetall(store.keys("running")).items() if worker not in live)
    counted = int(store.client.get(store.keys("stranded")) or 0)
    return [] if counted == stranded else [f"stranded {counted} instead of {stranded}"]
