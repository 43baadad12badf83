"""What a run measured: executions beyond what was needed, and how soon a dead worker's jobs ran again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.evidence import Evidence
from tests.chaos.faults import Done, Outages
from tests.chaos.journal import Body
from tests.chaos.processes import Incarnation, total_down


@dataclass(frozen=True, slots=True)
class Executions:
    """How often bodies ran."""

    total: int
    #: Executions beyond the attempts a job was due (first start, and one after each retryable failure); poison jobs apart: they die of
    #: themselves.
    again: int
    #: Executions that no attempt, crash or hand-back of the record accounts for.
    unaccounted: int
    #: Times that a body started while another of the same job was still at work.
    overlapping: int


def executions(seen: Evidence) -> Executions:
    bodies: dict[str, list[Body]] = defaultdict(list)
    for body in seen.bodies:
        bodies[body.job_id].append(body)
    accepted = seen.accepted
    again = unaccounted = overlapping = 0
    for job_id, runs in bodies.items():
        flat = seen.records.get(job_id, {})
        attempts, crashes, handbacks = (int(flat.get(name, 0)) for name in ("attempt", "crashes", "handbacks"))
        poison = job_id in accepted and accepted[job_id].kind == "poison"
        again += 0 if poison else max(0, len(runs) - attempts)
        unaccounted += max(0, len(runs) - attempts - crashes - handbacks)
        overlapping += sum(before.over_at is not None and before.over_at > after.started for before, after in pairwise(runs))
    return Executions(len(seen.bodies), again, unaccounted, overlapping)


@dataclass(frozen=True, slots=True)
class Rescues:
    """Seconds from a kill to the next start of each job that it hit, without the time when nothing could rescue."""

    times: Sequence[float]

    def percentile(self, share: float) -> float | None:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def rescues(seen: Evidence, kills: Iterable[Done], outages: Sequence[tuple[float, float]], *, of_children: bool) -> Rescues:
    """
    :param kills: of workers (`of_children` false) or of single children.
    :param outages: when the server, or every maintenance worker, was down: `(from, to)`.
    """
    by_process: dict[object, list[Body]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)
    for body in seen.bodies:
        by_process[(body.mark, body.pid) if of_children else body.mark].append(body)
        starts[body.job_id].append(body.started)
    times = []
    for kill in kills:
        held = by_process[(kill.mark, kill.pid) if of_children else kill.mark]
        for body in held:
            if body.over is None and body.started <= kill.at:
                following = min((start for start in starts[body.job_id] if start > kill.at), default=None)
                if following is not None:
                    times.append(following - kill.at - total_down(outages, kill.at, following))
    return Rescues(times)


def all_outages(outages: Outages, history: Sequence[Incarnation], maintenance: Sequence[str], end: float) -> list[tuple[float, float]]:
    """When the server was down, or all maintenance workers were (dead, starting or stopped)."""
    return [*outages.server, *_together([_down(name, outages.paused.get(name, []), history, end) for name in maintenance])]


def _down(name: str, paused: Sequence[tuple[float, float]], history: Sequence[Incarnation], end: float) -> list[tuple[float, float]]:
    ups = [(one.ready, one.killed or one.termed or end) for one in history if one.role.name == name and one.ready is not None]
    down, upto = list(paused), 0.0
    for ready, gone in sorted(ups):
        down.append((upto, ready))
        upto = gone
    return [*down, (upto, end)] if upto < end else down


def _together(downs: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The intervals in which all are down at once."""
    common = list(downs[0])
    for other in downs[1:]:
        common = [(max(a, c), min(b, d)) for a, b in common for c, d in other if max(a, c) < min(b, d)]
    return common


def endings(records: Mapping[str, Mapping[str, str]]) -> Counter[str]:
    return Counter(flat["status"] for flat in records.values())
