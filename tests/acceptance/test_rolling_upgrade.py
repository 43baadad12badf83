"""Two versions side by side, as in the middle of a deploy: the old one leaves alone what is newer, both run what both know."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

from pipeline_jobs.job import SCHEMA, Job, NewJob
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import scripts
from pipeline_jobs.worker.hints import template
from tests.integration.recount import differences
from tests.stack import ROOT, MakeStack, Stack
from tests.waiting import until

#: The module that makes a process the next version; named, not imported: this process is of this version.
NEWER = "tests.acceptance.newer"


def submit_newer(stack: Stack) -> Job:
    """A job as an API of the next version writes it."""
    job = stack.client.prepare(NewJob(pipeline="sleep"))
    return stack.client.store.submit(job.evolve(schema=SCHEMA + 1)).job


def test_only_the_new_version_runs_a_newer_record_and_both_run_the_others(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=8, hint_seconds=1.0)
    stack.together(stack.maintenance, partial(stack.worker, "old", "--autoscale=4,4"))
    newer = [submit_newer(stack) for _ in range(3)]
    assert stack.client.get(newer[0].job_id).schema == SCHEMA + 1
    stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED)
    until(lambda: all(stack.client.get(job.job_id).fence > 1 for job in newer), "the old version to refuse each of them")
    for job in newer:
        waiting = stack.client.get(job.job_id)
        assert (waiting.status, waiting.attempt, waiting.crashes, waiting.worker) == (JobStatus.QUEUED, 0, 0, None)

    stack.worker("new", "--autoscale=4,4", PIPELINE_MODULES=f"{stack.settings.modules},{NEWER}")
    for job in newer:
        ended = stack.until_status(job.job_id, JobStatus.COMPLETED)
        assert (ended.worker or "").split("/")[0] == "new@test"
        assert (ended.attempt, ended.crashes) == (1, 0)
    # As many as both have slots together.
    common = [stack.hold().job_id for _ in range(8)]
    until(lambda: stack.running() == 8, "all slots of both to be busy")
    stack.tell(*common)
    ran_on = {(stack.until_status(job_id, JobStatus.COMPLETED).worker or "").split("/")[0] for job_id in common}
    assert ran_on == {"old@test", "new@test"}
    assert differences(stack.client.store) == []


#: The last commit whose scripts have arguments by position: its worker runs beside the API of this one in a deploy.
BEFORE = "10ed297"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of that commit, whose modules its first process compiles."""
    folder = tmp_path_factory.mktemp("before")
    packed = subprocess.run(
        ["git", "archive", BEFORE, "pipeline_jobs", "examples", "tests", "celery_app.py"], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        pytest.skip(f"the history of this tree does not reach back to {BEFORE}")
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_a_worker_of_the_commit_before_runs_what_this_one_takes(make_stack: MakeStack, before: Path) -> None:
    stack = make_stack(max_concurrent_jobs=3, self_test=True)
    # The tests of a file share a server, and emptying it leaves the functions that another test's workers loaded.
    stack.client.store.client.execute_command("FUNCTION", "FLUSH")
    stack.maintenance()
    # From its own folder, and without this tree in its path.
    stack.run(
        "old", sys.executable, "-m", "celery", "--workdir", str(before), "-A", "celery_app", "worker", "-n", "old@test", "--autoscale=3,3",
        "--loglevel=INFO", PYTHONPATH=str(before), PYTHONSAFEPATH="1",
    )  # fmt: skip
    store = stack.client.store
    until(lambda: store.client.zcard(store.keys("workers")), "the old worker")
    done = [stack.submit(params={"seconds": 0.2}) for _ in range(8)]
    for job in done:
        ended = stack.until_status(job.job_id, JobStatus.COMPLETED)
        assert (ended.worker or "").startswith("old@test/")
        assert (ended.attempt, ended.crashes) == (1, 0)
    long = stack.submit(params={"seconds": 600})
    stack.until_status(long.job_id, JobStatus.RUNNING)
    stack.client.cancel(long.job_id)
    stack.until_status(long.job_id, JobStatus.CANCELLED)

    claims = {name for name in functions(stack) if "_claim_" in name and "webhooks" not in name}
    assert len(claims) == 1
    assert claims.isdisjoint({scripts.function("claim", template(stack.app)).name}), "its scripts are its own"
    stack.worker("new", "--autoscale=3,3")
    ran_on = set()
    for _ in range(10):
        common = [stack.submit(params={"seconds": 0.3}).job_id for _ in range(6)]
        ran_on |= {(stack.until_status(job_id, JobStatus.COMPLETED).worker or "").split("/")[0] for job_id in common}
        if len(ran_on) == 2:
            break
    assert ran_on == {"old@test", "new@test"}
    assert differences(store) == []


def functions(stack: Stack) -> set[str]:
    """What the server keeps of each version."""
    listed = stack.client.store.client.execute_command("FUNCTION", "LIST", "LIBRARYNAME", f"{scripts.FUNCTION_PREFIX}*")
    return {row[row.index("library_name") + 1] for row in listed}


def test_a_worker_of_the_commit_before_fails_no_job_of_a_pipeline_that_it_does_not_know(make_stack: MakeStack, before: Path) -> None:
    """It dispatches such jobs too, by its own scripts, and takes them."""
    stack = make_stack(max_concurrent_jobs=8, hint_seconds=1.0, self_test=True)
    stack.maintenance()
    stack.run(
        "old", sys.executable, "-m", "celery", "--workdir", str(before), "-A", "celery_app", "worker", "-n", "old@test", "--autoscale=4,4",
        "--loglevel=INFO", PYTHONPATH=str(before), PYTHONSAFEPATH="1", PIPELINE_MODULES="examples.demo_pipelines",
    )  # fmt: skip
    store = stack.client.store
    until(lambda: store.client.zcard(store.keys("workers")), "the old worker")
    stack.until_status(stack.submit().job_id, JobStatus.COMPLETED)
    stack.worker("new", "--autoscale=4,4")
    held = [stack.hold().job_id for _ in range(12)]
    common = [stack.submit(params={"seconds": 0.1}).job_id for _ in range(12)]
    stack.tell(*held)
    for job_id in held:
        job = stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED)
        assert (job.status, job.attempt, job.crashes) == (JobStatus.COMPLETED, 1, 0), job.error
        assert (job.worker or "").startswith("new@test/")
    for job_id in common:
        stack.until_status(job_id, JobStatus.COMPLETED)
    assert differences(store) == []
