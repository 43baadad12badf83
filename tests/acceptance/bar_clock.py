"""A worker whose clock is wrong, and one of another version, are shown by the metric and named by `jobs doctor`, and pass by the commands
of their runbooks. `make signals` runs this beside tests/heavy/bar_signals.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acceptance.signals import alerting, until_named, until_well
from tests.chaos.clock import LIBRARY, MISSING, Clock
from tests.former import other_version
from tests.runbooks import Operator
from tests.stack import MakeStack


@pytest.mark.skipif(LIBRARY is None, reason=MISSING)
def test_a_clock_that_is_five_seconds_off_and_two_versions(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(announce_seconds=1.0, rescue_seconds=2.0)
    stack.maintenance()
    stack.worker("jobs")
    api = stack.api()
    until_well(api)
    clock = Clock(tmp_path)
    clock.step_to(5)
    stack.worker("late", slots=None, **clock.environment)
    with alerting(tmp_path / "prometheus", api) as alerts:
        operator = Operator(stack, alerts)
        detail = until_named(stack, api, "clock_skew", alerts)
        # How much is as exact as a round trip to the server is short: on a busy machine 5.3 s is right, too.
        assert re.search(r"late@test is [3-7]\.\d s ahead of the server", detail)
        old = other_version(tmp_path / "before").worker(stack, "old")
        until_named(stack, api, "versions_differ", alerts)
        # The clock of one process is set as NTP would set its machine's.
        operator.program("timedatectl", f'test "$*" = "set-ntp true" && printf +0 > {clock.file}')
        operator.follow("ClockSkew")
        operator.follow("VersionsMixed", PID=str(old.pid), WORKER="old@test")
        until_well(api, alerts=alerts)
