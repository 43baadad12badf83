"""`python -m tests.mutants [-k WORD] [--jobs N] [--list]`: 0 if a test catches every mutant."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.mutants.guards import GUARDS, Guard
from tests.mutants.machine import Stale, Verdict, check_unchanged, try_guard


def main(arguments: list[str] | None = None) -> None:
    """Exits with 0 (all caught), 1 (one was not) or 2 (the tests fail without any change, or there is no such guard)."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Remove one guard at a time; a test must notice.")
    parser.add_argument("-k", metavar="WORD", default="", help="only guards whose name has this in it")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default 2)")
    parser.add_argument("--list", action="store_true", help="name the guards and end")
    options = parser.parse_args(arguments)
    guards = tuple(guard for guard in GUARDS if options.k in guard.name)
    if not guards:
        # With no tests named, pytest would run all that there are.
        parser.error(f"no guard has {options.k!r} in its name")
    if options.list:
        print(*(guard.name for guard in guards), sep="\n")
        return
    began = time.monotonic()
    if (unchanged := check_unchanged(guards)).word != "survived":
        print(unchanged.output)
        print("the tests fail without any mutant")
        sys.exit(2)
    with ThreadPoolExecutor(options.jobs) as pool:
        verdicts = []
        for guard, verdict in zip(guards, pool.map(_verdict, guards), strict=True):
            verdicts.append(verdict)
            print(f"{verdict.word:9} {guard.name}{f'  <- {verdict.by}' if verdict.by else ''}", flush=True)
            if verdict.word == "broken":
                print(verdict.output[-2000:])
    caught = sum(verdict.caught for verdict in verdicts)
    print(f"{caught} of {len(guards)} mutants caught, {time.monotonic() - began:.0f} s")
    sys.exit(caught != len(guards))


def _verdict(guard: Guard) -> Verdict:
    try:
        return try_guard(guard)
    except Stale as error:
        return Verdict("broken", output=str(error))
