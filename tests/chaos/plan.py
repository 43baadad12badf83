"""What a run will do, all of it drawn from one seed before it begins: the jobs, their cancels, the faults and their moments.

The same seed gives the same plan. What becomes of it depends on timing, as in life: a fault names its victim by a number that is
taken modulo those alive.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.chaos.clock import offsets

#: Shares of the jobs that do not simply succeed.
CANCELLED, FAILING, POISON = 0.05, 0.05, 0.01
#: Share of the jobs that kill their whole worker, where a mix says so.
KILLERS = 0.0015
#: Of the good ones, those that work in a child process; of the cancelled ones, those that hear no cancel.
IN_PROCESS, DEAF = 0.05, 0.1
#: Share of the jobs that come over HTTP.
OVER_HTTP = 0.3
TENANTS = (("acme", "main"), ("acme", "blog"), ("umbrella", "main"), ("default", "main"))

#: Faults of the full form, which has 20,000 jobs; others have their share.
FULL: Mapping[str, int] = {
    "kill_worker": 140,
    "kill_child": 360,
    "kill_api": 30,
    "kill_beat": 25,
    "kill_maintenance": 25,
    "kill_server": 20,
    "pause_server": 24,
    "stop_worker": 10,
    "stop_child": 8,
    "stop_tree": 12,
    "stop_maintenance": 6,
    "clock_step": 20,
    "fill_disk": 8,
    "net_delay": 12,
    "net_drop": 12,
    "net_half_close": 12,
    "term_worker": 20,
    "roll_workers": 3,
    "drop_clients": 20,
}
#: Besides, where Celery's broker is three nodes.
FULL_ON_NODES: Mapping[str, int] = {"kill_broker": 20}
FULL_JOBS = 20_000
#: Of the short form, which takes about a minute.
SHORT: Mapping[str, int] = {
    "kill_worker": 4,
    "kill_child": 6,
    "kill_api": 1,
    "kill_beat": 1,
    "kill_maintenance": 1,
    "kill_server": 1,
    "pause_server": 1,
    "stop_worker": 1,
    "stop_child": 1,
    "stop_tree": 1,
    "clock_step": 2,
    "fill_disk": 1,
    "net_delay": 1,
    "net_drop": 1,
    "net_half_close": 1,
    "term_worker": 1,
    "drop_clients": 1,
}
#: A pause of the server is so many leases long: in each of them all leases that are not renewed end.
SERVER_PAUSE = (1.1, 1.7)
#: A node of the broker is started again after so many leases.
BROKER_DOWN = (0.2, 2.0)
#: Kinds of faults that change how the network is, not a process; they last a lease at most.
SHORT_KINDS = ("net_delay", "net_drop", "net_half_close", "fill_disk")

#: The pipelines of the run beside `chaos`: one with a cap, one that the last worker does not know, one whose jobs go to another pool and
#: back, and one whose jobs have parts there.
CAPPED, NEWER, POOLED, PARTED = "chaos-capped", "chaos-newer", "chaos-pooled", "chaos-parted"
PIPELINES = {"capped": CAPPED, "newer": NEWER, "pooled": POOLED, "parted": PARTED}

Kind = Literal["good", "cancel", "fail", "flaky", "poison"]
Shape = Literal["chord", "chain"]


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the jobs that come in another way than by a plain submit. A job has one of these at most."""

    #: It waits for an earlier job of its tenant.
    dependent: float = 0.0
    #: Sent twice with one idempotency key.
    keyed: float = 0.0
    #: Its id was an earlier job's, which has ended and was removed.
    reused: float = 0.0
    #: Of a pipeline with a cap.
    capped: float = 0.0
    #: Of a pipeline that the last worker does not know.
    newer: float = 0.0
    #: Of a pipeline whose jobs go to another pool and back.
    pooled: float = 0.0
    #: Of a pipeline whose jobs have parts in another pool.
    parted: float = 0.0
    #: In a chord or a chain of jobs.
    canvas: float = 0.0
    #: Whatever way they come: so many of all kill their whole worker.
    killers: float = 0.0


PLAIN = Mix()
EVERYTHING = Mix(dependent=0.05, keyed=0.04, reused=0.04, capped=0.06, newer=0.05, pooled=0.06, parted=0.04, canvas=0.04, killers=KILLERS)


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job to submit."""

    #: Tells it in the journals; comes back in its result and its artifact.
    token: str
    kind: Kind
    #: Seconds after the start of the load.
    at: float
    params: Mapping[str, Any]
    tenant_id: str
    workspace_id: str
    priority: int
    http: bool
    #: Seconds from its acceptance to its cancel.
    cancel_after: float | None = None
    cancel_over_http: bool = False
    pipeline: str = "chaos"
    #: The client's own id for it.
    job_id: str | None = None
    #: Token of the job that had this id before; it is removed when it has ended.
    after: str | None = None
    #: Token of the job that it waits for, and what becomes of it if that one does not complete.
    depends_on: str | None = None
    on_dependency_failure: str = "fail"
    #: It is sent twice, with one idempotency key.
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class PlannedCanvas:
    """Jobs in an order: in a chord `last` follows when all of `members` have completed, in a chain each one follows the one before."""

    shape: Shape
    at: float
    members: tuple[PlannedJob, ...]
    last: PlannedJob


@dataclass(frozen=True, slots=True)
class Fault:
    """Something bad to do."""

    #: Seconds after the start of the load.
    at: float
    kind: str
    #: Which victim, modulo those there are.
    pick: int
    #: How long it is stopped or down, in seconds; of a step of the clock, how far that is ahead from then on. Other kinds ignore it.
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a run."""

    seed: int
    #: How long the load and the faults take, in seconds.
    seconds: float
    jobs: tuple[PlannedJob, ...] = field(repr=False)
    faults: tuple[Fault, ...] = field(repr=False)
    canvases: tuple[PlannedCanvas, ...] = field(default=(), repr=False)

    def tokens(self) -> dict[str, PlannedJob]:
        """Every job that may be accepted, by its token."""
        in_canvases = [job for canvas in self.canvases for job in (*canvas.members, canvas.last)]
        return {job.token: job for job in (*self.jobs, *in_canvases)}


def make_plan(seed: int, jobs: int, seconds: float, faults: Mapping[str, int], *, lease_seconds: float, mix: Mix = PLAIN) -> Plan:
    """
    :param faults: how many of each kind.
    :param lease_seconds: pauses and outages last up to twice as long, so that leases do end in some of them.
    """
    rng = random.Random(seed)
    planned = [_job(rng, number, seconds * number / jobs) for number in range(jobs)]
    drawn = [
        Fault(rng.uniform(0.02, 0.97) * seconds, kind, rng.randrange(10_000), _length(rng, kind, lease_seconds))
        for kind in sorted(faults)
        for _ in range(faults[kind])
    ]
    singles, canvases = _mixed(rng, planned, mix)
    singles = _with_killers(rng, singles, math.ceil(jobs * mix.killers))
    return Plan(seed, seconds, tuple(singles), tuple(_with_offsets(rng, drawn, seconds)), tuple(canvases))


def share_of_full(jobs: int, *, nodes: bool = False) -> dict[str, int]:
    """The faults for so many jobs, as dense as in the full form. :param nodes: Celery's broker is three nodes."""
    full = {**FULL, **(FULL_ON_NODES if nodes else {})}
    return {kind: math.ceil(count * jobs / FULL_JOBS) for kind, count in full.items()}


def _length(rng: random.Random, kind: str, lease_seconds: float) -> float:
    if kind == "pause_server":
        return lease_seconds * rng.uniform(*SERVER_PAUSE)
    if kind in SHORT_KINDS:
        return rng.uniform(0.5, lease_seconds)
    if kind == "kill_broker":
        return lease_seconds * rng.uniform(*BROKER_DOWN)
    return _pause(rng, lease_seconds)


def _with_offsets(rng: random.Random, faults: Sequence[Fault], seconds: float) -> list[Fault]:
    """In the order of their moments; steps of the clock know where to."""
    ordered = sorted(faults, key=lambda fault: fault.at)
    moments = [fault.at for fault in ordered if fault.kind == "clock_step"]
    ahead = iter(offsets(rng, moments, seconds))
    return [replace(fault, seconds=next(ahead)) if fault.kind == "clock_step" else fault for fault in ordered]


def _mixed(rng: random.Random, jobs: Sequence[PlannedJob], mix: Mix) -> tuple[list[PlannedJob], list[PlannedCanvas]]:
    """The same jobs, some of them submitted in other ways."""
    singles: list[PlannedJob] = []
    canvases: list[PlannedCanvas] = []
    names = ("dependent", "keyed", "reused", "canvas", *PIPELINES)
    shares = [getattr(mix, name) for name in names]
    for job in jobs:
        way = rng.choices((*names, ""), weights=(*shares, 1 - sum(shares)))[0]
        if way == "dependent" and (parent := _parent(rng, singles, job)):
            singles.append(replace(job, depends_on=parent.token, on_dependency_failure=rng.choice(("fail", "cancel", "run"))))
        elif way == "keyed":
            singles.append(replace(job, keyed=True))
        elif way == "reused":
            singles += _two_lives(rng, job)
        elif way == "canvas":
            canvases.append(_canvas(rng, job))
        elif way in PIPELINES:
            singles.append(replace(job, pipeline=PIPELINES[way]))
        else:
            singles.append(job)
    return singles, canvases


def _with_killers(rng: random.Random, jobs: Sequence[PlannedJob], count: int) -> list[PlannedJob]:
    """The same jobs, so many of which kill their worker: good ones otherwise, each of which does run, and itself counts its crashes."""
    good = [job.token for job in jobs if job.kind == "good" and not (job.job_id or job.depends_on or job.pipeline == PARTED)]
    chosen = set(rng.sample(good, count))
    return [_killer(job) if job.token in chosen else job for job in jobs]


def _killer(job: PlannedJob) -> PlannedJob:
    return replace(job, kind="poison", params={"token": job.token, "seconds": job.params["seconds"], "poison": "worker"})


def _parent(rng: random.Random, before: Sequence[PlannedJob], job: PlannedJob) -> PlannedJob | None:
    """One of the last jobs of the same tenant, and not one that is removed."""
    near = [one for one in before[-30:] if one.tenant_id == job.tenant_id and one.job_id is None]
    return rng.choice(near) if near else None


def _two_lives(rng: random.Random, job: PlannedJob) -> list[PlannedJob]:
    """A job, and another one of any tenant with the same id. The first is long enough to be hit, so that a run of it may still be about."""
    first = replace(_plain(job), job_id=f"again-{job.token}", params={**_plain(job).params, "seconds": round(rng.uniform(0.1, 0.6), 3)})
    tenant_id, workspace_id = rng.choice(TENANTS)
    second = replace(first, token=f"{job.token}b", after=job.token, tenant_id=tenant_id, workspace_id=workspace_id)
    return [first, replace(second, params={**first.params, "token": second.token})]


def _canvas(rng: random.Random, job: PlannedJob) -> PlannedCanvas:
    """A chord or chain of two or three and one more; now and then a member fails."""
    members = tuple(_member(job, f"{job.token}m{n}", rng.random() < FAILING) for n in range(rng.choice((2, 3))))
    return PlannedCanvas(rng.choice(("chord", "chain")), job.at, members, _member(job, f"{job.token}last", False))


def _member(job: PlannedJob, token: str, fails: bool) -> PlannedJob:
    plain = replace(_plain(job), token=token, params={"token": token, "seconds": round(min(job.params["seconds"], 0.5), 3)})
    return replace(plain, kind="fail", params={**plain.params, "fail": "always"}) if fails else plain


def _plain(job: PlannedJob) -> PlannedJob:
    """The same job, in process, that simply succeeds."""
    params = {"token": job.token, "seconds": job.params["seconds"]}
    return replace(job, kind="good", params=params, cancel_after=None, http=False)


def _pause(rng: random.Random, lease_seconds: float) -> float:
    return rng.uniform(0, 0.5) if rng.random() < 0.5 else rng.uniform(0.5, 2 * lease_seconds)


def _job(rng: random.Random, number: int, at: float) -> PlannedJob:
    kind = _kind(rng.random())
    tenant_id, workspace_id = rng.choice(TENANTS)
    token = f"t{number:06d}"
    params: dict[str, Any] = {"token": token, "seconds": round(_seconds(rng), 3)}
    cancel_after = None
    if kind == "cancel":
        params["seconds"] = round(rng.uniform(0.1, 3.0), 3)
        params["deaf"] = rng.random() < DEAF
        cancel_after = rng.uniform(0, 2.5)
    elif kind == "poison":
        params["poison"] = rng.choice(("kill", "segfault", "memory"))
    elif kind in ("fail", "flaky"):
        params["fail"] = "always" if kind == "fail" else "once"
    else:
        params["process"] = rng.random() < IN_PROCESS
    return PlannedJob(
        token=token,
        kind=kind,
        at=at,
        params=params,
        tenant_id=tenant_id,
        workspace_id=workspace_id,
        # None below 0: a rescued job would rightly wait behind all others, and tell nothing of the rescue.
        priority=5 if rng.random() < 0.1 else 0,
        http=rng.random() < OVER_HTTP,
        cancel_after=cancel_after,
        cancel_over_http=rng.random() < 0.5,
    )


def _kind(drawn: float) -> Kind:
    if drawn < CANCELLED:
        return "cancel"
    if drawn < CANCELLED + FAILING:
        return "fail" if drawn < CANCELLED + FAILING / 2 else "flaky"
    return "poison" if drawn < CANCELLED + FAILING + POISON else "good"


def _seconds(rng: random.Random) -> float:
    """Mostly short, some long enough to be hit by several faults."""
    drawn = rng.random()
    if drawn < 0.88:
        return rng.uniform(0.01, 0.12)
    return rng.uniform(0.3, 0.8) if drawn < 0.985 else rng.uniform(2, 4)
