"""A tenant's webhook endpoints and its secrets. Each change is one script."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import EndpointDisabled, InvalidInput, UnknownEndpoint
from pipeline_jobs.job import dumps, rfc3339
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.pages import Page, page
from pipeline_jobs.store.readable import readable
from pipeline_jobs.store.store import Store, store_errors
from pipeline_jobs.tenants import NAME
from pipeline_jobs.webhooks.signing import Draw, Signer
from pipeline_jobs.webhooks.targets import check_target

#: Most endpoints of a tenant.
MAX_ENDPOINTS = 50
MAX_DESCRIPTION = 200
ENDPOINT_ID = re.compile(r"whep_[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a tenant wants its events. Times are Unix milliseconds."""

    endpoint_id: str
    tenant_id: str
    url: str
    #: Types of events; empty: all.
    events: tuple[str, ...]
    description: str
    enabled: bool
    #: `gone`: it answered 410. None while enabled, or if somebody disabled it.
    disabled_reason: str | None
    created_at: int
    order: int
    #: The secret before the present one signs too until then.
    old_secret_until: int | None

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it: no secret."""
        return {
            "endpoint_id": self.endpoint_id,
            "tenant_id": self.tenant_id,
            "url": self.url,
            "events": list(self.events),
            "description": self.description,
            "enabled": self.enabled,
            "disabled_reason": self.disabled_reason,
            "created_at": rfc3339(self.created_at),
            "old_secret_until": rfc3339(self.old_secret_until),
        }


@dataclass(frozen=True, slots=True)
class TenantSecret:
    """What signs the webhooks of a tenant's jobs. Times are Unix milliseconds."""

    tenant_id: str
    current: Draw
    old_secret_until: int | None


class Endpoints:
    """The endpoints of a cell. Every method raises `StoreUnavailable` when the store cannot be asked; `actor` is for the audit log."""

    def __init__(self, store: Store, settings: Settings, signer: Signer) -> None:
        self._store, self._signer = store, signer
        self._allow_private = settings.webhook_allow_private
        self._overlap_ms = int(settings.webhook_rotation_seconds * 1000)

    def create(
        self, tenant_id: str, url: str, events: Sequence[str] = (), description: str = "", *, actor: str | None = None
    ) -> tuple[Endpoint, str]:
        """A new endpoint, and its secret, which nobody can ask for again.

        :raises InvalidInput: names the field.
        """
        if not NAME.fullmatch(tenant_id):
            raise InvalidInput(f"tenant_id must match {NAME.pattern}", field="tenant_id")
        fields = self._checked(url=url, events=events, description=description, enabled=True)
        draw = self._signer.draw()
        fields["check"] = draw.check
        flat = [part for pair in fields.items() for part in pair]
        while True:
            endpoint_id = f"whep_{secrets.token_hex(8)}"
            became, *_ = self._store.run("webhooks_create", endpoint_id, tenant_id, MAX_ENDPOINTS, draw.nonce, len(fields), *flat)
            if became == "full":
                raise InvalidInput(f"there are {MAX_ENDPOINTS} endpoints already: delete one", field="tenant_id")
            if became == "ok":
                return self._noted(actor, "created", self.get(endpoint_id)), self._signer.reveal(draw)

    def get(self, endpoint_id: str) -> Endpoint:
        """:raises UnknownEndpoint:"""
        if ENDPOINT_ID.fullmatch(endpoint_id):
            for endpoint in self._load([endpoint_id]):
                return endpoint
        raise UnknownEndpoint

    def list(self, tenant_id: str | None, cursor: str | None, limit: int) -> Page[Endpoint]:
        """Those of a tenant (None: all there are), newest first.

        :raises InvalidInput: the cursor is not one of ours.
        """
        keys = self._store.keys
        index = keys("endpoints") if tenant_id is None else keys("tenant_endpoints", tenant_id)
        return page(self._store, index, cursor, limit, lambda ids: list(self._load(ids)))

    def update(self, endpoint_id: str, *, actor: str | None = None, **changes: Any) -> Endpoint:
        """Change `url`, `events`, `description`, `enabled`; what is None stays. Acts on what waits to be sent, too.

        :raises InvalidInput: names the field.
        :raises UnknownEndpoint:
        """
        old = self.get(endpoint_id)
        given = {name: value for name, value in changes.items() if value is not None}
        if not given:
            return old
        known = {"url": old.url, "events": old.events, "description": old.description, "enabled": old.enabled}
        checked = self._checked(**{**known, **given})
        flat = [part for name in given for part in (name, checked[name])]
        if not self._store.run("webhooks_update", endpoint_id, len(given), *flat):
            raise UnknownEndpoint
        return self._noted(actor, "changed", self.get(endpoint_id))

    def delete(self, endpoint_id: str, *, actor: str | None = None) -> None:
        """:raises UnknownEndpoint:"""
        gone = self.get(endpoint_id)
        if not self._store.run("webhooks_update", endpoint_id, 0):
            raise UnknownEndpoint
        self._noted(actor, "deleted", gone)

    def rotate(self, endpoint_id: str, *, actor: str | None = None) -> tuple[Endpoint, str]:
        """A new secret; the old one signs too for `PIPELINE_WEBHOOK_ROTATION_SECONDS`.

        :raises UnknownEndpoint:
        """
        draw, known = self._signer.draw(), self.get(endpoint_id).endpoint_id
        if not self._store.run("webhooks_rotate", "endpoint", known, draw.nonce, draw.check, self._overlap_ms):
            raise UnknownEndpoint
        return self._noted(actor, "rotated", self.get(endpoint_id)), self._signer.reveal(draw)

    def test(self, endpoint_id: str) -> str:
        """Send it an event `endpoint.test`. :return: the delivery's id.

        :raises UnknownEndpoint:
        :raises EndpointDisabled:
        """
        became, *rest = self._store.run("webhooks_test", self.get(endpoint_id).endpoint_id, secrets.token_hex(8))
        if became == "ok":
            return str(rest[0])
        raise EndpointDisabled if became == "disabled" else UnknownEndpoint

    def tenant_secret(self, tenant_id: str, *, rotate: bool = False, actor: str | None = None) -> TenantSecret:
        """What signs the webhooks of a tenant's jobs: drawn at its first use, or anew."""
        draw = self._signer.draw()
        overlap = self._overlap_ms if rotate else ""
        nonce, check, _, _, until = self._store.run("webhooks_rotate", "tenant", tenant_id, draw.nonce, draw.check, overlap)
        if rotate:
            audit.record(self._store, actor, "webhook_secret.rotated", tenant_id)
        return TenantSecret(tenant_id, Draw(nonce, check), int(until) if until else None)

    def _noted(self, actor: str | None, action: str, endpoint: Endpoint) -> Endpoint:
        """In the audit log, which says nothing of the URL: that may hold a token of the receiver's."""
        audit.record(self._store, actor, f"webhook_endpoint.{action}", endpoint.endpoint_id, {"tenant_id": endpoint.tenant_id})
        return endpoint

    def _checked(self, *, url: str, events: Sequence[str], description: str, enabled: bool) -> dict[str, str]:
        check_target(url, events, allow_private=self._allow_private)
        if len(description) > MAX_DESCRIPTION:
            raise InvalidInput(f"description has at most {MAX_DESCRIPTION} characters", field="description")
        return {
            "url": url,
            "events": dumps(list(dict.fromkeys(events))),
            "description": description,
            "enabled": "1" if enabled else "",
        }

    def _load(self, ids: Sequence[str]) -> Iterator[Endpoint]:
        with store_errors(), self._store.client.pipeline(transaction=False) as pipe:
            for endpoint_id in ids:
                pipe.hgetall(self._store.keys("endpoint", endpoint_id))
            found: list[Mapping[str, str]] = pipe.execute()
        return readable(filter(None, found), _endpoint, kind="endpoint")


def _endpoint(flat: Mapping[str, str]) -> Endpoint:
    return Endpoint(
        endpoint_id=flat["endpoint_id"],
        tenant_id=flat["tenant_id"],
        url=flat["url"],
        events=tuple(json.loads(flat["events"])),
        description=flat["description"],
        enabled=flat["enabled"] == "1",
        disabled_reason=flat.get("disabled_reason"),
        created_at=int(flat["created_at"]),
        order=int(flat["order"]),
        old_secret_until=int(flat["old_until"]) if "old_until" in flat else None,
    )
