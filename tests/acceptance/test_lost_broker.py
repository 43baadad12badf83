"""A broker that dies with a message on its way to a worker, or whose clock is set: the worker lives, whichever queue and task it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker.tasks import task_of
from tests import living
from tests.chaos.clock import LIBRARY, MISSING, Clock
from tests.living import children
from tests.servers import Server
from tests.stack import MakeStack, Stack
from tests.waiting import until

#: A task of Celery's own, in every app: gives its arguments back.
ECHO = "celery.accumulate"


def worker(stack: Stack, queue: str) -> subprocess.Popen[bytes]:
    """A worker that consumes one queue, up."""
    process = stack.run(
        queue, sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", f"{queue}@test", "-Q", queue, "-c", "1",
        "--loglevel=INFO",
    )  # fmt: skip
    until(lambda: "ready." in stack.log(queue) or stack._died(process, queue), f"the worker of {queue}")
    return process


def push_into_its_poll(stack: Stack, own: Server, process: subprocess.Popen[bytes], queue: str, push: Callable[[], Any]) -> None:
    """Stop the worker's main process and push, so that the message is the reply to its outstanding BRPOP; before it lies a ping.

    The ping is read first, its answer finds no server, and what Celery closes then reads the reply of the BRPOP.
    """
    with own.client() as client:
        while True:
            living.stop(process.pid)
            stack.app.control.ping(timeout=0.01)
            push()
            if not client.llen(queue):
                return
            # That poll was over (each takes a second at most): the worker takes the message when it goes on, and we try again.
            os.kill(process.pid, signal.SIGCONT)
            until(lambda: not client.llen(queue), "the message to be taken")


@pytest.mark.parametrize(
    ("which", "queue"),
    # `maintenance` forgets a message when it gives it (no_ack), `stages` does not.
    [
        ("expired", "maintenance"),
        ("revoked", "maintenance"),
        ("tick", "maintenance"),
        ("expired", "stages"),
        ("revoked", "stages"),
        ("good", "stages"),
    ],
)
def test_a_message_that_is_read_as_its_connection_is_closed_kills_no_worker(
    make_stack: MakeStack, own: Server, which: str, queue: str
) -> None:
    stack = make_stack(redis_url=own.url)
    process = worker(stack, queue)
    send = stack.app.send_task

    def push() -> None:
        if which == "tick":
            send(task_of("rescue"), queue=queue, expires=-1, ignore_result=True)
        elif which == "revoked":
            send(ECHO, (1,), queue=queue, task_id="revoked")
        else:
            send(ECHO, (1,), queue=queue, expires=-1 if which == "expired" else None)

    if which == "revoked":
        # Ready, but it may not have subscribed yet: a broadcast before that is heard by nobody.
        until(lambda: stack.app.control.ping(timeout=1, limit=1), "the worker to hear broadcasts")
        stack.app.control.revoke("revoked")
        until(lambda: "flagged as revoked" in stack.log(queue), "the worker to hear of it")
    push_into_its_poll(stack, own, process, queue, push)
    own.kill()
    os.kill(process.pid, signal.SIGCONT)
    own.start()
    until(lambda: "Connection to broker lost" in stack.log(queue), "the worker to notice")
    after = send(ECHO, (1, 2), queue=queue)
    until(lambda: after.ready() or process.poll() is not None, "a task after it")
    assert process.poll() is None, stack.log(queue)[-3000:]
    assert after.get() == [1, 2]


def test_a_job_that_celery_forgot_as_its_broker_was_lost_runs_once(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url, announce_seconds=0.25, lease_seconds=8.0)
    process = stack.worker("jobs", "-c", "1")
    [child] = children(process.pid)
    living.stop(child.pid)
    job = stack.hold()
    store = stack.client.store
    until(lambda: job.job_id in stack.log("jobs"), "the main process to have its hint")
    store.client.client_kill_filter(_type="pubsub", skipme=True)
    until(lambda: "Connection to broker lost" in stack.log("jobs"), "the worker to notice")
    child.resume()
    running = stack.until_status(job.job_id, JobStatus.RUNNING)
    assert running.started_at is not None
    # Two leases long.
    most = running.started_at + 2000 * stack.settings.lease_seconds

    def renewed_or_lost() -> bool:
        store.rescue()
        return (store.client.zscore(store.keys("leases"), job.job_id) or most) >= most

    until(renewed_or_lost, "the lease to be renewed")
    stack.tell(job.job_id)
    ended = stack.until_status(job.job_id, JobStatus.COMPLETED)
    assert (ended.crashes, ended.handbacks, ended.fence, process.poll()) == (0, 0, running.fence, None)


@pytest.mark.skipif(LIBRARY is None, reason=MISSING)
def test_a_worker_whose_poll_is_answered_no_more_stops(make_stack: MakeStack, tmp_path: Path) -> None:
    """A BRPOP that waits as the server's clock is set back by an hour waits for an hour. (Found by chaos.)"""
    clock = Clock(tmp_path)
    own = Server(tmp_path / "clocked", environment=clock.environment).start()
    try:
        stack = make_stack(redis_url=own.url, shutdown_grace_seconds=0.2)
        process = stack.worker("jobs", "-c", "1")
        living.stop(process.pid)
        with own.client() as client:
            while not client.info("clients")["blocked_clients"]:
                # Its poll was over: let it begin the next one.
                os.kill(process.pid, signal.SIGCONT)
                until(lambda: client.info("clients")["blocked_clients"], "a poll")
                living.stop(process.pid)
            clock.step_to(-3600)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(60) == 0, stack.log("jobs")[-3000:]
        assert "did not stop in time" not in stack.log("jobs")
    finally:
        own.stop()
