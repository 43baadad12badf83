"""Accepted jobs that are lost per failover: of a store by Sentinel, with and without waiting for the replica, and of a broker of three
RabbitMQ nodes with quorum queues. `make failovers` (RUNS=30).

A master is killed in two ways, in turn: while its replica has all that it has, and half a second after the replica lost its link and could
make no other, which is what a network that is cut does. A client whose reply was lost sends the job again, with its key.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.heavy.senders import outcomes, sending
from tests.integration.recount import differences
from tests.rabbit import PROGRAM, cluster
from tests.sentinels import Watched, watched
from tests.stack import MakeStack
from tests.waiting import until

RUNS = int(os.environ.get("FAILOVER_RUNS", "30"))
#: How long the replica has no link before its master is killed, in seconds.
BEHIND_SECONDS = 0.5


def cut(servers: Watched) -> None:
    """Take the replica's link away, for a while in which it cannot make another."""
    master = servers.master()
    servers.other(master).pause()
    with master.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "REPLICA")
    threading.Event().wait(BEHIND_SECONDS)


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_master_is_killed_and_the_other_takes_over(make_stack: MakeStack, tmp_path: Path, replicas: int) -> None:
    lost, jobs = Counter[str](), 0
    with watched(tmp_path / "servers") as servers:
        stack = make_stack(redis_url=servers.url, store_replicas=replicas, rescue_seconds=2.0, max_queued_per_tenant=100_000)
        stack.maintenance()
        stack.worker("jobs", "--autoscale=4,4")
        for run in range(RUNS):
            kind = "behind" if run % 2 else "in step"
            with sending(stack) as clients:
                clients.until_more(20)
                if run % 2:
                    cut(servers)
                servers.fail_over()
                # Whoever waits for a replica accepts nothing before there is one.
                servers.mend()
                clients.until_more(5)
            found = outcomes(stack, clients.accepted)
            lost[kind] += found["lost"]
            jobs += len(clients.accepted)
            print(f"run {run + 1}, {kind}: {dict(found)}, refused for now {clients.refused}", flush=True)
            assert set(+found) <= {"completed", "lost"}
        assert differences(stack.client.store) == []
    print(f"\n{RUNS} failovers by Sentinel, PIPELINE_STORE_REPLICAS={replicas}: {jobs} jobs accepted, lost {dict(lost)}")
    if replicas:
        assert not +lost
    else:
        assert RUNS < 2 or lost["behind"], "this test sees a loss where there is one"


@pytest.mark.skipif(PROGRAM is None, reason="RabbitMQ is not installed")
def test_the_leader_of_a_quorum_queue_is_killed(make_stack: MakeStack, tmp_path: Path) -> None:
    jobs = led = 0
    with cluster(tmp_path / "rabbit") as nodes:
        stack = make_stack(
            broker_url_setting=";".join(node.url for node in nodes), broker_queue_type="quorum", rescue_seconds=2.0,
            max_queued_per_tenant=100_000,
        )  # fmt: skip
        stack.maintenance()
        stack.worker("jobs", "--autoscale=4,4")
        for run in range(RUNS):
            until(lambda: all(node.in_step("jobs") == 3 for node in nodes), "the nodes to be in step", 180)
            leader = nodes[0].leader("jobs")
            dead = next(node for node in nodes if node.name == leader)
            with sending(stack) as clients:
                clients.until_more(20)
                dead.kill()
                clients.until_more(20)
            found = outcomes(stack, clients.accepted)
            dead.start()
            jobs += len(clients.accepted)
            led += 1
            print(f"run {run + 1}, {leader}: {dict(found)}", flush=True)
            assert found == {"completed": len(clients.accepted)}
        assert differences(stack.client.store) == []
    print(f"\n{led} leaders of the queue killed: {jobs} jobs accepted, all completed")
