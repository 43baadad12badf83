"""Every named place at which a process can be told to die, in one run; `python -m tests.chaos.failpoints --runs 5` runs it as often."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from pipeline_jobs.failpoints import LAST_WORD, NAMES
from tests.chaos.plan import make_plan
from tests.chaos.run import Outcome, run
from tests.chaos.system import TIMES, System

JOBS, SECONDS = 80, 12
#: On a busy machine a worker may see too few jobs in one run to come to its place: then once more.
RUNS = 8
#: Which process dies where. A place in a pool child kills each child that comes there so often; one in a main process kills it once.
PLACES = {
    "w1": "run.after_claim=kill@3",
    "w2": "run.in_stage=kill@4",
    "w3": "run.after_artifact=kill@3",
    "w4": "run.after_finish=kill@3",
    "w5": "worker.after_pop=kill@4",
    "w6": "run.in_stage=kill@5",
    # Not the slots nor the purge of both: somebody must fire, and empty the trash.
    "m1": "fire.midway=kill@1",
    "m2": "purge.midway=kill@1",
}
#: Where whoever comes first dies, and all may come first: job workers look for dead ones, too.
ANYBODY = "rescue.midway=kill@1"
#: What `failpoints.reach` says last.
DIED = re.compile(rf"{LAST_WORD}(\S+)")
#: A job of the chaos run has no webhook: senders die in tests/acceptance/test_webhooks.py. Children die around claim and finish in
#: tests/acceptance/test_job_loop.py and around a split in test_parts.py beside it, movers into the history in
#: tests/heavy/bar_history.py.
ELSEWHERE = {
    "webhook.after_take",
    "webhook.after_post",
    "claim.asked",
    "claim.answered",
    "finish.asked",
    "finish.answered",
    "split.named",
    "split.asked",
    "split.answered",
    "history.before_mark",
}
#: Only where the broker is not the store is there anything between a submit's record and its hint.
AT_SUBMIT = {"api": "submit.before_publish=kill@3"}


def run_failpoints(folder: Path, seed: int, *, other_broker: bool) -> Outcome:
    """All of the places; `submit.before_publish` with `other_broker` only. A worker is killed besides: something to rescue."""
    plan = make_plan(seed, JOBS, SECONDS, {"kill_worker": 2}, lease_seconds=TIMES["lease_seconds"])
    places = {role: f"{place},{ANYBODY}" for role, place in PLACES.items()} | (AT_SUBMIT if other_broker else {})
    system = System(workers=6, maintenance=2, other_broker=other_broker, failpoints=places, forked=True)
    return run(plan, folder, system, purge_some=True)


def check_places(folder: Path, *, other_broker: bool, spared: int = 0) -> None:
    """Until somebody has died at each of the places, or at all but so many. Another seed each time; `CHAOS_SEED` repeats one.

    :raises AssertionError: something was lost or ended twice, or at more places nobody died.
    """
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    left = set(NAMES) - ELSEWHERE - (set() if other_broker else {"submit.before_publish"})
    for number in range(RUNS):
        at = folder / str(number)
        outcome = run_failpoints(at, seed + number, other_broker=other_broker)
        assert outcome.verdict.ok, f"CHAOS_SEED={seed + number}, see {at}:\n{outcome.verdict.text()}"
        assert len(outcome.evidence.purged) > 0
        left -= set(deaths(at))
        if len(left) <= spared:
            return
    raise AssertionError(f"nobody died at {left} in {RUNS} runs")


def deaths(folder: Path) -> Counter[str]:
    """How often each place has killed, by the last words in all logs."""
    return Counter(place for log in folder.joinpath("logs").iterdir() for place in DIED.findall(log.read_text("utf-8", "replace")))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.failpoints", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs with each kind of broker (%(default)s)")
    parser.add_argument("--seed", type=int, help="of the first run; drawn and printed if not given")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    broken = 0
    for number in range(options.runs * 2):
        seed, other_broker = first + number // 2, bool(number % 2)
        folder = Path(tempfile.mkdtemp(prefix=f"failpoints-{seed}-"))
        outcome = run_failpoints(folder, seed, other_broker=other_broker)
        print(f"seed {seed}, broker {'apart' if other_broker else 'the store'}: deaths {dict(deaths(folder))}", file=sys.stderr)
        if outcome.verdict.ok:
            shutil.rmtree(folder)
        else:
            broken += 1
            print(f"VIOLATED, {folder} is kept:\n{outcome.verdict.text()}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
