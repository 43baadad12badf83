"""The deliveries: taken by senders, settled, shown, sent again, purged. Each change is one script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_jobs.addresses import origin
from pipeline_jobs.exceptions import JobGone, UnknownDelivery
from pipeline_jobs.job import dumps, rfc3339
from pipeline_jobs.records import HIDDEN, NOT_STORED, Layout, Moment
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.pages import Page, page
from pipeline_jobs.store.readable import readable
from pipeline_jobs.store.store import Store
from pipeline_jobs.webhooks.signing import Draw

#: How long a delivery is a sender's without a sign of life, in ms. Renewed while it sends.
LEASE_MS = 10_000
DELIVERY_ID = re.compile(r"msg_[0-9a-f]{32}")
STATUSES = ("pending", "delivered", "dead")
#: Rows that one script removes: some thousand commands.
PAGE = 100


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A row of the ledger. Times are Unix milliseconds."""

    delivery_id: str
    event: str = field(metadata={"stored": "type"})
    tenant_id: str
    workspace_id: str = field(metadata=HIDDEN)
    #: The job or batch that it tells of; of a test the endpoint.
    subject: str
    endpoint_id: str | None
    url: str = field(metadata=HIDDEN)
    #: Scheme and host of the URL, which is all of it that anybody is shown.
    origin: str = field(metadata=NOT_STORED)
    status: str
    tries: int
    created_at: Moment
    order: int = field(metadata=HIDDEN)
    ended_at: Moment | None
    next_try_at: Moment | None
    #: Of the last try; None after a good one.
    error: str | None
    attempts: tuple[Mapping[str, Any], ...] = field(metadata=NOT_STORED)

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str], attempts: Sequence[str]) -> Delivery:
        """From what `HGETALL` gave, and the lines of its tries."""
        return cls(**_LAYOUT.read(flat), origin=origin(flat["url"]), attempts=tuple(map(_attempt, attempts)))

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return _LAYOUT.show(self)


_LAYOUT = Layout(Delivery)


class Ledger:
    """The deliveries of a cell. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._ttl_ms = int(settings.webhook_ledger_seconds * 1000)

    # -- a sender's

    def waits(self) -> bool:
        """Whether there is a delivery that waits, for its turn or its time, or is being sent: one command, for an idle sender."""
        return self._store.any_exists("webhook_ring", "webhook_wake", "webhook_leases")

    def take(self, quick: int, slow: int, renew: Sequence[str]) -> list[Taken]:
        """Take at most so many for quick hosts, and so many for slow ones, and renew these leases."""
        rows = self._store.run(
            "webhooks_claim", quick=quick, slow=slow, lease_ms=LEASE_MS, tenant_cap=self._settings.webhook_tenant_concurrency,
            host_cap=self._settings.webhook_host_concurrency, ttl_ms=self._ttl_ms, renew=renew,
        )  # fmt: skip
        return [_taken(row) for row in rows]

    def snapshot(self, event_id: str) -> dict[str, str]:
        """What the payload of an event is made of; empty if it is gone."""
        kept = self._store.record("webhook_event", event_id)
        if "webhook_ref" not in kept:
            return kept
        family = kept["webhook_type"].partition(".")[0]
        record = self._store.record(family, kept[f"{family}_id"])
        # An id may be used again: another job of this id has another order.
        return {**record, **kept} if record.get("order") == kept["order"] else {}

    def settle(self, lease: str, outcome: str, attempt: Mapping[str, Any], *, error: str, delay: float, slow: bool, url: str = "") -> str:
        """Say what came of a try. :param url: where it was sent. :return: the status afterwards, or `lost`: another sender has it."""
        reply = self._store.run(
            "webhooks_settle", lease=lease, outcome=outcome, attempt=dumps(dict(attempt)), error=error, delay=delay, slow=slow,
            ttl_ms=self._ttl_ms, url=url,
        )  # fmt: skip
        return str(reply)

    # -- everybody's

    def get(self, delivery_id: str) -> Delivery:
        """:raises UnknownDelivery:"""
        flat = self._store.record("delivery", delivery_id) if DELIVERY_ID.fullmatch(delivery_id) else {}
        if not flat:
            raise UnknownDelivery
        return Delivery.from_mapping(flat, self._store.lines("delivery_attempts", delivery_id))

    def of_subject(self, subject: str) -> list[Delivery]:
        """The deliveries that tell of a job (or batch), oldest first."""
        ids = self._store.members("subject_deliveries", subject)
        return [*self._rows(self._store.records("delivery", [(one,) for one in ids]))]

    def list(self, tenant_id: str, status: str | None, cursor: str | None, limit: int) -> Page[Delivery]:
        """A tenant's deliveries, newest first.

        :raises InvalidInput: the cursor is not one of ours.
        """
        keys = self._store.keys
        index = keys("deliveries_in", tenant_id, status) if status else keys("deliveries", tenant_id)
        found = page(self._store, "delivery", index, cursor, limit, dict)
        return Page(self._rows(found.items), found.next_cursor)

    def redeliver(self, delivery_id: str) -> Delivery:
        """Send it (again) now. :raises UnknownDelivery: :raises JobGone: all receivers have it, and what it tells of was removed."""
        became = self._store.run("webhooks_redeliver", id=delivery_id) if DELIVERY_ID.fullmatch(delivery_id) else "unknown"
        if became == "gone":
            raise JobGone("All receivers have this webhook, and its job or batch has been deleted: there is nothing left to send again.")
        if became != "ok":
            raise UnknownDelivery
        return self.get(delivery_id)

    def purge(self) -> int:
        """Remove the rows past their time. :return: how many."""
        removed = 0
        while True:
            count = int(self._store.run("webhooks_purge", limit=PAGE))
            removed += count
            if count < PAGE:
                return removed

    def _rows(self, records: Iterable[Mapping[str, str]]) -> tuple[Delivery, ...]:
        """The deliveries of these records, with their tries; those that are gone are left out."""
        there = [flat for flat in records if flat]
        attempts = self._store.lists("delivery_attempts", [flat.get("delivery_id", "") for flat in there])
        return tuple(readable(zip(there, attempts, strict=True), lambda row: Delivery.from_mapping(*row), kind="delivery"))


def erase(store: Store, tenant_id: str) -> None:
    """Remove a tenant's endpoints, secrets and deliveries."""
    while int(store.run("webhooks_erase", tenant=tenant_id, limit=PAGE)) == PAGE:
        pass


def _taken(row: Sequence[str]) -> Taken:
    lease, delivery_id, event, event_id, tries, tenant_id, _, endpoint_id, url, nonce, check, old_nonce, old_check = row
    return Taken(
        lease, lease.endswith(" 1"), delivery_id, event, event_id, int(tries), tenant_id, endpoint_id or None, url,
        current=Draw(nonce, check) if nonce else None, old=Draw(old_nonce, old_check) if old_nonce else None,
    )  # fmt: skip


def _attempt(text: str) -> dict[str, Any]:
    moment, _, rest = text.partition(" ")
    return {"ended_at": rfc3339(int(moment)), **json.loads(rest)}
