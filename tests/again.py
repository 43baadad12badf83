"""`python -m tests.again`: the tests that have just failed, once more, one after the other.

For CI, after `make test` has failed: one racy test among thousands that start real processes would refuse the work of a day. At most `MOST`
tests, alone; whatever fails twice, and more than that, ends with 1. What passes now is named in the last lines, and is a defect of the test
or of the product: `docs/decisions/0014-one-more-try.md`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

#: More failures than this are no accident.
MOST = 3
ROOT = Path(__file__).parents[1]


def failed(root: Path) -> list[str]:
    """What pytest wrote down of its last run in that folder."""
    kept = root / ".pytest_cache/v/cache/lastfailed"
    return sorted(json.loads(kept.read_text("utf-8"))) if kept.is_file() else []


def main(root: Path = ROOT) -> int:
    names = failed(root)
    if not names:
        print("No test has failed: what ended the run before was something else.")
        return 1
    if len(names) > MOST:
        print(f"{len(names)} tests failed; up to {MOST} would be run once more.")
        return 1
    if code := pytest.main(["--rootdir", str(root), "-q", "--last-failed", "--last-failed-no-failures=none", *names]):
        return int(code)
    print("\nUNSTABLE: failed in the run of all tests, passed alone. Find out why:", *names, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
