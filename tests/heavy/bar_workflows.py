"""Flows, bar 6 (part): workflows of 1,000 jobs of depth 20 under 50 kills: of children at each line between claim and finish, and of whole
workers. Order kept, every job once, each policy, each sum. `KILLS=20` for fewer. The short form is in tests/acceptance/test_job_loop.py.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping

from pipeline_jobs.states import JobStatus
from tests.graphs import Graph, check
from tests.integration.recount import differences
from tests.kills import Deaths, environment
from tests.stack import MakeStack
from tests.waiting import until

SIZE, DEPTH, TENANT = 1_000, 20, "acme"


def test_a_graph_of_a_thousand_jobs_under_fifty_kills(make_stack: MakeStack) -> None:
    kills = int(os.environ.get("KILLS", "50"))
    stack = make_stack(max_concurrent_jobs=8, max_crashes=1000, events_per_tenant=200_000)
    stack.maintenance()
    seed = int(os.environ.get("SEED", "17"))
    children = workers = graphs = 0
    while children + workers < kills:
        graph = Graph.random(SIZE, DEPTH, seed + graphs)
        assert (len(graph.nodes), graph.depth) == (SIZE, DEPTH)
        made = stack.app.cell.workflows.create(graph.new(TENANT))
        workflow_id, graphs = made.batch.batch_id, graphs + 1

        def ended(n: int, workflow_id: str = workflow_id) -> bool:
            """So many of its jobs have."""
            counts: Mapping[JobStatus, int] = stack.app.cell.batches.get(workflow_id).counts
            return SIZE - counts[JobStatus.QUEUED] - counts[JobStatus.RUNNING] >= n

        # Each worker but the last is killed as a whole, in the middle of its part of the graph.
        for part in range(1, 6):
            name = f"mortal-{graphs}-{part}"
            deaths = Deaths(stack, name)
            worker = stack.worker(name, "-c", "4", slots=None, **environment(per_cent=1))
            until(lambda part=part: ended(SIZE * part // 5), f"part {part} of graph {graphs}", 600)
            if part < 5:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
                workers += 1
            children += deaths.count
        worker.terminate()
        worker.wait(60)
        until(lambda: stack.running() == 0, "no job to run")
        ids = {node.name: str(job_id) for node, job_id in zip(graph.nodes, made.job_ids, strict=True)}
        check(stack.client.store, graph, TENANT, workflow_id, ids)
        assert differences(stack.client.store) == []
    print(json.dumps({"graphs": graphs, "jobs": graphs * SIZE, "kills of children": children, "of workers": workers}, indent=2))
