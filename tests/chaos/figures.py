"""What a run measured: executions beyond what was needed, and how soon a dead worker's jobs ran again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.faults import Done, Outages
from tests.chaos.journal import Body
from tests.chaos.processes import Incarnation, total_down
from tests.chaos.witness import Heard

#: How long a cancel may take to reach a body, in seconds.
CANCEL_KNOWN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Executions:
    """How often bodies ran."""

    total: int
    #: Executions beyond the attempts a job was due (first start, and one after each retryable failure): what a fault cut short ran again.
    #: Poison jobs apart: they die of themselves.
    again: int
    #: Of those, the ones after a hand-back.
    handed_back: int
    #: Executions that came to their end although an earlier one of the same job had.
    repeated: int
    #: Executions that no attempt, crash or hand-back of the record accounts for.
    unaccounted: int
    #: Times that a body started while another of the same job was still at work.
    overlapping: int


def by_job(bodies: Iterable[Body]) -> dict[str, list[Body]]:
    """The executions of each job, in the order of their starts."""
    runs: dict[str, list[Body]] = defaultdict(list)
    for body in bodies:
        runs[body.job_id].append(body)
    return runs


def executions(seen: Evidence) -> Executions:
    accepted = seen.accepted
    again = handed_back = repeated = unaccounted = overlapping = 0
    for job_id, runs in by_job(seen.bodies).items():
        flat = seen.records.get(job_id, {})
        attempts, crashes, handbacks = (int(flat.get(name, 0)) for name in ("attempt", "crashes", "handbacks"))
        poison = job_id in accepted and accepted[job_id].kind == "poison"
        again += 0 if poison else max(0, len(runs) - attempts)
        handed_back += 0 if poison else min(handbacks, max(0, len(runs) - attempts))
        repeated += max(0, sum(body.over == "end" for body in runs) - 1)
        unaccounted += max(0, len(runs) - attempts - crashes - handbacks)
        overlapping += sum(before.over_at is not None and before.over_at > after.started for before, after in pairwise(runs))
    return Executions(len(seen.bodies), again, handed_back, repeated, unaccounted, overlapping)


def ghosts(runs: Mapping[str, Sequence[Body]], heard: Mapping[str, Sequence[Heard]]) -> list[str]:
    """Jobs that began once more after they were heard to have ended."""
    return [job_id for job_id, ends in heard.items() if any(body.started > min(end.at for end in ends) for body in runs.get(job_id, ()))]


def ran_although_cancelled(runs: Mapping[str, Sequence[Body]], client: Iterable[Mapping[str, Any]]) -> list[str]:
    """Jobs whose body came to its end well after their client was told that the cancel is on its way."""
    return [
        line["job_id"]
        for line in client
        if line["what"] == "cancel" and any(_ended_after(body, line["at"] + CANCEL_KNOWN_SECONDS) for body in runs.get(line["job_id"], ()))
    ]


def _ended_after(body: Body, moment: float) -> bool:
    return body.over == "end" and body.over_at is not None and body.over_at > moment


@dataclass(frozen=True, slots=True)
class Rescues:
    """Seconds from a kill to the next start of each job that it hit, without the time when nothing could rescue."""

    times: Sequence[float]
    #: The same with the job and the killed process, longest first.
    longest: Sequence[tuple[float, str, str]] = ()
    #: Its two parts, of the jobs whose log is there: until the job was back in the queue, and from then on.
    to_the_queue: Sequence[float] = ()
    to_the_start: Sequence[float] = ()


def percentile(times: Sequence[float], share: float) -> float | None:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def rescues(
    bodies: Iterable[Body],
    kills: Iterable[Done],
    outages: Sequence[tuple[float, float]],
    *,
    of_children: bool,
    requeued: Mapping[str, Sequence[float]] | None = None,
) -> Rescues:
    """
    :param kills: of workers (`of_children` false) or of single children.
    :param outages: when the server, or every maintenance worker, was down: `(from, to)`.
    :param requeued: when each job went back to the queue, by its log.
    """
    by_process: dict[object, list[Body]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)
    for body in bodies:
        by_process[(body.mark, body.pid) if of_children else body.mark].append(body)
        starts[body.job_id].append(body.started)
    times: list[tuple[float, str, str]] = []
    parts: list[tuple[float, float]] = []
    for kill in kills:
        held = by_process[(kill.mark, kill.pid) if of_children else kill.mark]
        for body in held:
            # Not one that was killed before this, and started again elsewhere since.
            latest = max((start for start in starts[body.job_id] if start <= kill.at), default=None)
            if body.over is None and body.started == latest:
                following = min((start for start in starts[body.job_id] if start > kill.at), default=None)
                if following is not None:
                    seconds = following - kill.at - total_down(outages, kill.at, following)
                    times.append((seconds, body.job_id, f"{kill.mark} at {kill.at:.3f}"))
                    back = [at for at in (requeued or {}).get(body.job_id, ()) if kill.at < at <= following]
                    parts += [_parts(kill.at, max(back), following, outages)] if back else []
    queue, start = [one for one, _ in parts], [two for _, two in parts]
    return Rescues([seconds for seconds, *_ in times], sorted(times, reverse=True), queue, start)


def _parts(kill: float, back: float, following: float, outages: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return back - kill - total_down(outages, kill, back), following - back - total_down(outages, back, following)


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
