"""The outbox, the ledger and the sender, on a real server and with real receivers on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from pipeline_jobs.cell import Webhooks
from pipeline_jobs.events import log as events
from pipeline_jobs.exceptions import (
    EndpointDisabled,
    InvalidInput,
    JobGone,
    KeyChanged,
    UnknownDelivery,
    UnknownEndpoint,
    WebhooksFull,
)
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.states import JobStatus
from pipeline_jobs.webhooks.endpoints import MAX_ENDPOINTS
from pipeline_jobs.webhooks.payload import body
from tests.commands import commands, scripts
from tests.integration.conftest import Cell, make_cell
from tests.integration.recount import differences
from tests.receiver import Answer, Hit, Receiver
from tests.waiting import until

KEY = "the key of the installation"
NO_ARTIFACTS = cast(ArtifactStore, SimpleNamespace(delete_prefix=lambda prefix: None))


class Hooks:
    """A cell with webhooks, and shorthands."""

    def __init__(self, cell: Cell, key: str = KEY) -> None:
        self.cell = cell
        self.parts = Webhooks.of(cell.store, cell.settings, lambda: key)
        self.endpoints, self.ledger, self.sender = self.parts.endpoints, self.parts.ledger, self.parts.sender

    def end(self, outcome: JobStatus = JobStatus.COMPLETED, **fields: object) -> Job:
        """A job that was run to this end."""
        run = self.cell.running(**{"tenant_id": "acme", **fields})
        self.cell.store.finish(run.job_id, run.fence, outcome, result={"success": True, "data": {"n": 1}}, error="x")
        return self.cell.client.get(run.job_id)

    def of(self, job: Job) -> list[tuple[str, str]]:
        return [(row.event, row.status) for row in self.ledger.of_subject(job.job_id)]

    def outcome(self, delivery_id: str, status: str) -> None:
        until(lambda: self.ledger.get(delivery_id).status == status, f"{delivery_id} to be {status}")

    def counted(self, outcome: str) -> int:
        return int(self.cell.store.client.hget(self.cell.store.keys("counters"), f"webhook_deliveries|{outcome}") or 0)


@pytest.fixture
def hooks(jobs: Cell) -> Iterator[Hooks]:
    """Quick tries, and receivers on loopback."""
    cell = jobs.with_settings(webhook_allow_private=True, webhook_retry_seconds="0.05,0.05,0.05")
    made = Hooks(cell)
    yield made
    made.sender.stop(60)
    cell.store.close()


# -- the outbox


def test_the_end_of_a_job_makes_one_row_for_its_webhook_and_one_for_each_endpoint_that_wants_it(hooks: Hooks) -> None:
    all_, _ = hooks.endpoints.create("acme", "http://127.0.0.1:9/all")
    failed, _ = hooks.endpoints.create("acme", "http://127.0.0.1:9/failed", ["job.failed"])
    hooks.endpoints.create("other", "http://127.0.0.1:9/other")
    job = hooks.end(webhook={"url": "http://127.0.0.1:9/own"})
    rows = {(row.endpoint_id, row.event) for row in hooks.ledger.of_subject(job.job_id)}
    assert rows == {(None, "job.completed"), (all_.endpoint_id, "job.completed")}
    job = hooks.end(JobStatus.FAILED, webhook={"url": "http://127.0.0.1:9/own", "events": ["job.cancelled"]})
    rows = {(row.endpoint_id, row.event) for row in hooks.ledger.of_subject(job.job_id)}
    assert rows == {(all_.endpoint_id, "job.failed"), (failed.endpoint_id, "job.failed")}


def test_a_finish_that_is_sent_twice_makes_one_row(hooks: Hooks) -> None:
    run = hooks.cell.running(tenant_id="acme", webhook={"url": "http://127.0.0.1:9/own"})
    for _ in range(3):
        hooks.cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert hooks.of(run) == [("job.completed", "pending")]


def test_every_way_to_an_end_leaves_its_row(hooks: Hooks) -> None:
    own = {"url": "http://127.0.0.1:9/own"}
    hooks.cell.slots(0)
    queued = hooks.cell.submit(tenant_id="acme", webhook=own)
    hooks.cell.client.cancel(queued.job_id)
    assert hooks.of(queued) == [("job.cancelled", "pending")]
    lost = hooks.cell.running(tenant_id="acme", webhook=own)
    for _ in range(hooks.cell.settings.max_crashes + 1):
        hooks.cell.let_worker_die()
        hooks.cell.store.rescue()
        hooks.cell.slots(100)
        if hooks.cell.client.get(lost.job_id).status is JobStatus.QUEUED:
            hooks.cell.start(lost.job_id)
    until(lambda: hooks.cell.store.rescue() is not None and hooks.cell.client.get(lost.job_id).ended, "the job to be given up")
    assert hooks.of(lost) == [("job.failed", "pending")]


def test_a_job_without_anybody_to_tell_leaves_nothing(hooks: Hooks) -> None:
    hooks.end()
    client = hooks.cell.store.client
    assert [key for key in client.keys("*") if "webhook" in key or "deliver" in key] == []


def test_a_tenant_with_too_many_waiting_is_refused_new_jobs_and_others_are_not(hooks: Hooks) -> None:
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    client.zadd(keys("deliveries_in", "acme", "pending"), {f"msg_{n}": n for n in range(100_000)})
    with pytest.raises(WebhooksFull):
        hooks.cell.submit(tenant_id="acme")
    hooks.cell.submit(tenant_id="other")


def test_a_tenant_with_too_many_waiting_gets_no_tests_of_its_endpoints_either(hooks: Hooks) -> None:
    """Each would be one more that waits. One that is sent again, because its answer was lost, is there."""
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    (greedy, _), (quiet, _) = (hooks.endpoints.create(tenant, "http://127.0.0.1:9/x") for tenant in ("greedy", "quiet"))

    def sends() -> Any:
        return hooks.cell.store.run("webhooks_test", id=greedy.endpoint_id, nonce="n", share=-1)

    first = sends()
    client.zadd(keys("deliveries_in", "greedy", "pending"), {f"msg_{n}": n for n in range(99_999)})
    assert sends() == first
    with pytest.raises(WebhooksFull):
        hooks.endpoints.test(greedy.endpoint_id)
    hooks.endpoints.test(quiet.endpoint_id)
    assert len(hooks.ledger.of_subject(greedy.endpoint_id)) == 1


def test_what_queued_jobs_will_send_to_several_endpoints_counts_before_they_end(hooks: Hooks) -> None:
    """All may end at once, by one cancel: a tenant had fifty times as many messages then, and the store's memory with them."""
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    queued = (keys("status", "queued"), keys("tenant_status", "acme", "queued"))

    def end(*job_ids: str) -> None:
        for key in queued:
            client.zrem(key, *job_ids)

    hooks.endpoints.create("acme", "http://127.0.0.1:9/1")
    for key in queued:
        client.zadd(key, {f"job_{n}": n for n in range(50_001)})
    job = hooks.cell.submit(tenant_id="acme")
    with pytest.raises(WebhooksFull):
        hooks.endpoints.create("acme", "http://127.0.0.1:9/2")
    end("job_0", "job_1")
    hooks.endpoints.create("acme", "http://127.0.0.1:9/2")
    with pytest.raises(WebhooksFull):
        hooks.cell.submit(tenant_id="acme")
    hooks.cell.submit(tenant_id="other")
    hooks.cell.client.cancel(job.job_id)
    end("job_2")
    hooks.cell.submit(tenant_id="acme")


def test_where_few_jobs_are_queued_no_endpoints_are_counted_and_few_is_by_how_many_there_may_be(hooks: Hooks) -> None:
    """With so many queued jobs of all tenants, and as many endpoints as one may have, the next job would be too much."""
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    for n in range(MAX_ENDPOINTS):
        hooks.endpoints.create("acme", f"http://127.0.0.1:9/{n}")
    for key in (keys("status", "queued"), keys("tenant_status", "acme", "queued")):
        client.zadd(key, {f"job_{n}": n for n in range(100_000 // MAX_ENDPOINTS)})
    with pytest.raises(WebhooksFull):
        hooks.cell.submit(tenant_id="acme")


# -- sending


def test_a_message_is_the_job_as_get_gives_it_signed_so_that_the_library_takes_it(hooks: Hooks) -> None:
    with Receiver() as receiver:
        endpoint, secret = hooks.endpoints.create("acme", receiver.url())
        job = hooks.end(tags=("a",), metadata={"empty": [], "big": 2**53 + 1, "name": "Zoë"})
        told = events.read(hooks.cell.store, job.job_id).events[-1].to_dict()
        # What is sent does not need the record any more.
        hooks.cell.client.delete(job.job_id)
        hooks.sender.run_once()
        until(lambda: receiver.hits, "the webhook")
        hit = receiver.hits[0]
        sent = Webhook(secret).verify(hit.body, dict(hit.headers))
        assert (sent["type"], sent["data"]) == ("job.completed", json.loads(json.dumps(job.to_body(""))))
        assert {name: sent[name] for name in told if name != "data"} == {name: told[name] for name in told if name != "data"}
        assert hit.headers["content-type"] == "application/json"
        hooks.outcome(hit.message_id, "delivered")
        row = hooks.ledger.get(hit.message_id)
        assert (row.endpoint_id, row.tries, row.error, row.next_try_at) == (endpoint.endpoint_id, 1, None, None)
        assert [attempt["status"] for attempt in row.attempts] == [200]
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(hit.body + b" ", dict(hit.headers))


def test_a_jobs_own_webhook_is_signed_by_the_secret_of_its_tenant(hooks: Hooks) -> None:
    with Receiver() as receiver:
        hooks.end(webhook={"url": receiver.url()})
        hooks.sender.run_once()
        until(lambda: receiver.hits, "the webhook")
        secret = hooks.parts.signer.reveal(hooks.endpoints.tenant_secret("acme").current)
        Webhook(secret).verify(receiver.hits[0].body, dict(receiver.hits[0].headers))
        foreign = hooks.parts.signer.reveal(hooks.endpoints.tenant_secret("other").current)
        with pytest.raises(WebhookVerificationError):
            Webhook(foreign).verify(receiver.hits[0].body, dict(receiver.hits[0].headers))


def test_after_a_rotation_both_secrets_sign_until_the_old_ones_time_is_over(hooks: Hooks) -> None:
    with Receiver() as receiver:
        endpoint, first = hooks.endpoints.create("acme", receiver.url())
        rotated, second = hooks.endpoints.rotate(endpoint.endpoint_id)
        assert rotated.old_secret_until is not None
        hooks.end()
        hooks.sender.run_once()
        until(lambda: receiver.hits, "the webhook")
        hit = receiver.hits[0]
        assert len(hit.headers["webhook-signature"].split(" ")) == 2
        for secret in (first, second):
            Webhook(secret).verify(hit.body, dict(hit.headers))
        hooks.cell.store.client.hset(hooks.cell.store.keys("endpoint", endpoint.endpoint_id), "old_until", 1)
        hooks.end()
        until(lambda: len(receiver.hits) == 2, "the second webhook")
        hit = receiver.hits[1]
        Webhook(second).verify(hit.body, dict(hit.headers))
        with pytest.raises(WebhookVerificationError):
            Webhook(first).verify(hit.body, dict(hit.headers))


def test_a_failed_try_is_tried_again_with_the_same_id_and_the_last_one_is_a_dead_letter_that_can_be_sent_again(hooks: Hooks) -> None:
    good = threading.Event()
    with Receiver(lambda hit: 200 if good.is_set() else 500) as receiver:
        job = hooks.end(webhook={"url": receiver.url()})
        (row,) = hooks.ledger.of_subject(job.job_id)
        hooks.sender.run_once()
        hooks.outcome(row.delivery_id, "dead")
        dead = hooks.ledger.get(row.delivery_id)
        assert (dead.tries, dead.error, set(receiver.ids())) == (4, "http_500", {row.delivery_id})
        assert len({hit.body for hit in receiver.hits}) == 1
        assert hooks.ledger.list("acme", "dead", None, 10).items == (dead,)
        good.set()
        for _ in range(2):
            hooks.ledger.redeliver(row.delivery_id)
        hooks.outcome(row.delivery_id, "delivered")
        assert hooks.ledger.list("acme", "dead", None, 10).items == ()
        assert [attempt["status"] for attempt in hooks.ledger.get(row.delivery_id).attempts] == [500, 500, 500, 500, 200]
        assert (hooks.counted("retried"), hooks.counted("dead"), hooks.counted("delivered")) == (3, 1, 1)
        assert (
            'pipeline_webhook_deliveries_total{outcome="retried"} 3.0'
            in StoreMetrics(hooks.cell.store, hooks.cell.settings).text().decode()
        )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("hang", "timeout"), ("drip", "timeout"), ("reset", "connection_failed"), ((302, {"Location": "http://127.0.0.1:9/"}), "redirect"),
        (404, "http_404"), (503, "http_503"),
    ],
)  # fmt: skip
def test_what_a_receiver_may_do_wrong_is_told_by_a_word_and_tried_again(hooks: Hooks, answer: Answer, error: str) -> None:
    # Only where there is no answer is the time short: a busy machine may take a second for any.
    patience = 1.0 if error == "timeout" else 15.0
    impatient = Hooks(hooks.cell.with_settings(webhook_timeout_seconds=patience))
    with Receiver(lambda hit: 200 if len(receiver.hits) else answer) as receiver:
        job = hooks.end(webhook={"url": receiver.url()})
        (row,) = hooks.ledger.of_subject(job.job_id)
        impatient.sender.run_once()
        hooks.outcome(row.delivery_id, "delivered")
        errors = [attempt["error"] for attempt in hooks.ledger.get(row.delivery_id).attempts]
        assert (errors[0], errors[-1]) == (error, None)
        impatient.sender.stop(60)
        impatient.cell.store.close()


def test_a_body_without_end_does_not_matter(hooks: Hooks) -> None:
    with Receiver(lambda hit: "endless") as receiver:
        job = hooks.end(webhook={"url": receiver.url()})
        hooks.sender.run_once()
        until(lambda: hooks.of(job) == [("job.completed", "delivered")], "the webhook")


def test_one_that_is_gone_after_its_endpoint_has_another_url_disables_nothing_and_its_message_goes_there(hooks: Hooks) -> None:
    with Receiver() as successor:

        def moved(hit: Hit) -> int:
            hooks.endpoints.update(endpoint.endpoint_id, url=successor.url())
            return 410

        with Receiver(moved) as receiver:
            endpoint, _ = hooks.endpoints.create("acme", receiver.url())
            job = hooks.end()
            hooks.sender.run_once()
            until(lambda: hooks.of(job) == [("job.completed", "delivered")], "the message at its new address")
    assert hooks.endpoints.get(endpoint.endpoint_id).enabled
    assert [len(one.hits) for one in (receiver, successor)] == [1, 1]
    (row,) = hooks.ledger.of_subject(job.job_id)
    assert [attempt["error"] for attempt in row.attempts] == ["http_410", None]


def test_a_receiver_that_is_gone_disables_its_endpoint_and_what_waits_for_it_is_dead(hooks: Hooks) -> None:
    with Receiver(lambda hit: 410) as receiver:
        endpoint, _ = hooks.endpoints.create("acme", receiver.url())
        first = hooks.end()
        hooks.sender.run_once()
        until(lambda: hooks.of(first) == [("job.completed", "dead")], "the answer")
        now = hooks.endpoints.get(endpoint.endpoint_id)
        assert (now.enabled, now.disabled_reason) == (False, "gone")
        assert hooks.of(hooks.end()) == []
        with pytest.raises(EndpointDisabled):
            hooks.endpoints.test(endpoint.endpoint_id)
        (row,) = hooks.ledger.of_subject(first.job_id)
        hooks.ledger.redeliver(row.delivery_id)
        until(lambda: hooks.ledger.get(row.delivery_id).error == "endpoint_disabled", "its turn")
        enabled = hooks.endpoints.update(endpoint.endpoint_id, enabled=True)
        assert (enabled.enabled, enabled.disabled_reason) == (True, None)


def test_retry_after_is_obeyed(hooks: Hooks) -> None:
    with Receiver(lambda hit: (429, {"Retry-After": "3600"})) as receiver:
        job = hooks.end(webhook={"url": receiver.url()})
        hooks.sender.run_once()
        until(lambda: hooks.ledger.of_subject(job.job_id)[0].tries, "the try")
        (row,) = hooks.ledger.of_subject(job.job_id)
        assert row.next_try_at is not None
        assert row.next_try_at >= datetime.now(UTC).timestamp() * 1000 + 3_500_000


def test_a_test_event_goes_to_its_endpoint_whatever_that_wants(hooks: Hooks) -> None:
    with Receiver() as receiver:
        endpoint, secret = hooks.endpoints.create("acme", receiver.url(), ["job.failed"])
        delivery_id = hooks.endpoints.test(endpoint.endpoint_id)
        hooks.sender.run_once()
        hooks.outcome(delivery_id, "delivered")
        sent = Webhook(secret).verify(receiver.hits[0].body, dict(receiver.hits[0].headers))
        assert (sent["type"], sent["data"]) == ("endpoint.test", {"endpoint_id": endpoint.endpoint_id, "tenant_id": "acme"})


def test_the_last_end_of_a_batch_is_told_once_with_the_batch_as_it_is(hooks: Hooks) -> None:
    with Receiver() as receiver:
        _, secret = hooks.endpoints.create("acme", receiver.url(), ["batch.completed"])
        batches = Batches(hooks.cell.client)
        batch = batches.create(NewBatch([NewJob(pipeline="sleep")] * 3, tenant_id="acme"))
        for job in hooks.cell.client.list(JobQuery(tenant_id="acme")).items:
            assert receiver.hits == []
            hooks.cell.client.cancel(job.job_id)
        hooks.sender.run_once()
        until(lambda: receiver.hits, "the webhook")
        sent = Webhook(secret).verify(receiver.hits[0].body, dict(receiver.hits[0].headers))
        assert (sent["type"], sent["data"]) == ("batch.completed", batches.get(batch.batch.batch_id).to_body(""))
        assert sent["data"]["counts"]["cancelled"] == 3
        assert [row.status for row in hooks.ledger.list("acme", None, None, 10).items][1:] == []


def test_an_endpoint_that_was_deleted_gets_nothing_more(hooks: Hooks) -> None:
    with Receiver() as receiver:
        endpoint, _ = hooks.endpoints.create("acme", receiver.url())
        job = hooks.end()
        hooks.endpoints.delete(endpoint.endpoint_id)
        hooks.sender.run_once()
        until(lambda: hooks.of(job) == [("job.completed", "dead")], "its turn")
        assert (receiver.hits, hooks.ledger.of_subject(job.job_id)[0].error) == ([], "endpoint_deleted")
        with pytest.raises(UnknownEndpoint):
            hooks.endpoints.get(endpoint.endpoint_id)


# -- leases


def test_what_a_killed_sender_had_taken_comes_again_and_its_own_word_counts_no_more(hooks: Hooks) -> None:
    job = hooks.end(webhook={"url": "http://127.0.0.1:9/own"})
    (taken,) = hooks.ledger.take(10, 10, [])
    assert hooks.ledger.take(10, 10, []) == []
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    client.zadd(keys("webhook_leases"), {taken.lease: 1})
    (again,) = hooks.ledger.take(10, 10, [])
    # A renewal that comes too late renews nothing.
    assert hooks.ledger.take(10, 10, [taken.lease]) == []
    assert client.zrange(keys("webhook_leases"), 0, -1) == [again.lease]
    assert (again.delivery_id, again.tries) == (taken.delivery_id, 0)
    assert hooks.ledger.settle(taken.lease, "delivered", {}, error="", delay=0, slow=False) == "lost"
    assert hooks.of(job) == [("job.completed", "pending")]
    for _ in range(2):
        assert hooks.ledger.settle(again.lease, "delivered", {}, error="", delay=0, slow=False) == "delivered"
    row = hooks.ledger.get(taken.delivery_id)
    assert (row.status, row.tries, len(row.attempts), hooks.counted("sender_lost"), hooks.counted("delivered")) == ("delivered", 1, 1, 1, 1)


def test_a_sender_with_nothing_to_do_asks_one_thing_and_what_comes_is_seen(hooks: Hooks) -> None:
    with commands(hooks.cell.store.client) as given:
        hooks.sender.run_once()
        until(lambda: given.so_far()["exists"] >= 2, "two looks")
        assert scripts(given.so_far()) == 0
    assert not hooks.ledger.waits()
    hooks.sender.stop(60)
    # Each place where a delivery can be: due, being sent, tried again later.
    hooks.end(webhook={"url": "http://127.0.0.1:9/own"})
    assert hooks.ledger.waits()
    (taken,) = hooks.ledger.take(10, 10, [])
    assert hooks.ledger.waits()
    assert hooks.ledger.settle(taken.lease, "retry", {}, error="x", delay=0, slow=False) == "pending"
    assert hooks.ledger.waits()
    (taken,) = hooks.ledger.take(10, 10, [])
    assert hooks.ledger.settle(taken.lease, "retry", {}, error="x", delay=3600, slow=False) == "pending"
    assert hooks.ledger.waits()


def test_a_lease_that_is_renewed_stays(hooks: Hooks) -> None:
    hooks.end(webhook={"url": "http://127.0.0.1:9/own"})
    (taken,) = hooks.ledger.take(10, 10, [])
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    client.zadd(keys("webhook_leases"), {taken.lease: 1})
    assert hooks.ledger.take(10, 10, [taken.lease]) == []
    assert client.zscore(keys("webhook_leases"), taken.lease) > 1


def test_on_a_full_server_messages_are_still_made_sent_and_purged(hooks: Hooks) -> None:
    server, keys = hooks.cell.store.client, hooks.cell.store.keys
    with Receiver(lambda hit: 200 if len(receiver.hits) else 500) as receiver:
        run = hooks.cell.running(tenant_id="acme", webhook={"url": receiver.url()})
        hooks.endpoints.tenant_secret("acme")
        server.config_set("maxmemory", "1mb")
        try:
            hooks.cell.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
            hooks.sender.run_once()
            until(lambda: hooks.of(run) == [("job.completed", "delivered")], "the webhook")
            (row,) = hooks.ledger.of_subject(run.job_id)
            assert row.tries == 2
            # (In a script that may: a plain ZADD is refused now.)
            server.eval(
                "#!lua flags=allow-oom\nreturn redis.call('ZADD', KEYS[1], 1, ARGV[1])", 1, keys("deliveries_ended"), row.delivery_id
            )
            assert hooks.ledger.purge() == 1
            assert erase_tenant(hooks.cell.store, NO_ARTIFACTS, "acme", dry_run=False).done
        finally:
            server.config_set("maxmemory", 0)


# -- whose turn


def test_a_tenant_with_a_backlog_is_served_in_turn_and_up_to_its_caps(hooks: Hooks) -> None:
    for _ in range(20):
        hooks.end(tenant_id="big", webhook={"url": "http://127.0.0.1:9/own"})
    hooks.end(tenant_id="small", webhook={"url": "http://127.0.0.1:9/own"})
    first = [taken for _ in range(3) for taken in hooks.ledger.take(1, 0, [])]
    assert [taken.tenant_id for taken in first] == ["big", "small", "big"]
    settings = hooks.cell.settings
    rest = hooks.ledger.take(100, 100, [])
    assert len([taken for taken in first + rest if taken.tenant_id == "big"]) == settings.webhook_host_concurrency
    for port in range(5):
        hooks.end(tenant_id="big", webhook={"url": f"http://127.0.0.1:{20 + port}/own"})
    rest += hooks.ledger.take(100, 100, [])
    assert len([taken for taken in first + rest if taken.tenant_id == "big"]) == settings.webhook_tenant_concurrency


def test_slow_hosts_get_fewer_at_once_and_none_of_what_is_for_the_quick(hooks: Hooks) -> None:
    for tenant in range(10):
        for _ in range(6):
            hooks.end(tenant_id=f"t{tenant}", webhook={"url": "http://127.0.0.1:9/own"})
        hooks.cell.store.client.hset(hooks.cell.store.keys("webhook_health"), f"t{tenant} 127.0.0.1:9", 3)
    hooks.end(tenant_id="quick", webhook={"url": "http://127.0.0.1:9/own"})
    first = hooks.ledger.take(100, 7, [])
    assert sorted((taken.slow, taken.tenant_id == "quick") for taken in first) == [(False, True)] + [(True, False)] * 7
    assert hooks.ledger.take(100, 0, []) == []
    rest = hooks.ledger.take(0, 100, [])
    assert len(first) - 1 + len(rest) == 10 * hooks.cell.settings.webhook_host_concurrency // 2


def test_a_host_is_slow_after_three_slow_answers_in_a_row_until_a_quick_one(hooks: Hooks) -> None:
    for _ in range(5):
        hooks.end(webhook={"url": "http://127.0.0.1:9/own"})
    seen = []
    for slow in (True, True, True, False, False):
        (taken,) = hooks.ledger.take(1, 0, []) or hooks.ledger.take(0, 1, [])
        seen.append(taken.slow)
        hooks.ledger.settle(taken.lease, "delivered", {}, error="", delay=0, slow=slow)
    assert seen == [False, False, False, True, False]


def test_of_a_tenant_with_slow_hosts_without_number_the_newest_thousand_are_remembered(hooks: Hooks) -> None:
    """Each job may name a host of its own, and rows that have ended go with their time."""
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    before = {f"h{n}.example": n for n in range(999)}
    client.zadd(keys("webhook_slow", "greedy"), before)
    client.hset(keys("webhook_health"), mapping={f"greedy {host}": 1 for host in before})
    # Of hosts that were quick again a process of the version before takes away the count alone.
    client.zadd(keys("webhook_slow", "greedy"), {f"former{n}.example": -n for n in range(5)})
    hooks.end(tenant_id="quiet", webhook={"url": "http://127.0.0.1:9/own"})
    for n in range(3):
        hooks.end(tenant_id="greedy", webhook={"url": f"http://new{n}.example/own"})
    for taken in hooks.ledger.take(100, 0, []):
        hooks.ledger.settle(taken.lease, "dead", {}, error="timeout", delay=0, slow=True)
    slow = {host for tenant, host in map(str.split, client.hkeys(keys("webhook_health"))) if tenant == "greedy"}
    assert slow == {f"h{n}.example" for n in range(2, 999)} | {f"new{n}.example" for n in range(3)}
    assert slow == set(client.zrange(keys("webhook_slow", "greedy"), 0, -1))
    assert client.hget(keys("webhook_health"), "quiet 127.0.0.1:9") == "1"


def test_a_hanging_receiver_delays_nobody_else(hooks: Hooks) -> None:
    with Receiver(lambda hit: "hang") as dead, Receiver() as good:
        for _ in range(30):
            hooks.end(tenant_id="dead", webhook={"url": dead.url()})
        hooks.sender.run_once()
        until(lambda: len(dead.hits) >= hooks.cell.settings.webhook_host_concurrency, "the senders to hang")
        for tenant in range(20):
            hooks.end(tenant_id=f"t{tenant}", webhook={"url": good.url()})
        until(lambda: len(good.hits) == 20, "the others' webhooks")
        assert len(dead.hits) < 30


# -- endpoints, secrets


def test_no_secret_is_in_the_store(hooks: Hooks) -> None:
    endpoint, first = hooks.endpoints.create("acme", "http://127.0.0.1:9/x")
    _, second = hooks.endpoints.rotate(endpoint.endpoint_id)
    third = hooks.parts.signer.reveal(hooks.endpoints.tenant_secret("acme").current)
    client = hooks.cell.store.client
    kept = [repr(client.hgetall(key)) for key in client.keys("*webhook*") if client.type(key) == "hash"]
    assert kept
    for secret in (first, second, third):
        assert len(secret) == len("whsec_") + 44
        assert not any(secret.removeprefix("whsec_")[:20] in text for text in kept)


def test_a_changed_key_of_the_installation_is_noticed_and_a_rotation_mends_it(hooks: Hooks) -> None:
    with Receiver() as receiver:
        endpoint, _ = hooks.endpoints.create("acme", receiver.url())
        hooks.endpoints.tenant_secret("acme")
        job = hooks.end()
        other = Hooks(hooks.cell, "another key")
        with pytest.raises(KeyChanged):
            other.parts.signer.reveal(other.endpoints.tenant_secret("acme").current)
        other.sender.run_once()
        until(lambda: other.ledger.of_subject(job.job_id)[0].error == "webhook_key_changed", "the try")
        assert receiver.hits == []
        _, secret = other.endpoints.rotate(endpoint.endpoint_id)
        (row,) = other.ledger.of_subject(job.job_id)
        other.ledger.redeliver(row.delivery_id)
        other.outcome(row.delivery_id, "delivered")
        Webhook(secret).verify(receiver.hits[0].body, dict(receiver.hits[0].headers))
        other.sender.stop(60)


def test_endpoints_are_listed_in_pages_changed_and_checked(hooks: Hooks) -> None:
    made = [hooks.endpoints.create("acme", f"http://127.0.0.1:9/{n}")[0].endpoint_id for n in range(5)]
    hooks.endpoints.create("other", "http://127.0.0.1:9/x")
    first = hooks.endpoints.list("acme", None, 3)
    second = hooks.endpoints.list("acme", first.next_cursor, 3)
    assert [one.endpoint_id for one in first.items + second.items] == made[::-1]
    assert (second.next_cursor, len(hooks.endpoints.list(None, None, 100).items)) == (None, 6)
    changed = hooks.endpoints.update(made[0], events=["job.failed"], description="x")
    assert (changed.events, changed.description, changed.url) == (("job.failed",), "x", "http://127.0.0.1:9/0")
    for wrong in ({"url": "ftp://x"}, {"events": ["job.born"]}, {"description": "x" * 201}):
        with pytest.raises(InvalidInput) as error:
            hooks.endpoints.update(made[0], **wrong)
        assert error.value.field == next(iter(wrong))
    with pytest.raises(InvalidInput, match="cursor"):
        hooks.endpoints.list("acme", "x", 3)


# -- the end of a row


def test_ended_rows_go_with_their_time_and_the_payload_with_the_last_of_them(hooks: Hooks) -> None:
    hooks.endpoints.create("acme", "http://127.0.0.1:9/all")
    job = hooks.end(webhook={"url": "http://127.0.0.1:9/own"})
    for taken in hooks.ledger.take(10, 10, []):
        hooks.ledger.settle(taken.lease, "dead", {}, error="x", delay=0, slow=False)
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    assert hooks.ledger.purge() == 0
    ids = [row.delivery_id for row in hooks.ledger.of_subject(job.job_id)]
    client.zadd(keys("deliveries_ended"), {ids[0]: 1})
    assert (hooks.ledger.purge(), len(client.keys(keys("webhook_event", "*")))) == (1, 1)
    client.zadd(keys("deliveries_ended"), {ids[1]: 1})
    assert (hooks.ledger.purge(), client.keys(keys("webhook_event", "*")), hooks.ledger.of_subject(job.job_id)) == (1, [], [])
    with pytest.raises(UnknownDelivery):
        hooks.ledger.redeliver(ids[0])


def settle_all(hooks: Hooks, outcome: str) -> None:
    for taken in hooks.ledger.take(10, 10, []):
        hooks.ledger.settle(taken.lease, outcome, {}, error="", delay=0, slow=False)


def test_a_message_that_all_receivers_have_keeps_a_reference_and_no_body(hooks: Hooks) -> None:
    for path in ("a", "b"):
        hooks.endpoints.create("acme", f"http://127.0.0.1:9/{path}")
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    job = hooks.end(metadata={"note": "n" * 5000})
    (event,) = client.keys(keys("webhook_event", "*"))
    event_id = event.removeprefix(keys("webhook_event", ""))
    whole, first, second = hooks.ledger.snapshot(event_id), *hooks.ledger.take(10, 10, [])
    hooks.ledger.settle(first.lease, "delivered", {}, error="", delay=0, slow=False)
    assert client.memory_usage(event, samples=0) > 5000, "another one may still have to be sent when the record is gone"
    hooks.ledger.settle(second.lease, "delivered", {}, error="", delay=0, slow=False)
    assert client.memory_usage(event, samples=0) < 600
    shapes = hooks.sender._shapes
    assert body(hooks.ledger.snapshot(event_id), "http://x", shapes) == body(whole, "http://x", shapes)
    assert hooks.ledger.redeliver(first.delivery_id).status == "pending"
    hooks.ledger.settle(hooks.ledger.take(1, 0, [])[0].lease, "delivered", {}, error="", delay=0, slow=False)
    # A later job with its id is another job.
    hooks.cell.client.delete(job.job_id)
    hooks.cell.client.accept(NewJob(pipeline="sleep", tenant_id="acme"), job_id=job.job_id)
    with pytest.raises(JobGone):
        hooks.ledger.redeliver(first.delivery_id)
    assert hooks.ledger.snapshot(event_id) == {}
    assert differences(hooks.cell.store) == []


def test_a_message_that_a_receiver_does_not_have_keeps_its_body(hooks: Hooks) -> None:
    hooks.endpoints.create("acme", "http://127.0.0.1:9/a")
    job = hooks.end()
    settle_all(hooks, "dead")
    hooks.cell.client.delete(job.job_id)
    (row,) = hooks.ledger.of_subject(job.job_id)
    assert hooks.ledger.redeliver(row.delivery_id).status == "pending"
    (taken,) = hooks.ledger.take(10, 10, [])
    assert hooks.ledger.snapshot(taken.event_id)["job_id"] == job.job_id


def test_the_end_of_a_batch_that_was_told_keeps_a_reference_too(hooks: Hooks) -> None:
    hooks.endpoints.create("acme", "http://127.0.0.1:9/a", ["batch.completed"])
    made = Batches(hooks.cell.client).create(NewBatch([NewJob(pipeline="sleep")], tenant_id="acme", metadata={"note": "n" * 5000}))
    Batches(hooks.cell.client).cancel(made.batch.batch_id)
    settle_all(hooks, "delivered")
    (event,) = hooks.cell.store.client.keys(hooks.cell.store.keys("webhook_event", "*"))
    assert hooks.cell.store.client.memory_usage(event, samples=0) < 600
    (row,) = hooks.ledger.of_subject(made.batch.batch_id)
    assert hooks.ledger.redeliver(row.delivery_id).status == "pending"
    (taken,) = hooks.ledger.take(10, 10, [])
    assert json.loads(body(hooks.ledger.snapshot(taken.event_id), "http://x", hooks.sender._shapes))["data"]["metadata"]["note"]
    assert differences(hooks.cell.store) == []


def test_erasing_a_tenant_takes_its_webhooks_too(hooks: Hooks, tmp_path: Path) -> None:
    artifacts = ArtifactStore((tmp_path / "artifacts").as_uri(), "http://x", lambda: "k")
    for tenant in ("gone", "kept"):
        hooks.endpoints.create(tenant, "http://127.0.0.1:9/all")
        hooks.endpoints.tenant_secret(tenant)
        for _ in range(3):
            hooks.end(tenant_id=tenant, webhook={"url": "http://127.0.0.1:9/own"})
    leased = [taken for taken in hooks.ledger.take(4, 0, []) if taken.tenant_id == "gone"]
    waiting = [taken for taken in hooks.ledger.take(1, 0, []) if taken.tenant_id == "gone"]
    for taken in waiting:
        hooks.ledger.settle(taken.lease, "retry", {}, error="x", delay=100, slow=True)
    assert erase_tenant(hooks.cell.store, artifacts, "gone", dry_run=False).done
    assert hooks.ledger.settle(leased[0].lease, "delivered", {}, error="", delay=0, slow=False) == "lost"
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    # But for what the audit log says of it, until its time comes.
    assert [key for key in client.keys("*") if "gone" in key and ":audit:" not in key] == []
    members = [*client.zrange(keys("webhook_ring"), 0, -1), *client.zrange(keys("webhook_wake"), 0, -1)]
    members += [*client.zrange(keys("webhook_leases"), 0, -1), *client.hkeys(keys("webhook_health"))]
    assert [member for member in members if "gone" in member] == []
    assert len(hooks.ledger.list("kept", None, None, 100).items) == 6
    assert differences(hooks.cell.store) == []


def test_erasing_a_tenant_forgets_slow_hosts_whose_deliveries_have_gone_before(hooks: Hooks) -> None:
    client, keys = hooks.cell.store.client, hooks.cell.store.keys
    for tenant in ("gone", "kept"):
        hooks.end(tenant_id=tenant, webhook={"url": "http://127.0.0.1:9/own"})
        (taken,) = hooks.ledger.take(1, 0, [])
        hooks.ledger.settle(taken.lease, "dead", {}, error="timeout", delay=0, slow=True)
    client.zadd(keys("deliveries_ended"), dict.fromkeys(hooks.cell.store.members("deliveries_ended"), 1))
    assert hooks.ledger.purge() == 2
    assert erase_tenant(hooks.cell.store, NO_ARTIFACTS, "gone", dry_run=False).done
    assert client.hkeys(keys("webhook_health")) == ["kept 127.0.0.1:9"]


def test_two_senders_at_once_send_each_message_once(hooks: Hooks) -> None:
    second = Hooks(make_cell(hooks.cell.settings))
    with Receiver() as receiver:
        for _ in range(60):
            hooks.end(webhook={"url": receiver.url()})
        hooks.sender.run_once()
        second.sender.run_once()
        until(lambda: hooks.counted("delivered") == 60, "all of them")
        assert len(receiver.ids()) == len(set(receiver.ids())) == 60
    second.sender.stop(60)
    second.cell.store.close()


@pytest.mark.parametrize("broken", ["created_at", "result"])
def test_a_message_that_cannot_be_made_is_dead_at_once_and_counted(hooks: Hooks, broken: str) -> None:
    with Receiver() as receiver:
        hooks.endpoints.create("acme", receiver.url())
        job = hooks.end()
        (row,) = hooks.ledger.of_subject(job.job_id)
        client = hooks.cell.store.client
        (snapshot,) = client.keys(hooks.cell.store.keys("webhook_event", "*"))
        client.hset(snapshot, broken, "[no json")
        hooks.sender.run_once()
        hooks.outcome(row.delivery_id, "dead")
        dead = hooks.ledger.get(row.delivery_id)
        assert (dead.error, dead.tries, hooks.counted("dead"), receiver.hits) == ("payload_broken", 1, 1, [])


def test_a_type_that_this_version_does_not_know_is_left_to_a_later_one_for_a_while(hooks: Hooks) -> None:
    hooks.endpoints.create("acme", "http://127.0.0.1:9/")
    job = hooks.end()
    (row,) = hooks.ledger.of_subject(job.job_id)
    client = hooks.cell.store.client
    (snapshot,) = client.keys(hooks.cell.store.keys("webhook_event", "*"))
    client.hset(snapshot, "webhook_type", "flow.completed")
    hooks.sender.run_once()
    hooks.outcome(row.delivery_id, "dead")
    tried = hooks.ledger.get(row.delivery_id)
    assert (tried.error, tried.tries, hooks.counted("retried"), hooks.counted("sender_lost")) == ("type_unknown", 4, 3, 0)
