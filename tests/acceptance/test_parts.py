"""A job in parts on real workers of two pools: each part runs where it belongs, and a kill repeats one part."""

from __future__ import annotations

import os
import signal
from functools import partial

from pipeline_jobs.states import JobStatus
from tests import torn_parts
from tests.kills import PATIENT, Deaths, environment, kill_in_full_work
from tests.kills_of_parts import ALL, check, keep_some_in_line
from tests.part_bodies import HELD, MODULES
from tests.pool_bodies import began
from tests.stack import MakeStack
from tests.waiting import until

#: Found lost soon after its worker was killed.
QUICK = {"lease_seconds": 4.0, "announce_seconds": 0.5, "rescue_seconds": 0.5}
#: Of children whose jobs run in parts.
KILLS = 15


def test_a_killed_worker_repeats_its_part_only(make_stack: MakeStack) -> None:
    stack = make_stack(modules=MODULES, pool_caps_setting="gpu=2", **QUICK)
    stack.maintenance()
    stack.worker("cpu", "--autoscale=1,1")
    gpu = stack.worker("gpu", "-Q", "jobs.gpu", "--autoscale=2,2")
    job = stack.submit(pipeline="parted")

    def runs() -> list[tuple[str, str]]:
        return [(one["stage"], one["worker"]) for one in began(stack.settings.data_dir, job.job_id)]

    until(lambda: len(runs()) == 4, "each part to begin")
    waits = stack.client.get(job.job_id)
    assert (waits.status, waits.reason) == (JobStatus.QUEUED, "parts")
    until(lambda: stack.client.get(job.job_id).progress > 30, "two parts to have ended")
    os.killpg(gpu.pid, signal.SIGKILL)
    gpu.wait()
    stack.worker("gpu2", "-Q", "jobs.gpu")
    (split,) = stack.client.store.members("splitting")
    fence = (stack.client.get(split).split or "").partition(" ")[0]
    stack.tell(f"{split}~{fence}.{HELD}")
    done = stack.until_status(job.job_id, JobStatus.COMPLETED, JobStatus.FAILED)
    assert (done.status, done.result["data"]["told"], done.attempt, done.crashes) == (JobStatus.COMPLETED, "ONE TWO THREE", 1, 0)
    assert sorted(runs()) == sorted(
        [("cut", "cpu"), *((f"part {number}", "gpu") for number in range(3)), (f"part {HELD}", "gpu2"), ("join", "cpu"), ("tell", "cpu")]
    )


def test_children_that_are_killed_between_cut_parts_and_join_repeat_one_run_each(make_stack: MakeStack) -> None:
    """The long form is tests/heavy/bar_part_kills.py."""
    stack = make_stack(modules=torn_parts.MODULES, max_concurrent_jobs=100, **PATIENT)
    stack.maintenance()
    deaths, jobs = Deaths(stack, "mortal"), list[str]()
    worker = stack.worker("mortal", "-c", "3", slots=None, **environment(per_cent=4, places=ALL))
    kill_in_full_work(deaths, worker.pid, KILLS, partial(keep_some_in_line, stack, jobs))
    check(stack, deaths, jobs)
