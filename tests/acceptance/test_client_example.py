"""`examples/client.py` against the real stack: what the page shows works."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import pytest
from standardwebhooks import Webhook

from examples.client import Client, Refused, verify_webhook
from tests.stack import ROOT, MakeStack
from tests.waiting import until

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


@pytest.fixture(scope="module")
def client(make_shared_stack: MakeStack) -> Client:
    stack = make_shared_stack()
    _, api = stack.together(partial(stack.worker, "jobs", "--autoscale=2,1"), stack.api)
    return Client(api.url)


def test_a_client_makes_follows_waits_for_retries_and_cancels(client: Client) -> None:
    job = client.create(pipeline="sleep", params={"seconds": 0.5, "fail": "no luck"}, tenant_id="acme")
    events = list(client.follow(job["job_id"]))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == ("job.created", "job.failed")
    ended = client.wait(job["job_id"])
    assert (ended["status"], ended["error"]) == ("failed", "no luck")

    # The stage `sleep` has succeeded and is not run again.
    again = client.retry(job["job_id"])
    assert again["retry_of"] == job["job_id"]
    events = list(client.follow(again["job_id"]))
    assert events[-1]["type"] == "job.failed"
    assert client.wait(again["job_id"])["status"] == "failed"

    slow = client.create(pipeline="sleep", params={"seconds": 600}, tenant_id="acme")
    last = client.create(pipeline="sleep", tenant_id="acme", depends_on=[slow["job_id"]], on_dependency_failure="cancel")
    assert client.get(last["job_id"])["reason"] == "dependency"
    client.cancel(slow["job_id"])
    assert [client.wait(one["job_id"])["status"] for one in (slow, last)] == ["cancelled", "cancelled"]


def test_a_client_makes_a_batch_and_lists_and_cancels_it(client: Client) -> None:
    quick = client.create_batch([{"pipeline": "sleep", "params": {"echo": n}} for n in range(5)], tenant_id="of-batches")
    until(lambda: client.batch(quick["batch_id"])["completed_at"], "the batch to end")
    assert client.batch(quick["batch_id"])["counts"]["completed"] == 5
    assert [job["result"]["data"]["echo"] for job in client.list(batch_id=quick["batch_id"], limit=2, include="result")] == [4, 3, 2, 1, 0]

    slow = client.create_batch([{"pipeline": "sleep", "params": {"seconds": 600}}] * 30, tenant_id="of-batches")
    assert client.cancel_batch(slow["batch_id"])["matched"] == 30
    until(lambda: client.batch(slow["batch_id"])["status"] == "cancelled", "the batch to be cancelled")
    assert {job["status"] for job in client.list(tenant_id="of-batches", status="cancelled")} == {"cancelled"}
    with pytest.raises(Refused) as refused:
        client.create_batch([{"pipeline": "sleep"}, {"pipeline": "nope"}])
    assert [error["field"] for error in refused.value.problem["errors"]] == ["jobs.1.pipeline"]


def test_a_webhook_is_checked_as_the_standard_says() -> None:
    body = json.dumps({"type": "job.completed"})
    now = datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg_1", now, body)
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(now.timestamp())), "Webhook-Signature": f"v1,AAAA {signature}"}
    assert verify_webhook(SECRET, headers, body.encode()) == {"type": "job.completed"}
    other = "whsec_" + base64.b64encode(b"another secret of 24 byte").decode()
    wrongs: tuple[Callable[[], object], ...] = (
        lambda: verify_webhook(other, headers, body.encode()),
        lambda: verify_webhook(SECRET, headers, body.encode() + b" "),
        lambda: verify_webhook(SECRET, {**headers, "Webhook-Id": "msg_2"}, body.encode()),
        lambda: verify_webhook(SECRET, headers, body.encode(), now=now.timestamp() + 301),
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"signature|old"):
            wrong()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "usage: python -m examples.client API_URL MEDIA_URL"),
        (("http://127.0.0.1:1", "https://media.example/a.mp4"), "Nothing answers at http://127.0.0.1:1."),
    ],
)
def test_as_a_program_it_says_what_is_wrong_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.client", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (1, said)
