"""The deliveries: taken by senders, settled, shown, sent again, purged. Each change is one script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_jobs.exceptions import UnknownDelivery
from pipeline_jobs.job import dumps, rfc3339
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.pages import Page, page
from pipeline_jobs.store.readable import readable
from pipeline_jobs.store.store import Store, store_errors
from pipeline_jobs.urls import origin
from pipeline_jobs.webhooks.signing import Draw

#: How long a delivery is a sender's without a sign of life, in ms. Renewed while it sends.
LEASE_MS = 10_000
DELIVERY_ID = re.compile(r"msg_[0-9a-f]{32}")
STATUSES = ("pending", "delivered", "dead")
PAGE = 500


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that this sender is to send."""

    lease: str
    #: Its host is known to be slow.
    slow: bool
    delivery_id: str
    event: str
    event_id: str
    #: How often it was tried before.
    tries: int
    tenant_id: str
    #: None: a job's own webhook.
    endpoint_id: str | None
    url: str
    #: None: the tenant has no secret yet.
    current: Draw | None
    old: Draw | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of the ledger. Times are Unix milliseconds."""

    delivery_id: str
    event: str
    tenant_id: str
    workspace_id: str
    #: The job or batch that it tells of; of a test the endpoint.
    subject: str
    endpoint_id: str | None
    url: str
    status: str
    tries: int
    created_at: int
    order: int
    ended_at: int | None
    next_try_at: int | None
    #: Of the last try; empty after a good one.
    error: str
    attempts: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it: of the URL scheme and host only."""
        return {
            "delivery_id": self.delivery_id,
            "event": self.event,
            "tenant_id": self.tenant_id,
            "subject": self.subject,
            "endpoint_id": self.endpoint_id,
            "origin": origin(self.url),
            "status": self.status,
            "tries": self.tries,
            "created_at": rfc3339(self.created_at),
            "ended_at": rfc3339(self.ended_at),
            "next_try_at": rfc3339(self.next_try_at),
            "error": self.error or None,
            "attempts": list(self.attempts),
        }


class Ledger:
    """The deliveries of a cell. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._ttl_ms = int(settings.webhook_ledger_seconds * 1000)

    # -- a sender's

    def take(self, quick: int, slow: int, renew: Sequence[str]) -> list[Taken]:
        """Take at most so many for quick hosts, and so many for slow ones, and renew these leases."""
        settings = self._settings
        caps = (settings.webhook_tenant_concurrency, settings.webhook_host_concurrency)
        reply = self._store.run("webhooks_claim", quick, LEASE_MS, *caps, slow, self._ttl_ms, len(renew), *renew)
        return [_taken(row) for row in reply]

    def snapshot(self, event_id: str) -> dict[str, str]:
        """What the payload of an event is made of; empty if it is gone."""
        with store_errors():
            return dict(self._store.client.hgetall(self._store.keys("webhook_event", event_id)))  # type: ignore[arg-type]

    def settle(self, lease: str, outcome: str, attempt: Mapping[str, Any], *, error: str, delay: float, slow: bool) -> str:
        """Say what came of a try. :return: the status afterwards, or `lost`: another sender has it."""
        reply = self._store.run(
            "webhooks_settle", lease, outcome, dumps(dict(attempt)), error, int(delay * 1000), "1" if slow else "", self._ttl_ms
        )
        return str(reply)

    # -- everybody's

    def get(self, delivery_id: str) -> Delivery:
        """:raises UnknownDelivery:"""
        for row in self._rows([delivery_id] if DELIVERY_ID.fullmatch(delivery_id) else []):
            return row
        raise UnknownDelivery

    def of_subject(self, subject: str) -> list[Delivery]:
        """The deliveries that tell of a job (or batch), oldest first."""
        with store_errors():
            ids: Any = self._store.client.zrange(self._store.keys("subject_deliveries", subject), 0, -1)
        return list(self._rows(ids))

    def list(self, tenant_id: str, status: str | None, cursor: str | None, limit: int) -> Page[Delivery]:
        """A tenant's, newest first.

        :raises InvalidInput: the cursor is not one of ours.
        """
        keys = self._store.keys
        index = keys("deliveries_in", tenant_id, status) if status else keys("deliveries", tenant_id)
        return page(self._store, index, cursor, limit, lambda ids: list(self._rows(ids)))

    def redeliver(self, delivery_id: str) -> Delivery:
        """Send it (again) now. :raises UnknownDelivery:"""
        if not DELIVERY_ID.fullmatch(delivery_id) or self._store.run("webhooks_redeliver", delivery_id) == "unknown":
            raise UnknownDelivery
        return self.get(delivery_id)

    def purge(self) -> int:
        """Remove the rows past their time. :return: how many."""
        removed = 0
        while True:
            count = int(self._store.run("webhooks_purge", PAGE))
            removed += count
            if count < PAGE:
                return removed

    def _rows(self, ids: Sequence[str]) -> Iterator[Delivery]:
        keys = self._store.keys
        with store_errors(), self._store.client.pipeline(transaction=False) as pipe:
            for delivery_id in ids:
                pipe.hgetall(keys("delivery", delivery_id))
                pipe.lrange(keys("delivery_attempts", delivery_id), 0, -1)
            found = pipe.execute()
        rows = ((flat, attempts) for flat, attempts in zip(found[::2], found[1::2], strict=True) if flat)
        yield from readable(rows, lambda row: _delivery(*row), kind="delivery")


def erase(store: Store, tenant_id: str) -> None:
    """Remove a tenant's endpoints, secrets and deliveries."""
    while int(store.run("webhooks_erase", tenant_id, PAGE)) == PAGE:
        pass


def _taken(row: Sequence[str]) -> Taken:
    lease, delivery_id, event, event_id, tries, tenant_id, _, endpoint_id, url, nonce, check, old_nonce, old_check = row
    return Taken(
        lease, lease.endswith(" 1"), delivery_id, event, event_id, int(tries), tenant_id, endpoint_id or None, url,
        current=Draw(nonce, check) if nonce else None, old=Draw(old_nonce, old_check) if old_nonce else None,
    )  # fmt: skip


def _delivery(flat: Mapping[str, str], attempts: Sequence[str]) -> Delivery:
    return Delivery(
        delivery_id=flat["delivery_id"],
        event=flat["type"],
        tenant_id=flat["tenant_id"],
        workspace_id=flat["workspace_id"],
        subject=flat["subject"],
        endpoint_id=flat["endpoint_id"] or None,
        url=flat["url"],
        status=flat["status"],
        tries=int(flat["tries"]),
        created_at=int(flat["created_at"]),
        order=int(flat["order"]),
        ended_at=int(flat["ended_at"]) if "ended_at" in flat else None,
        next_try_at=int(flat["next_try_at"]) if "next_try_at" in flat else None,
        error=flat.get("error", ""),
        attempts=tuple(map(_attempt, attempts)),
    )


def _attempt(text: str) -> dict[str, Any]:
    moment, _, rest = text.partition(" ")
    return {"ended_at": rfc3339(int(moment)), **json.loads(rest)}
