"""Two installations on one server, each with its key prefix: nothing of one reaches the other."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery.events import EventReceiver

from pipeline_jobs.states import JobStatus
from tests.heard import heard
from tests.integration.recount import differences
from tests.rabbit import PROGRAM, Rabbit
from tests.servers import Server
from tests.stack import Api, MakeStack, Stack
from tests.waiting import until

PREFIXES = ("pj:", "east:")
#: Of a worker's log, about a job: that its message has come, how it ended.
ABOUT = re.compile(r"Task pipeline_jobs\.run_job\[([^]]+)\]")


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    node = Rabbit(tmp_path_factory.mktemp("rabbit"), management=True)
    try:
        yield node.start()
    finally:
        node.stop()


@contextmanager
def watched(stack: Stack) -> Iterator[list[dict[str, Any]]]:
    """What a watcher such as Flower is told of, from when it is known to listen."""
    seen: list[dict[str, Any]] = []
    listening = threading.Event()

    def note(event: dict[str, Any]) -> None:
        seen.append(event)
        listening.set()

    with stack.app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"*": note}, app=stack.app)
        thread = threading.Thread(target=receiver.capture)
        thread.start()
        try:
            # Workers answer its first call with a heartbeat.
            assert listening.wait(60)
            yield seen
        finally:
            receiver.should_stop = True
            thread.join()


def its_worker_answers(stack: Stack) -> bool:
    """Asked by nobody's name: both workers have the same. None but its own may answer, whenever."""
    answers = stack.app.control.ping(timeout=0.5)
    assert answers in ([], [{"jobs@test": {"ok": "pong"}}])
    return bool(answers)


def waiting(stack: Stack, queue: str) -> int:
    """How many messages of Celery's wait in a queue."""
    with stack.app.connection_for_write() as connection:
        return int(stack.app.amqp.queues[queue](connection.default_channel).queue_declare().message_count)


def lengths(flower: Api) -> dict[str, int | None]:
    """How many messages wait in each queue, as Flower has it; of a new queue nobody knows for some seconds."""
    answer = flower.get("/api/queues/length")
    return {queue["name"]: queue.get("messages") for queue in answer.json()["active_queues"]} if answer.ok else {}


def pair(make_stack: MakeStack, tmp_path: Path, prefixes: tuple[str, str], **changes: Any) -> list[Stack]:
    return [
        make_stack(key_prefix=prefix, cell=number, data_dir=tmp_path / prefix.strip(":"), **changes)
        for number, prefix in enumerate(prefixes)
    ]


def do_not_meet(stacks: list[Stack]) -> None:
    """Jobs, cancels, callbacks, remote control, events, ticks and results of each, at the same time."""
    first, second = stacks
    first.together(*(partial(stack.worker, "jobs", "--autoscale=2,2") for stack in stacks))
    for stack in stacks:
        until(lambda stack=stack: its_worker_answers(stack), "its worker to answer")
    second.run("beat", sys.executable, "-m", "celery", "-A", "celery_app", "beat", f"--schedule={second.folder}/schedule", "--pidfile=")
    first.maintenance()
    with watched(first) as of_first, watched(second) as of_second:
        jobs = [[stack.submit(params={"seconds": 0.05}).job_id for _ in range(20)] for stack in stacks]
        held = [stack.hold().job_id for stack in stacks]
        for stack, ids, one in zip(stacks, jobs, held, strict=True):
            for job_id in ids:
                assert stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED).status is JobStatus.COMPLETED
            stack.until_status(one, JobStatus.RUNNING)
        stacks[0].app.control.revoke(held[1])
        assert stacks[1].client.get(held[1]).cancel_requested is False
        stacks[1].app.control.revoke(held[1])
        stacks[1].until_status(held[1], JobStatus.CANCELLED)
        assert stacks[0].client.get(held[0]).status is JobStatus.RUNNING
        stacks[0].tell(held[0])
        stacks[0].until_status(held[0], JobStatus.COMPLETED)
        ended = {"task-succeeded", "task-revoked"}
        for ids, one, seen in zip(jobs, held, (of_first, of_second), strict=True):
            until(lambda seen=seen, ids=ids, one=one: {e["uuid"] for e in seen if e["type"] in ended} >= {*ids, one}, "its own events")
    for ids, one, seen, stack in zip(jobs, held, (of_first, of_second), stacks, strict=True):
        assert {event["uuid"] for event in seen if event["type"].startswith("task-")} == {*ids, one}
        assert set(ABOUT.findall(stack.log("jobs"))) == {*ids, one}
        assert {stack.client.get(job_id).handbacks for job_id in ids} == {0}
        assert differences(stack.client.store) == []
    # The second has no maintenance worker: its ticks are its own, and wait.
    until(lambda: waiting(stacks[1], "maintenance") > 2, "ticks of the second")
    for stack in stacks:
        stack.app.send_task("celery.accumulate", queue="stages")
        assert waiting(stack, "stages") == 1
    with stacks[1].app.connection_for_write() as connection:
        assert stacks[1].app.amqp.queues["stages"](connection.default_channel).purge() == 1
    assert [waiting(stack, "stages") for stack in stacks] == [1, 0]
    stacks[0].app.backend.store_result("same-id", 1, "SUCCESS")
    assert [stack.app.AsyncResult("same-id").state for stack in stacks] == ["SUCCESS", "PENDING"]


def test_two_installations_on_one_redis_do_not_meet_and_all_that_they_write_and_say_has_a_prefix(
    make_stack: MakeStack, tmp_path: Path, server: Server
) -> None:
    stacks = pair(make_stack, tmp_path, ("west:", "east:"))
    with server.client() as client, heard(client, "*") as since:
        do_not_meet(stacks)
        keys = set(client.scan_iter("*"))
        channels = {message["channel"] for message in since()}
    assert {name for name in keys | channels if not name.startswith(("west:", "east:"))} == set()
    for prefix in ("west:", "east:"):
        assert {f"{prefix}_kombu.binding.celery.pidbox", f"{prefix}_kombu.binding.celeryev", f"{prefix}stages"} & keys
        assert {f"{prefix}/0.celery.pidbox"} <= channels
        assert any(channel.startswith(f"{prefix}celery-task-meta-job_") for channel in channels)


@pytest.mark.skipif(PROGRAM is None, reason="RabbitMQ is not installed (Debian: apt install rabbitmq-server)")
def test_two_installations_on_one_rabbitmq_do_not_meet_and_flower_lists_the_queues_of_its_own(
    make_stack: MakeStack, tmp_path: Path, rabbit: Rabbit
) -> None:
    stacks = pair(make_stack, tmp_path, ("pj:", "east:"), broker_url_setting=rabbit.url)
    do_not_meet(stacks)
    for what, some in (("queues", {"jobs", "maintenance", "stages"}), ("exchanges", {"jobs", "celeryev", "celery.pidbox"})):
        both = some | {f"east:{name}" for name in some}
        # The management API lists what there was a few seconds ago.
        until(lambda what=what, both=both: rabbit.names(what) >= both, f"{what} of both")
    flowers: list[Api] = []
    stacks[0].together(*(lambda stack=stack: flowers.append(stack.flower(FLOWER_BROKER_API=rabbit.api)) for stack in stacks))
    for flower in flowers:
        # Of a few seconds ago, likewise.
        until(lambda flower=flower: lengths(flower).get("jobs") == 0, "its queues")
        until(lambda flower=flower: re.search(r"<td>\s*jobs\s*</td>", flower.get("/broker").text), "its page of queues")
