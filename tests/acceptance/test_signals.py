"""What goes wrong in a running installation is shown by the metric and named by `jobs doctor`, and passes as it is mended. The rest of what
may go wrong is in tests/heavy/bar_signals.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_jobs.states import JobStatus
from tests.acceptance.signals import alerting, shown, until_named, until_well
from tests.chaos.clock import LIBRARY, MISSING
from tests.stack import Stack
from tests.waiting import until

MakeStack = Callable[..., Stack]


@pytest.mark.skipif(LIBRARY is None, reason=MISSING)
def test_a_clock_that_is_five_seconds_off_and_two_versions(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(announce_seconds=1.0, rescue_seconds=2.0)
    stack.maintenance()
    stack.worker("jobs")
    api = stack.api()
    until_well(api)
    fake = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": "+5s", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    late = stack.worker("late", slots=None, **fake)
    with alerting(tmp_path / "prometheus", api) as alerts:
        detail = until_named(stack, api, "clock_skew", alerts)
        # How much is as exact as a round trip to the server is short: on a busy machine 5.3 s is right, too.
        assert re.search(r"late@test is [3-7]\.\d s ahead of the server", detail)

        def old() -> bool:
            # One of an earlier version announces its slots, but not what it is.
            return stack.client.store.announce("old@test/1", 1, []) == [] and "versions_differ" in shown(api)

        until(lambda: old() and "VersionsMixed" in alerts.firing(), "two versions to be shown")
        # What the runbooks say: the right time, and none of the old version.
        late.terminate()
        stack.client.store.announce("old@test/1", 0, [], leaving=True)
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
