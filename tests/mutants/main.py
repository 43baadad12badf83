"""`python -m tests.mutants [-k WORD] [--jobs N] [--list]`: 0 if a test catches every mutant."""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.guards import GUARDS, Guard
from tests.mutants.machine import Stale, Verdict, check_unchanged, try_guard

#: The test that caught each guard's mutant the last time. It is tried first, which makes a run shorter.
CAUGHT = Path(__file__).with_name("caught.json")


def main(arguments: list[str] | None = None) -> None:
    """Exits with 0 (all caught), 1 (one was not) or 2 (a test file fails without any change, or there is no such guard)."""
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
    for file, unchanged in (fails := check_unchanged(guards, options.jobs)).items():
        print(f"{unchanged.output[-2000:]}\n{file} fails without any mutant", flush=True)
    guards = tuple(guard for guard in guards if not fails.keys() & set(guard.tests))
    caught_by = json.loads(CAUGHT.read_text("utf-8"))
    with ThreadPoolExecutor(options.jobs) as pool:
        verdicts = []
        for guard, verdict in zip(guards, pool.map(lambda guard: _verdict(guard, caught_by.get(guard.name, "")), guards), strict=True):
            verdicts.append(verdict)
            _remember(guard, verdict, caught_by)
            print(f"{verdict.word:9} {guard.name}{f'  <- {verdict.by}' if verdict.by else ''}", flush=True)
            if verdict.word == "broken":
                print(verdict.output[-2000:])
    caught = sum(verdict.caught for verdict in verdicts)
    print(f"{caught} of {len(guards)} mutants caught, {time.monotonic() - began:.0f} s")
    sys.exit(2 if fails else caught != len(guards))


def _verdict(guard: Guard, first: str) -> Verdict:
    try:
        return try_guard(guard, first)
    except Stale as error:
        return Verdict("broken", output=str(error))


def _remember(guard: Guard, verdict: Verdict, caught_by: dict[str, str]) -> None:
    """Written after each one: a run that is cut short has not worked in vain."""
    if not verdict.caught or caught_by.get(guard.name) == verdict.by:
        return
    known = {one.name for one in GUARDS}
    caught_by[guard.name] = verdict.by
    kept = {name: by for name, by in sorted(caught_by.items()) if name in known}
    CAUGHT.write_text(json.dumps(kept, ensure_ascii=False, indent=0) + "\n", "utf-8")
