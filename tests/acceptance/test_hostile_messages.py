"""Hostile messages in the broker's queues: none ends a worker, each is logged and dropped, and the next job runs."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline_jobs.states import JobStatus
from pipeline_jobs.worker.hints import JOBS_QUEUE, message
from tests.stack import MakeStack, Stack
from tests.waiting import until

#: Values that stand where something else is expected.
ODD: tuple[Any, ...] = (None, True, -1, 2**70, 1e400, "", "x", "a:b", "\x00", [], ["x"], {}, {"x": []})
#: The queue of tasks that are not jobs, and one of them.
TOGETHER = 25
STAGES, ECHO = "stages", "celery.accumulate"


def raw_messages(good: str) -> Iterator[str | bytes]:
    """What is no message: not JSON, not of its shape, too deep, or with a type of kombu's own that is none."""
    yield from (b"", b"\xff\xfe", b"\x80\x04K\x01.", b"null", b"1", b'"x"', b"[]", b"{}", b"[" * 100_000, b'{"a":' * 50_000, good[:-1])
    yield '{"__type__": "datetime", "__value__": "x"}'
    yield '{"__type__": "uuid", "__value__": {}}'


def changed_messages(good: str) -> Iterator[str]:
    """A good message with one thing of it taken away, or something odd in its place."""
    whole = json.loads(good)
    for path in [(name,) for name in whole] + [(part, name) for part in ("headers", "properties") for name in whole[part]]:
        for value in ("absent", *ODD):
            copy = json.loads(good)
            *above, last = path
            inner = copy
            for name in above:
                inner = inner[name]
            if value == "absent":
                del inner[last]
            else:
                inner[last] = value
            yield json.dumps(copy)
    for eta in ("x", "0001-01-01T00:00:00", "9999-12-31T23:59:59", "2026-13-45", 5):
        for name in ("eta", "expires"):
            yield json.dumps({**whole, "headers": {**whole["headers"], name: eta}})
    for body in (b"\xff", b"null", b"[]", b"[1]", b"[[], {}]", b"[[], {}, null]", b'[[], {"x": 1}, {}]', b"[" * 10_000, b'[{}, [], "x"]'):
        yield json.dumps({**whole, "body": base64.b64encode(body).decode()})
    for kind, coding in (("application/x-python-serialize", "binary"), ("application/json", "utf-99"), ("x", "x"), ("text/plain", "utf-8")):
        yield json.dumps({**whole, "content-type": kind, "content-encoding": coding})


def filled(text: str, number: int) -> str:
    """The template of a hint for a job that there is not; its id is the number's."""
    marks = {"@ID@": f"job_1_{number:08x}", '"@FENCE@"': "1", "@FENCE@": "1", "@TAG@": f"tag{number}"}
    for mark, value in {**marks, "@TENANT@": "acme", "@WORKSPACE@": "main", "@PIPELINE@": "sleep"}.items():
        text = text.replace(mark, value)
    return text


@pytest.fixture(scope="module")
def of_both_queues(make_shared_stack: MakeStack) -> tuple[Stack, subprocess.Popen[bytes]]:
    stack = make_shared_stack()
    return stack, stack.worker("jobs", "-Q", f"{JOBS_QUEUE},{STAGES}", "-c", "1")


@pytest.mark.parametrize("queue", [JOBS_QUEUE, STAGES])
def test_no_message_ends_a_worker(of_both_queues: tuple[Stack, subprocess.Popen[bytes]], queue: str) -> None:
    stack, process = of_both_queues
    before = len(stack.log("jobs"))
    template = message(stack.app)
    if queue == STAGES:
        template = template.replace("pipeline_jobs.run_job", ECHO)
    client = stack.client.store.client
    hostile = [*raw_messages(filled(template, 0)), *changed_messages(filled(template, 1))]
    assert len(hostile) > 300
    for first in range(0, len(hostile), TOGETHER):
        client.lpush(queue, *hostile[first : first + TOGETHER])
        until(lambda: client.llen(queue) == 0 or process.poll() is not None, "the messages to be taken")
        job = stack.submit()
        until(lambda job=job: stack.client.get(job.job_id).ended or process.poll() is not None, "a job after them", 120)
        assert process.poll() is None, (hostile[first : first + TOGETHER], stack.log("jobs")[-2000:])
        assert stack.client.get(job.job_id).status is JobStatus.COMPLETED
    assert "message dropped" in stack.log("jobs")[before:]
