"""The command: the same jobs and the same faults, on plain Celery and on pipeline-jobs, and one table."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.plain_celery_chaos.app import VISIBILITY_SECONDS
from benchmarks.plain_celery_chaos.run import Plain, run_plain
from tests.chaos.figures import by_job, ghosts, ran_although_cancelled
from tests.chaos.oracle import TERMINAL
from tests.chaos.plan import Plan, make_plan, share_of_full
from tests.chaos.report import machine, times, versions, write_section
from tests.chaos.run import Outcome, run
from tests.chaos.system import TIMES, System

#: What plain Celery has, too.
COMMON = (
    "kill_worker",
    "kill_child",
    "stop_worker",
    "stop_child",
    "stop_tree",
    "term_worker",
    "roll_workers",
    "kill_server",
    "drop_clients",
)
BEGIN, END = "<!-- plain celery: begin; written by the run -->", "<!-- plain celery: end -->"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    faults = {kind: count for kind, count in share_of_full(options.jobs).items() if kind in COMMON}
    plan = make_plan(options.seed, options.jobs, options.minutes * 60, faults, lease_seconds=TIMES["lease_seconds"])
    # Both get their jobs and cancels from a program, not over HTTP.
    plan = replace(plan, jobs=tuple(replace(job, http=False, cancel_over_http=False) for job in plan.jobs))
    command = f"python -m benchmarks.plain_celery_chaos --jobs {options.jobs} --seed {options.seed} --minutes {options.minutes:g}"
    folder = Path(tempfile.mkdtemp(prefix=f"plain-{options.seed}-"))
    _say(f"{command}\nplain Celery first; everything is written to {folder}")
    plain = run_plain(plan, folder / "plain", workers=options.workers, say=_say)
    _say("pipeline-jobs")
    ours = run(plan, folder / "ours", System(options.workers, maintenance=1), say=_say)
    text = table(plan, plain, ours, command)
    _say(text)
    _say(f"plain Celery, ends that nobody asked for: {plain.unexpected}")
    if options.report:
        write_section(options.report, text, BEGIN, END)
    return 0


def table(plan: Plan, plain: Plain, ours: Outcome, command: str) -> str:
    """Markdown: plain Celery beside pipeline-jobs."""
    kinds = Counter(done.kind for done in plain.faults)
    faults = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in sorted(kinds.items()))
    return "\n".join(
        [
            f"`{command}` on {machine()}; {versions()}.",
            "",
            f"Faults in each of the two: {faults}; the load takes {plan.seconds / 60:.1f} min. Plain Celery: `task_acks_late`, "
            f"`task_reject_on_worker_lost`, visibility timeout {VISIBILITY_SECONDS} s, prefork, Redis as broker and result backend. "
            f"pipeline-jobs: lease {TIMES['lease_seconds']:g} s. Both on a server of the same settings, `appendfsync always`.",
            "",
            "| | plain Celery | pipeline-jobs |",
            "|---|---|---|",
            *(f"| {what} | {theirs} | {mine} |" for what, (theirs, mine) in _rows(plain, ours).items()),
        ]
    )


def _rows(plain: Plain, ours: Outcome) -> Mapping[str, tuple[object, object]]:
    seen, runs = ours.evidence, by_job(ours.evidence.bodies)
    broken = {promise: len(found) for promise, found in ours.verdict.violations.items()}
    poison = [job_id for job_id, job in seen.accepted.items() if job.kind == "poison"]
    poison_ended = sum(seen.records.get(job_id, {}).get("status") in TERMINAL for job_id in poison)
    return {
        "accepted": (plain.accepted, len(seen.accepted)),
        "lost: no result, and no message that could make one": (len(plain.lost), broken["accepted and lost"]),
        "stuck: no result when all was quiet again": (len(plain.stuck), broken["accepted and not ended"]),
        "body came to its end more than once": (len(plain.twice), ours.executions.repeated),
        "two ends told": (len(plain.ended_twice), broken["ended twice"]),
        "ghost: began after its end was told": (len(plain.ghosts), len(ghosts(runs, seen.heard))),
        "body came to its end, the result says otherwise or nothing": (
            len(plain.misreported),
            broken["ended in a way the job does not explain"],
        ),
        "cancelled, and its body came to the end more than 1 s later": (
            f"{len(plain.cancelled_but_ran)} of {plain.cancels}",
            f"{len(ran_although_cancelled(runs, seen.client))} of {sum(line['what'] == 'cancel' for line in seen.client)}",
        ),
        "poison jobs that ended": (f"{plain.poison_ended} of {plain.poison}", f"{poison_ended} of {len(poison)}"),
        "processes killed by each poison job": (
            _each(plain.poison_runs, plain.poison),
            _each(sum(len(runs.get(job_id, ())) for job_id in poison), len(poison)),
        ),
        "processes left behind by dead ones": (len(plain.orphans), broken["orphan process"]),
        "from a worker's SIGKILL to its job's next start": (times(plain.rescues), times(ours.worker_rescues)),
    }


def _each(runs: int, jobs: int) -> str:
    return f"{runs / jobs:.1f}" if jobs else "-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_celery_chaos", description=__doc__)
    parser.add_argument(
        "--jobs", type=int, default=2000, help="how many jobs; the faults are as dense as in the full chaos run (%(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=4, help="how long load and faults take, in each of the two (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the plan (%(default)s)")
    parser.add_argument("--workers", type=int, default=3, help="workers with two processes each (%(default)s)")
    parser.add_argument("--report", type=Path, help="page whose marked section gets the table")
    return parser


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
