"""What the commands of the runbooks do where nothing is wrong. What goes wrong, is shown and ends by them: `make signals`."""

from __future__ import annotations

import json

from pipeline_jobs.states import JobStatus
from tests.stack import MakeStack


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
