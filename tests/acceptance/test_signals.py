"""What goes wrong in a running installation is shown by the metric and named by `jobs doctor`, and passes by the commands of its runbook.
The rest of what may go wrong is in tests/heavy/bar_signals.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_jobs.states import JobStatus
from tests.acceptance.signals import alerting, until_named, until_well
from tests.chaos.clock import LIBRARY, MISSING, Clock
from tests.former import other_version
from tests.runbooks import Operator
from tests.stack import Stack

MakeStack = Callable[..., Stack]


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


def test_a_worker_is_drained_and_takes_jobs_again(make_stack: MakeStack) -> None:
    """That the metric and the doctor name it: tests/heavy/bar_standing_still.py."""
    stack = make_stack(announce_seconds=1.0)
    stack.worker("second", "--autoscale=2,2")
    done = stack.celery("jobs", "drain", "second@test", "--json")
    assert json.loads(done.stdout) == {"worker": "second@test", "drained": True, "running": 0}, done.stderr
    assert stack.celery("jobs", "drain", "--undo", "second@test").returncode == 0
    job = stack.submit(params={"seconds": 0})
    assert str(stack.until_status(job.job_id, JobStatus.COMPLETED).worker).startswith("second@test")
    assert "there is no live job worker" in stack.celery("jobs", "drain", "nobody@test").stderr
