"""A worker that stands still or is drained, a dead beat and an artifact store that turned bad are shown by the metric, named by `jobs
doctor`, and pass by the commands of their runbooks. Apart from `make test` because it waits until a silent process counts as lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from pipeline_jobs.states import JobStatus
from tests.acceptance.signals import alerting, doctor, shown, until_named, until_well
from tests.runbooks import Operator
from tests.stack import ROOT, MakeStack, environment
from tests.waiting import until


def test_a_worker_that_stands_still_or_is_drained_a_dead_beat_and_a_wrong_artifact_store(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(announce_seconds=1.0, rescue_seconds=2.0)
    stack.maintenance()
    beat = stack._processes[-1]
    worker = stack.worker("jobs", "--autoscale=2,2")
    second = stack.worker("second", "--autoscale=2,2")
    api = stack.api()
    until_well(api)
    assert doctor(stack) == {}

    with alerting(tmp_path / "prometheus", api) as alerts:
        operator = Operator(stack, alerts)
        # One is drained: it takes no job, the other does; and it takes jobs again.
        done = stack.celery("jobs", "drain", "second@test", "--json")
        assert json.loads(done.stdout) == {"worker": "second@test", "drained": True, "running": 0}, done.stderr
        assert until_named(stack, api, "worker_drained") == "second@test: it has left the queue `jobs`"
        ran = [stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED).worker for _ in range(4)]
        assert {str(name).partition("/")[0] for name in ran} == {"jobs@test"}
        operator.follow("WorkerDrained", WORKER="second@test")
        until_well(api)
        assert "there is no live job worker" in stack.celery("jobs", "drain", "nobody@test").stderr

        # One stands still, beat is killed, and no file can be stored.
        os.kill(second.pid, signal.SIGSTOP)
        beat.kill()
        root = stack.settings.data_dir / "artifacts"
        until(lambda: not any(root.iterdir()), "no try to be under way")
        root.rmdir()
        root.write_text("not a folder")
        assert "second@test (jobs) has said nothing for" in until_named(stack, api, "process_lost", alerts)
        assert until_named(stack, api, "beat_away", alerts).startswith("maintenance last ran")
        assert "PIPELINE_ARTIFACTS_URL" in until_named(stack, api, "artifacts_unwritable", alerts)

        # A worker with that store does not start, and says so where it is looked for.
        refused = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", "third@test"],
            cwd=ROOT, env=environment(stack.settings), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert refused.returncode == 1
        assert "process_refused" in shown(api)
        operator.follow("ArtifactsUnwritable", ARTIFACTS=str(root))
        operator.follow("ProcessRefused", WORKER="third@test")
        operator.follow("BeatLate", "beat_away", FOLDER=str(stack.folder))
        operator.follow("ProcessLost", PID=str(second.pid), WORKER="second@test")
        until_well(api, alerts=alerts)

    # What ends on purpose is missed by nobody.
    worker.terminate()
    worker.wait(60)
    assert not {"process_lost"} & shown(api)
