"""Webhook endpoints and deliveries, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline_jobs.exceptions import EndpointDisabled, InvalidInput, UnknownDelivery, UnknownEndpoint
from pipeline_jobs.store.pages import Page
from pipeline_jobs.webhooks.endpoints import Endpoint, TenantSecret
from pipeline_jobs.webhooks.ledger import Delivery
from pipeline_jobs.webhooks.signing import Draw
from pipeline_jobs.webhooks.targets import check_target

NOON = 1_735_905_600_000


def _page(found: Sequence[Any], cursor: str | None, limit: int) -> Page[Any]:
    if cursor is not None and not (cursor.isascii() and cursor.isdecimal()):
        raise InvalidInput("cursor is not one that a list gave", field="cursor")
    start = int(cursor or 0)
    return Page(tuple(found[start : start + limit]), str(start + limit) if len(found) > start + limit else None)


@dataclass
class FakeEndpoints:
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)

    def create(self, tenant_id: str, url: str, events: Sequence[str] = (), description: str = "") -> tuple[Endpoint, str]:
        check_target(url, events, allow_private=False)
        number = len(self.endpoints) + 1
        made = Endpoint(f"whep_{number:016x}", tenant_id, url, tuple(events), description, True, None, NOON, number, None)
        self.endpoints[made.endpoint_id] = made
        return made, f"whsec_{number}"

    def get(self, endpoint_id: str) -> Endpoint:
        if endpoint_id not in self.endpoints:
            raise UnknownEndpoint
        return self.endpoints[endpoint_id]

    def list(self, tenant_id: str | None, cursor: str | None, limit: int) -> Page[Endpoint]:
        return _page([one for one in reversed(self.endpoints.values()) if tenant_id in (None, one.tenant_id)], cursor, limit)

    def update(self, endpoint_id: str, **changes: Any) -> Endpoint:
        given = {name: value for name, value in changes.items() if value is not None}
        changed = replace(self.get(endpoint_id), **given)
        check_target(changed.url, changed.events, allow_private=False)
        self.endpoints[endpoint_id] = changed
        return changed

    def delete(self, endpoint_id: str) -> None:
        self.get(endpoint_id)
        del self.endpoints[endpoint_id]

    def rotate(self, endpoint_id: str) -> tuple[Endpoint, str]:
        self.endpoints[endpoint_id] = replace(self.get(endpoint_id), old_secret_until=NOON)
        return self.endpoints[endpoint_id], "whsec_new"

    def test(self, endpoint_id: str) -> str:
        endpoint = self.get(endpoint_id)
        if not endpoint.enabled:
            raise EndpointDisabled
        delivery_id = f"msg_{len(self.deliveries) + 1:032x}"
        self.deliveries[delivery_id] = Delivery(
            delivery_id, "endpoint.test", endpoint.tenant_id, "", endpoint_id, endpoint_id, endpoint.url, "pending", 0, NOON,
            len(self.deliveries) + 1, None, NOON, "", (),
        )  # fmt: skip
        return delivery_id

    def tenant_secret(self, tenant_id: str, *, rotate: bool = False) -> TenantSecret:
        return TenantSecret(tenant_id, Draw("0" * 32, "0" * 16), NOON if rotate else None)


@dataclass
class FakeLedger:
    of: FakeEndpoints

    def get(self, delivery_id: str) -> Delivery:
        if delivery_id not in self.of.deliveries:
            raise UnknownDelivery
        return self.of.deliveries[delivery_id]

    def of_subject(self, subject: str) -> Sequence[Delivery]:
        return [one for one in self.of.deliveries.values() if one.subject == subject]

    def list(self, tenant_id: str, status: str | None, cursor: str | None, limit: int) -> Page[Delivery]:
        found = [one for one in reversed(self.of.deliveries.values()) if one.tenant_id == tenant_id and status in (None, one.status)]
        return _page(found, cursor, limit)

    def redeliver(self, delivery_id: str) -> Delivery:
        return self.get(delivery_id)
