"""What a run measured: executions beyond what was needed, and how soon a dead worker's jobs ran again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.faults import Done
from tests.chaos.journal import HOP, Body
from tests.chaos.processes import total_down
from tests.chaos.witness import Heard

#: How long a cancel may take to reach a body, in seconds.
CANCEL_KNOWN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Executions:
    """How often bodies ran."""

    total: int
    #: Executions beyond those that a job was due (its first start, one after each retryable failure, one for each further pool): what a
    #: fault cut short ran again. Poison jobs apart: they die of themselves.
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
    removed = seen.removed
    for job_id, all_runs in by_job(body for body in seen.bodies if "~" not in body.job_id).items():
        # Parts have no record that counts what became of them. Of a job, the record says nothing of a job that had the id before.
        runs = [body for body in all_runs if body.started > removed.get(job_id, 0.0)]
        flat = seen.records.get(job_id, {})
        attempts, crashes, handbacks = (int(flat.get(name, 0)) for name in ("attempt", "crashes", "handbacks"))
        # Of a job that goes from pool to pool each segment is due once.
        attempts += max(0, len({stage for body in runs for stage in body.stages}) - 1)
        poison = job_id in accepted and accepted[job_id].kind == "poison"
        again += 0 if poison else max(0, len(runs) - attempts)
        handed_back += 0 if poison else min(handbacks, max(0, len(runs) - attempts))
        repeated += sum(n - 1 for n in Counter((body.over, *body.stages) for body in runs if body.over in ("end", HOP)).values())
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

    def percentile(self, share: float) -> float | None:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def rescues(bodies: Iterable[Body], kills: Iterable[Done], outages: Sequence[tuple[float, float]], *, of_children: bool) -> Rescues:
    """
    :param kills: of workers (`of_children` false) or of single children.
    :param outages: when the server, or every maintenance worker, was down: `(from, to)`.
    """
    by_process: dict[object, list[Body]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)
    for body in bodies:
        by_process[(body.mark, body.pid) if of_children else body.mark].append(body)
        starts[body.job_id].append(body.started)
    times: list[tuple[float, str, str]] = []
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
    return Rescues([seconds for seconds, *_ in times], sorted(times, reverse=True))


def endings(records: Mapping[str, Mapping[str, str]]) -> Counter[str]:
    return Counter(flat["status"] for flat in records.values())
