"""The command: make a plan, run it, say what was found; 0 if every promise held, 1 if not."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.plan import FULL_JOBS, make_plan, share_of_full
from tests.chaos.report import RESCUE_SLACK_SECONDS, summary, write_section
from tests.chaos.run import NotUp, run
from tests.chaos.system import TIMES, System


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    plan = make_plan(seed, options.jobs, options.minutes * 60, share_of_full(options.jobs), lease_seconds=TIMES["lease_seconds"])
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    command = f"python -m tests.chaos --jobs {options.jobs} --seed {seed} --minutes {options.minutes:g}"
    _say(f"{command}\n{len(plan.faults)} faults; everything is written to {folder}")
    try:
        outcome = run(plan, folder, System(options.workers, options.maintenance), say=_say)
    except NotUp as error:
        _say(f"the system did not come up: {error}")
        return 1
    text = summary(outcome, command)
    _say(text)
    for end in outcome.unexpected:
        _say(f"nobody asked for it: {end}")
    if options.report:
        write_section(options.report, text)
    for seconds, job_id, kill in outcome.worker_rescues.longest[:5]:
        _say(f"rescue: {seconds:.1f} s, {job_id}, {kill}")
    # One job may wait too long though the percentile is good: what it waited for is in the logs only.
    slow = any(seconds > TIMES["lease_seconds"] + RESCUE_SLACK_SECONDS for seconds, _, _ in outcome.worker_rescues.longest[:1])
    if slow:
        _say(f"a rescue took long: {folder} is kept")
    elif outcome.verdict.ok and not options.keep:
        shutil.rmtree(folder)
    if outcome.verdict.ok:
        return 0
    _say(f"VIOLATED (seed {seed}, {folder} is kept):\n{outcome.verdict.text()}")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--jobs", type=int, default=FULL_JOBS, help="how many jobs; the faults are as dense as in the full form (%(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=15, help="how long load and faults take (%(default)s)")
    parser.add_argument("--seed", type=int, help="of the plan; drawn and printed if not given")
    parser.add_argument("--workers", type=int, default=3, help="job workers with two slots each (%(default)s)")
    parser.add_argument("--maintenance", type=int, default=2, help="maintenance workers (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep what the run wrote (it is kept anyway when a promise was broken)")
    parser.add_argument("--report", type=Path, help="page whose marked section gets the figures, if the promises held or not")
    return parser


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
