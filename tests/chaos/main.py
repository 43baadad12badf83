"""The command: make a plan, run it, say what was found; 0 if every promise held and every bar was kept, 1 if not."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.clock import LIBRARY, MISSING
from tests.chaos.plan import EVERYTHING, FULL_JOBS, make_plan, share_of_full
from tests.chaos.report import late, summary, write_section
from tests.chaos.run import NotUp, run
from tests.chaos.system import TIMES, System

BROKERS = ("redis", "rabbitmq", "quorum")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # A disk is mounted: who stops this shall not leave it so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    faults = _faults(options)
    plan = make_plan(seed, options.jobs, options.minutes * 60, faults, lease_seconds=TIMES["lease_seconds"], mix=EVERYTHING)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    command = f"python -m tests.chaos --jobs {options.jobs} --seed {seed} --minutes {options.minutes:g} --broker {options.broker}"
    command += "".join(f" --faults {one}" for one in options.faults)
    _say(f"{command}\n{len(plan.faults)} faults; everything is written to {folder}")
    system = System(
        options.workers, options.gpu, options.maintenance,
        rabbitmq=options.broker == "rabbitmq", quorum=options.broker == "quorum", mixed=True, around=True,
    )  # fmt: skip
    try:
        outcome = run(plan, folder, system, say=_say)
    except NotUp as error:
        _say(f"the system did not come up: {error}")
        return 1
    text = summary(outcome, command)
    _say(text)
    if options.report:
        write_section(options.report, text)
    started = (("started", outcome.restarts), ("started in its turn", outcome.turns))
    for what, found in (("requeued", outcome.worker_requeues), ("requeued", outcome.child_requeues), *started):
        for seconds, job_id, why in found.longest[:3]:
            _say(f"{what} after {seconds:.1f} s: {job_id}, {why}")
    for bar in late(outcome):
        _say(f"TOO LATE: {bar}")
    if not outcome.verdict.ok:
        _say(f"VIOLATED (seed {seed}):\n{outcome.verdict.text()}")
    if LIBRARY is None:
        _say(MISSING)
    _say(f"the logs are in {folder}")
    return 0 if outcome.verdict.ok and not late(outcome) else 1


def _faults(options: argparse.Namespace) -> dict[str, int]:
    """As dense as in the full form, or as many as was asked for."""
    faults = share_of_full(options.jobs, nodes=options.broker == "quorum")
    for one in options.faults:
        kind, _, count = one.partition("=")
        if kind not in faults or not count.isdigit():
            raise SystemExit(f"--faults {one}: not KIND=NUMBER with one of: {', '.join(faults)}")
        faults[kind] = int(count)
    if LIBRARY is None:
        faults["clock_step"] = 0
        _say(MISSING)
    return faults


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--jobs", type=int, default=FULL_JOBS, help="how many jobs; the faults are as dense as in the full form (%(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=28, help="how long load and faults take (%(default)s)")
    parser.add_argument("--seed", type=int, help="of the plan; drawn and printed if not given")
    parser.add_argument(
        "--broker",
        choices=BROKERS,
        default="redis",
        help="Celery's broker: the store itself, RabbitMQ, or three nodes of it with quorum queues (%(default)s)",
    )
    parser.add_argument(
        "--faults", action="append", default=[], metavar="KIND=NUMBER", help="so many of a kind, such as clock_step=0; may be repeated"
    )
    parser.add_argument("--workers", type=int, default=4, help="job workers with two slots each (%(default)s)")
    parser.add_argument("--gpu", type=int, default=1, help="job workers of the pool gpu, with two slots each (%(default)s)")
    parser.add_argument("--maintenance", type=int, default=2, help="maintenance workers (%(default)s)")
    parser.add_argument("--report", type=Path, help="page whose marked section gets the figures, if the promises held or not")
    return parser


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
