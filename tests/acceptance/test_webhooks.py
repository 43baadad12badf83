"""Webhooks over the real stack: from a request to the API to a signature that the receiver accepts, and past killed senders."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from pipeline_jobs.states import JobStatus
from tests.heavy.webhooks import run_webhooks
from tests.receiver import Receiver
from tests.stack import MakeStack, Stack
from tests.waiting import until

QUICK = {
    "webhook_allow_private": True,
    "webhook_retry_seconds": "0.2,0.2,0.2,0.2,0.2,0.2,0.2,0.2,0.2",
    "webhook_seconds": 0.5,
}


def test_a_job_made_over_http_is_told_to_its_webhook_and_to_the_tenants_endpoint(make_stack: MakeStack) -> None:
    stack = make_stack(**QUICK)
    *_, api = stack.together(stack.maintenance, stack.worker, stack.api)
    with Receiver() as own, Receiver(lambda hit: 500 if len(endpoint.hits) < 2 else 200) as endpoint:
        made = api.post(
            "/pipeline/webhook-endpoints", {"url": endpoint.url("/secret-path"), "tenant_id": "acme", "events": ["job.completed"]}
        )
        assert made.status_code == 201, made.text
        hook = made.json()
        job = api.post("/pipeline/jobs", {"pipeline": "sleep", "tenant_id": "acme", "webhook": {"url": own.url()}}).json()
        assert job["webhook"] == {"url": own.url(), "events": []}
        stack.until_status(job["job_id"], JobStatus.COMPLETED)
        until(lambda: own.hits and len(endpoint.hits) == 3, "the webhooks")
        secret = api.get("/pipeline/tenants/acme/webhook-secret").json()["secret"]
        told = Webhook(secret).verify(own.hits[0].body, dict(own.hits[0].headers))
        shown = api.get(f"/pipeline/jobs/{job['job_id']}").json()
        assert (told["type"], told["data"]) == ("job.completed", shown)
        for hit in endpoint.hits:
            assert Webhook(hook["secret"]).verify(hit.body, dict(hit.headers))["data"] == shown

        def deliveries() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = api.get(f"/pipeline/jobs/{job['job_id']}/deliveries").json()["deliveries"]
            return found

        until(lambda: {one["status"] for one in deliveries()} == {"delivered"}, "the ledger")
        by_endpoint = {one["endpoint_id"]: one for one in deliveries()}
        assert set(by_endpoint) == {None, hook["endpoint_id"]}
        attempts = by_endpoint[hook["endpoint_id"]]["attempts"]
        assert [attempt["status"] for attempt in attempts] == [500, 500, 200]

        again = api.post(f"/pipeline/deliveries/{by_endpoint[None]['delivery_id']}/redeliver", None)
        assert again.status_code == 202
        until(lambda: len(own.hits) == 2, "the repetition")
        assert own.hits[0].message_id == own.hits[1].message_id
        tested = api.post(f"/pipeline/webhook-endpoints/{hook['endpoint_id']}/test", None).json()
        until(lambda: api.get(f"/pipeline/deliveries/{tested['delivery_id']}").json()["status"] == "delivered", "the test event")

        rotated = api.post(f"/pipeline/webhook-endpoints/{hook['endpoint_id']}/rotate", None).json()
        listed = stack.celery("jobs", "deliveries", "--tenant", "acme").stdout
        assert by_endpoint[None]["delivery_id"] in listed
        said = stack.celery("jobs", "redeliver", str(by_endpoint[None]["delivery_id"]))
        assert said.returncode == 0, said.stderr
        until(lambda: len(own.hits) == 3, "the repetition by the command")

        metrics = api.get("/metrics?scope=all").text
        assert 'pipeline_webhook_deliveries_total{outcome="retried"} 2.0' in metrics
        secrets = [text.removeprefix("whsec_") for text in (secret, hook["secret"], rotated["secret"])]
        audit = api.get("/pipeline/audit").text
        assert "webhook_endpoint.rotated" in audit
        everything = [metrics, audit, listed, api.get("/pipeline/webhook-endpoints").text, str(deliveries())]
        everything += [stack.log(name) for name in ("api", "jobs", "maintenance", "beat")]
        assert not [text for text in everything if any(one in text for one in secrets)]
        # Nor what of an address may be a token.
        assert "secret-path" not in stack.log("maintenance") + metrics + audit + str(deliveries())


#: Where a sender dies, by the prefix of its installation's keys; each pool child with its third message, one after the other.
PLACES = {"take:": "webhook.after_take", "post:": "webhook.after_post"}


def test_a_sender_that_dies_before_it_can_write_the_answer_sends_the_message_again_with_its_id(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    """At both places at once, each in an installation of its own: both wait until the leases of dead senders end."""
    stacks = {
        place: make_stack(**QUICK, webhook_host_concurrency=1, key_prefix=prefix, cell=number, data_dir=tmp_path / prefix.strip(":"))
        for number, (prefix, place) in enumerate(PLACES.items())
    }
    with ThreadPoolExecutor(len(stacks)) as pool:
        for done in [pool.submit(check_senders_that_die, stack, place) for place, stack in stacks.items()]:
            done.result()


def check_senders_that_die(stack: Stack, place: str) -> None:
    with Receiver() as receiver:
        stack.run_maintenance(PIPELINE_FAILPOINTS=f"{place}=kill@3")
        stack.worker()
        jobs = [stack.submit(webhook={"url": receiver.url()}) for _ in range(5)]
        for job in jobs:
            stack.until_status(job.job_id, JobStatus.COMPLETED)
        ledger = stack.app.cell.webhooks.ledger
        until(lambda: all(row.status == "delivered" for job in jobs for row in ledger.of_subject(job.job_id)), "all five", 120)
        if place == "webhook.after_post":
            assert len(receiver.ids()) > 5, "none was sent twice: nobody died"
        assert set(receiver.ids()) == {row.delivery_id for job in jobs for row in ledger.of_subject(job.job_id)}
        assert re.search(r"exited with 'signal 9|signal 9 \(SIGKILL\)", stack.log("maintenance"))


def test_no_message_is_lost_whatever_receivers_do_and_senders_are_killed(make_stack: MakeStack) -> None:
    """The short form of `tests/heavy/bar_webhooks.py`."""
    stack = make_stack(**QUICK, webhook_timeout_seconds=1.0, announce_seconds=1000.0, lease_seconds=60.0)
    figures, _ = run_webhooks(stack, messages=120, to_dead=20, to_well=60, kills=4, seed=1, rate=20, tenants=6)
    assert figures.wrong == []
    assert figures.kills == 4
    assert set(figures.answers) >= {"200", "500", "hang", "429", "reset"}
