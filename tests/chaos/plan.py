"""What a run will do, all of it drawn from one seed before it begins: the jobs, their cancels, the faults and their moments.

The same seed gives the same plan. What becomes of it depends on timing, as in life: a fault names its victim by a number that is
taken modulo those alive.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: Shares of the jobs that do not simply succeed.
CANCELLED, FAILING, POISON = 0.05, 0.05, 0.01
#: Of the good ones, those that work in a child process; of the cancelled ones, those that hear no cancel.
IN_PROCESS, DEAF = 0.05, 0.1
#: Share of the jobs that come over HTTP.
OVER_HTTP = 0.3
TENANTS = (("acme", "main"), ("acme", "blog"), ("umbrella", "main"), ("default", "main"))

#: Faults of the full form, which has 10,000 jobs; others have their share.
FULL: Mapping[str, int] = {
    "kill_worker": 90,
    "kill_child": 130,
    "stop_worker": 15,
    "stop_child": 10,
    "stop_tree": 15,
    "stop_maintenance": 5,
    "term_worker": 15,
    "roll_workers": 3,
    "kill_api": 12,
    "kill_beat": 12,
    "kill_maintenance": 12,
    "kill_server": 12,
    "drop_clients": 15,
}
FULL_JOBS = 10_000
#: Of the short form, which takes about a minute.
SHORT: Mapping[str, int] = {
    "kill_worker": 4,
    "kill_child": 6,
    "stop_worker": 1,
    "stop_child": 1,
    "stop_tree": 1,
    "term_worker": 1,
    "kill_api": 1,
    "kill_beat": 1,
    "kill_maintenance": 1,
    "kill_server": 1,
    "drop_clients": 1,
}

Kind = Literal["good", "cancel", "fail", "flaky", "poison"]


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


@dataclass(frozen=True, slots=True)
class Fault:
    """Something bad to do."""

    #: Seconds after the start of the load.
    at: float
    kind: str
    #: Which victim, modulo those there are.
    pick: int
    #: How long it is stopped or down, in seconds; kinds that last no time ignore it.
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a run."""

    seed: int
    #: How long the load and the faults take, in seconds.
    seconds: float
    jobs: tuple[PlannedJob, ...] = field(repr=False)
    faults: tuple[Fault, ...] = field(repr=False)


def make_plan(seed: int, jobs: int, seconds: float, faults: Mapping[str, int], *, lease_seconds: float) -> Plan:
    """
    :param faults: how many of each kind.
    :param lease_seconds: pauses and outages last up to twice as long, so that leases do end in some of them.
    """
    rng = random.Random(seed)
    planned = tuple(_job(rng, number, seconds * number / jobs) for number in range(jobs))
    drawn = [
        Fault(rng.uniform(0.02, 0.97) * seconds, kind, rng.randrange(10_000), _pause(rng, lease_seconds))
        for kind in sorted(faults)
        for _ in range(faults[kind])
    ]
    return Plan(seed, seconds, planned, tuple(sorted(drawn, key=lambda fault: fault.at)))


def share_of_full(jobs: int) -> dict[str, int]:
    """The faults for so many jobs, as dense as in the full form."""
    return {kind: math.ceil(count * jobs / FULL_JOBS) for kind, count in FULL.items()}


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
    if drawn < 0.85:
        return rng.uniform(0.02, 0.25)
    return rng.uniform(0.4, 1.0) if drawn < 0.98 else rng.uniform(3, 6)
