"""Two times, apart: from what ended a run until its job is queued again, and from there until it runs while a slot is free for it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from tests.chaos.crashes import ANSWER_SECONDS, BY_ITS_JOB, TOLERANCE, Cause, Crash
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Done
from tests.chaos.figures import Rescues, by_job
from tests.chaos.journal import Body
from tests.chaos.pipeline import CAP, CAPPED
from tests.chaos.plan import NEWER
from tests.chaos.processes import Incarnation
from tests.chaos.system import TIMES, pool_of

#: Of each worker.
SLOTS = 2
#: How much longer than a fault a worker may take no job, in seconds: until it asks again, or looks at its disk again.
AFTER = {
    "stop_worker": 0.0, "stop_tree": 0.0, "net_delay": 0.0, "net_drop": ANSWER_SECONDS, "net_half_close": ANSWER_SECONDS, "fill_disk": 12.0,
}  # fmt: skip
#: So long after a node of the broker was killed a worker may be told of no job, in seconds: it connects anew, and before it takes anything
#: Celery asks each node for its queues of delayed messages, the dead one again after 1, 3 and 5 s (its step `DelayedDelivery`;
#: kombu may try that one first, and waits 2 s). A message that was lost meanwhile comes again after `hint_seconds`.
NODE_SECONDS = 12.0 + TIMES["hint_seconds"]
#: From the end of a run until the next one begins in its slot, in seconds: the slot is no longer free, as it is given to a job already.
HANDOVER_SECONDS = 0.5
#: The same for a job whose process died. It keeps what that run was charged and waits for its turn, so a slot that another job is given is
#: that one's, from the end of the run before. One that stays empty for longer is free for everybody.
TURN_SECONDS = 3.0
#: A worker tells within so many seconds that a process of its own died: then it was that which ended the run, and not what became of the
#: worker after it.
TOLD_SECONDS = 3.0
#: What a worker's end or pause is called among the causes.
OF_WORKERS, OF_CHILDREN = ("kill_worker", "stop_worker", "stop_tree", "killed", "its own end", BY_ITS_JOB), ("kill_child",)

Interval = tuple[float, float]


def until_requeued(crashes: Iterable[Crash], causes: Sequence[Cause], away: Sequence[Interval], kinds: Sequence[str]) -> Rescues:
    """Seconds from what ended a run until its job was back in the queue.

    :param kinds: `OF_WORKERS` or `OF_CHILDREN`. Of a child whose worker died with it, or before it could tell, it is the worker's.
    :param away: when the server was down or paused. Where it was in between, the time begins with its return: until then nobody could act,
        and leases are longer by so much.
    """
    times = []
    for crash in crashes:
        found = [one for one in causes if crash.body and one.explains(crash)]
        cause = next((one for one in found if one.what in OF_WORKERS), next((one for one in found if one.what in OF_CHILDREN), None))
        if cause is not None and crash.requeued and cause.what in kinds:
            begin = max([cause.begin, *(back for gone, back in away if gone <= crash.at and cause.begin <= back <= crash.at)])
            times.append((crash.at - begin, crash.job_id, f"{cause.what} {cause.mark} at {cause.begin:.3f}"))
    return _rescues(times)


@dataclass(frozen=True, slots=True)
class Slots:
    """Which slots there were, and who was in them."""

    #: When each worker process was there, by its mark: not before it was ready, not while it was stopped, cut off or its disk full.
    up: Mapping[str, Sequence[Interval]]
    #: Whose runs were at work when: until they were over, taken away, or their process ended.
    busy: Mapping[str, Sequence[Interval]]
    #: The same, with the times in which a slot waited for another job that was given it.
    given: Mapping[str, Sequence[Interval]] = field(default_factory=dict)
    #: When a place of the pipeline with a cap was taken.
    held: Sequence[Interval] = ()
    #: Roles of workers that do not know a pipeline.
    unknown: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def free(self, begin: float, end: float, pipeline: str, pool: str, *, in_turn: bool = False) -> float:
        """Seconds of this time in which there was a free slot for a job of the pipeline that waits in the pool.

        :param in_turn: for one that does not go before all others.
        """
        busy = self.given if in_turn else self.busy
        marks = [mark for mark in self.up if pool_of(mark) == pool and mark.split(":")[1] not in self.unknown.get(pipeline, ())]
        ups = {mark: _within(self.up[mark], begin, end) for mark in marks}
        used = {mark: _within(busy.get(mark, ()), begin, end) for mark in marks if ups[mark]}
        of_pipeline = _within(self.held if pipeline == CAPPED.name else (), begin, end)
        changes = [interval for found in (*ups.values(), *used.values(), of_pipeline) for interval in found]
        edges = sorted({begin, end, *chain.from_iterable(changes)})
        total = 0.0
        for left, right in pairwise(edges):
            middle = (left + right) / 2
            room = _count(of_pipeline, middle) < CAP
            if room and any(_count(ups[mark], middle) and _count(used[mark], middle) < SLOTS for mark in used):
                total += right - left
        return total


def of_workers(crashes: Iterable[Crash], causes: Sequence[Cause]) -> list[Crash]:
    """Those of runs that were lost with their worker, whose jobs go before all others. One whose process died alone waits for its turn."""
    return [crash for crash in crashes if crash.body and _is_of_worker(crash, [one for one in causes if one.explains(crash)])]


def _is_of_worker(crash: Crash, found: Sequence[Cause]) -> bool:
    told = any(one.what in OF_CHILDREN and crash.at - one.begin < TOLD_SECONDS for one in found)
    return not told and any(one.what in OF_WORKERS for one in found)


def until_started(
    crashes: Iterable[Crash], bodies: Iterable[Body], slots: Slots, pipelines: Mapping[str, str], *, in_turn: bool = False
) -> Rescues:
    """Seconds from a crashed job's return to the queue until its next start, in which a slot of the pool that it waited in was free for it.
    Not of those that start apart.

    :param in_turn: the jobs do not go before all others.
    """
    times = []
    for crash, following in _next_starts([one for one in crashes if not one.apart], bodies):
        free = slots.free(crash.at, following.started, pipelines.get(crash.job_id, ""), pool_of(following.mark), in_turn=in_turn)
        times.append((free, crash.job_id, f"requeued at {crash.at:.3f}, started at {following.started:.3f}"))
    return _rescues(times)


def waited_apart(crashes: Iterable[Crash], bodies: Iterable[Body]) -> Rescues:
    """Seconds from the return of each job that starts apart to its start."""
    found = _next_starts([one for one in crashes if one.apart], bodies)
    return _rescues([(body.started - crash.at, crash.job_id, f"requeued at {crash.at:.3f}") for crash, body in found])


def _next_starts(crashes: Iterable[Crash], bodies: Iterable[Body]) -> Iterator[tuple[Crash, Body]]:
    """Each crashed run whose job went back to the queue, and the next one of it."""
    runs = by_job(bodies)
    for crash in crashes:
        later = [body for body in runs.get(crash.job_id, ()) if body.started > crash.at - TOLERANCE and body.started > crash.claimed]
        following = min(later, key=lambda body: body.started, default=None)
        # A body that is older than the crash is the crashed run's own.
        if crash.requeued and following is not None and not (crash.body and following.started <= crash.body.started):
            yield crash, following


def slot_times(
    seen: Evidence, history: Iterable[Incarnation], done: Sequence[Done], away: Sequence[Interval], older: str | None
) -> tuple[Rescues, Rescues]:
    """`until_started` of a whole run: of jobs whose worker died, and of those whose process died alone.

    :param older: the worker that does not know the newer pipeline.
    """
    pipelines = {job_id: flat.get("pipeline", "") for job_id, flat in seen.records.items()}
    ends = {one.mark: _first(one.killed, one.ended, seen.slain.get(one.mark)) for one in history}
    up = _up(history, _unable(done), [*away, *untold(done)], seen.slain)
    slots = Slots(
        up=up,
        busy=_busy(seen.bodies, seen.crashes, ends, HANDOVER_SECONDS),
        given=_given_at_first(up, _busy(seen.bodies, seen.crashes, ends, TURN_SECONDS)),
        held=_held(seen.bodies, seen.crashes, pipelines),
        unknown={NEWER: [older] if older else []},
    )
    first = of_workers(seen.crashes, seen.causes)
    return (
        until_started(first, seen.bodies, slots, pipelines),
        until_started([one for one in seen.crashes if one not in first], seen.bodies, slots, pipelines, in_turn=True),
    )


def untold(done: Iterable[Done]) -> list[Interval]:
    """When workers may not have heard of a job, because a node of the broker had just been killed."""
    return [(one.at, one.at + NODE_SECONDS) for one in done if one.kind == "kill_broker"]


def _up(
    history: Iterable[Incarnation], unable: Mapping[str, Sequence[Interval]], away: Sequence[Interval], slain: Mapping[str, float]
) -> dict[str, list[Interval]]:
    workers = [one for one in history if one.role.kind == "worker" and one.ready is not None]
    spans = {one.mark: (one.ready or 0.0, _first(one.killed, one.termed, one.ended, slain.get(one.mark))) for one in workers}
    return {mark: _less([span], [*unable.get(mark, ()), *away]) for mark, span in spans.items()}


def _unable(done: Iterable[Done]) -> dict[str, list[Interval]]:
    """When a worker that was there could take no job: it was stopped, cut off, or its disk was full and not looked at again yet."""
    found: dict[str, list[Interval]] = defaultdict(list)
    for one in done:
        if one.mark and one.kind in AFTER:
            found[one.mark].append((one.at, one.at + one.seconds + AFTER[one.kind]))
    return found


def _busy(bodies: Iterable[Body], crashes: Iterable[Crash], ends: Mapping[str, float], within: float) -> dict[str, list[Interval]]:
    """Whose runs were at work when: until they were over, taken away, or their process ended; and until the next one that was given the
    slot began, if that was within so many seconds."""
    taken = {(crash.job_id, crash.body.fence): crash.at for crash in crashes if crash.body}
    found: dict[str, list[Interval]] = defaultdict(list)
    for body in bodies:
        end = _first(body.over_at, taken.get((body.job_id, body.fence)), ends.get(body.mark))
        found[body.mark].append((body.started, max(body.started, end)))
    return {mark: _handed_over(spans, within) for mark, spans in found.items()}


def _given_at_first(up: Mapping[str, Sequence[Interval]], given: Mapping[str, Sequence[Interval]]) -> dict[str, list[Interval]]:
    """The same, with the time in which the slots of a worker that comes (back) waited for the first jobs that they were given."""
    found = {mark: list(spans) for mark, spans in given.items()}
    for mark, times in up.items():
        starts = sorted(begin for begin, _ in given.get(mark, ()))
        for begin, _ in times:
            following = starts[bisect_left(starts, begin) :][:SLOTS]
            found.setdefault(mark, []).extend((begin, start) for start in following if start - begin < TURN_SECONDS)
    return found


def _handed_over(spans: Sequence[Interval], within: float = HANDOVER_SECONDS) -> list[Interval]:
    """Each run reaches to the begin of the one that was given its slot right after it."""
    starts = sorted(begin for begin, _ in spans)
    found = []
    for begin, end in sorted(spans, key=lambda span: span[1]):
        following = bisect_left(starts, end)
        if following < len(starts) and starts[following] - end < within:
            found.append((begin, starts.pop(following)))
        else:
            found.append((begin, end))
    return found


def _held(bodies: Iterable[Body], crashes: Iterable[Crash], pipelines: Mapping[str, str]) -> list[Interval]:
    """When a place of the capped pipeline was taken: a dead run holds it until it is taken away."""
    taken = {(crash.job_id, crash.body.fence): crash.at for crash in crashes if crash.body}
    mine = [body for body in bodies if pipelines.get(body.job_id) == CAPPED.name]
    return [(body.started, _first(body.over_at, taken.get((body.job_id, body.fence)), body.started)) for body in mine]


def _first(*moments: float | None) -> float:
    return min((moment for moment in moments if moment is not None), default=float("inf"))


def _rescues(times: list[tuple[float, str, str]]) -> Rescues:
    return Rescues([seconds for seconds, *_ in times], sorted(times, reverse=True))


def _within(intervals: Iterable[Interval], begin: float, end: float) -> list[Interval]:
    return [(max(a, begin), min(b, end)) for a, b in intervals if a < end and b > begin]


def _count(intervals: Iterable[Interval], moment: float) -> int:
    return sum(a <= moment < b for a, b in intervals)


def _less(intervals: Sequence[Interval], without: Iterable[Interval]) -> list[Interval]:
    """The intervals without what lies in others."""
    left = list(intervals)
    for begin, end in without:
        left = [part for a, b in left for part in ((a, min(b, begin)), (max(a, end), b)) if part[0] < part[1]]
    return left
