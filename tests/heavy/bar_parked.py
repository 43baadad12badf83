"""Flows, bar 6: 100 jobs that wait for a signal, over a restart of everything (`kill -9` of all processes and the server), wake once each.

The short form is in tests/integration/test_parking.py.
"""

from __future__ import annotations

import json
from collections import Counter

from pipeline_jobs.events.event_types import EventType
from pipeline_jobs.events.log import read
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs import signals
from pipeline_jobs.pipelines import load
from pipeline_jobs.states import JobStatus
from tests.integration.recount import differences
from tests.servers import Server
from tests.stack import MakeStack, Stack
from tests.waiting import until

JOBS, MODULES = 100, "examples.demo_pipelines,examples.nightly_report"
YES = {"approved": True}


def start(stack: Stack, turn: str) -> None:
    stack.run_maintenance()
    for name in ("one", "two"):
        stack.worker(f"{name}-{turn}", "--autoscale=2,2")


def parked(stack: Stack) -> int:
    return stack.client.store.sizes([("awaiting",)])[0]


def test_parked_jobs_wake_once_each(make_stack: MakeStack, own: Server) -> None:
    load(["examples.nightly_report"])
    stack = make_stack(redis_url=own.url, modules=MODULES, max_concurrent_jobs=4)
    api = stack.api()
    start(stack, "before")
    rows = {"rows": [["tea", 2.5]]}
    jobs = [stack.client.submit(NewJob(pipeline="nightly-report", params=rows, tenant_id=f"t{n % 5}")).job_id for n in range(JOBS)]
    until(lambda: parked(stack) == JOBS, "all to be parked", seconds=300)
    assert stack.client.store.sizes([("leases",), ("hints",)]) == [0, 0]
    # Some are answered before the restart and have not gone on, some during it, the rest afterwards.
    for process in stack._processes:
        process.kill()
        process.wait()
    for job_id in jobs[: JOBS // 4]:
        signals.send(stack.client, job_id, "approval", YES, "test")
    own.kill()
    own.start()
    start(stack, "after")
    api = stack.api(name="api-after")
    for job_id in jobs[JOBS // 4 :]:
        for _ in range(2):
            assert api.post(f"/pipeline/jobs/{job_id}/signals/approval", {"payload": YES}).status_code == 200
    until(lambda: all(stack.client.get(job_id).ended for job_id in jobs), "all to end", seconds=600)
    ends = Counter(stack.client.get(job_id).status for job_id in jobs)
    kinds = [Counter(event.type for event in read(stack.client.store, job_id, 0, 500).events) for job_id in jobs]
    print(json.dumps({"jobs": JOBS, "ends": ends, "woken": Counter(one[EventType.SIGNALLED] for one in kinds)}))
    assert ends == {JobStatus.COMPLETED: JOBS}
    assert {one[EventType.SIGNALLED] for one in kinds} == {1}
    assert {one[EventType.STARTED] for one in kinds} == {2}, "one run up to the wait, and one from it"
    assert differences(stack.client.store) == []
