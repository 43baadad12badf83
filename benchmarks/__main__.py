"""`python -m benchmarks [FIGURE ...]`: measure all figures, or those named. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys

from benchmarks.kit import runner


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"any of: {', '.join(runner.FIGURES)}")
    parser.add_argument("--rounds", type=int, default=5, help="alternations (5)")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one round, nothing written: fails on errors only")
    parser.add_argument("--quick", action="store_true", help="only figures that take seconds in the smoke form")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.figures) - set(runner.FIGURES)):
        parser.error(f"there is no figure {unknown[0]!r}; there are: {', '.join(runner.FIGURES)}")
    names = chosen.figures or [name for name in runner.FIGURES if not chosen.quick or runner.figure(name).quick]
    return 1 if runner.run(names, rounds=1 if chosen.smoke else chosen.rounds, smoke=chosen.smoke) else 0


if __name__ == "__main__":
    sys.exit(main())
