"""A tenant's webhook endpoints and its secrets. Each change is one script."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import EndpointDisabled, InvalidInput, UnknownEndpoint, WebhooksFull
from pipeline_jobs.job import dumps
from pipeline_jobs.records import HIDDEN, Layout, Moment
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.pages import Page, page
from pipeline_jobs.store.refusals import refusal
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import check_name
from pipeline_jobs.webhooks.signing import Draw, Signer
from pipeline_jobs.webhooks.targets import check_target

#: Most endpoints of a tenant.
MAX_ENDPOINTS = 50
MAX_DESCRIPTION = 200
#: Before a tenant tries again that has too many messages, in seconds.
FULL_RETRY_SECONDS = 300
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
    created_at: Moment
    order: int = field(metadata=HIDDEN)
    #: The secret before the present one signs too until then.
    old_secret_until: Moment | None = field(default=None, metadata={"stored": "old_until"})

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it: no secret."""
        return _LAYOUT.show(self)


_LAYOUT = Layout(Endpoint)


@dataclass(frozen=True, slots=True)
class TenantSecret:
    """What signs the webhooks of a tenant's jobs. Times are Unix milliseconds."""

    tenant_id: str
    current: Draw
    old_secret_until: int | None


class Endpoints:
    """The endpoints of a cell. Every method raises `StoreUnavailable` when the store cannot be asked; `actor` is for the audit log."""

    def __init__(self, store: Store, settings: Settings, signer: Signer, look: Callable[[], None] = lambda: None) -> None:
        """:param look: at the server, so that the store knows how much of its memory a tenant may hold."""
        self._store, self._signer, self._look = store, signer, look
        self._allow_private = settings.webhook_allow_private
        self._overlap = settings.webhook_rotation_seconds

    def create(
        self, tenant_id: str, url: str, events: Sequence[str] = (), description: str = "", *, actor: str | None = None
    ) -> tuple[Endpoint, str]:
        """A new endpoint, and its secret, which nobody can ask for again.

        :raises InvalidInput: names the field.
        :raises WebhooksFull: its tenant has too many messages that wait, or that its queued jobs will make.
        """
        check_name("tenant_id", tenant_id)
        fields = self._checked(url=url, events=events, description=description, enabled=True)
        draw = self._signer.draw()
        fields["check"] = draw.check
        while True:
            endpoint_id = f"whep_{secrets.token_hex(8)}"
            became = self._store.run(
                "webhooks_create", id=endpoint_id, tenant=tenant_id, limit=MAX_ENDPOINTS, nonce=draw.nonce, fields=fields
            )
            if became == "full":
                raise InvalidInput(f"there are {MAX_ENDPOINTS} endpoints already: delete one", field="tenant_id")
            if became == "waiting":
                raise WebhooksFull(retry_after=FULL_RETRY_SECONDS)
            if became == "ok":
                return self._noted(actor, "created", self.get(endpoint_id)), self._signer.reveal(draw)

    def get(self, endpoint_id: str) -> Endpoint:
        """:raises UnknownEndpoint:"""
        if ENDPOINT_ID.fullmatch(endpoint_id):
            flat = self._store.record("endpoint", endpoint_id)
            if flat:
                return _endpoint(flat)
        raise UnknownEndpoint

    def list(self, tenant_id: str | None, cursor: str | None, limit: int) -> Page[Endpoint]:
        """The endpoints of a tenant (None: all there are), newest first.

        :raises InvalidInput: the cursor is not one of ours.
        """
        keys = self._store.keys
        index = keys("endpoints") if tenant_id is None else keys("tenant_endpoints", tenant_id)
        return page(self._store, "endpoint", index, cursor, limit, _endpoint)

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
        if not self._store.run("webhooks_update", id=endpoint_id, fields={name: checked[name] for name in given}):
            raise UnknownEndpoint
        return self._noted(actor, "changed", self.get(endpoint_id))

    def delete(self, endpoint_id: str, *, actor: str | None = None) -> None:
        """:raises UnknownEndpoint:"""
        gone = self.get(endpoint_id)
        if not self._store.run("webhooks_update", id=endpoint_id, fields={}):
            raise UnknownEndpoint
        self._noted(actor, "deleted", gone)

    def rotate(self, endpoint_id: str, *, actor: str | None = None) -> tuple[Endpoint, str]:
        """A new secret; the old one signs too for `PIPELINE_WEBHOOK_ROTATION_SECONDS`.

        :raises UnknownEndpoint:
        """
        draw, known = self._signer.draw(), self.get(endpoint_id).endpoint_id
        if self._rotated("endpoint", known, draw, self._overlap) is None:
            raise UnknownEndpoint
        return self._noted(actor, "rotated", self.get(endpoint_id)), self._signer.reveal(draw)

    def test(self, endpoint_id: str) -> str:
        """Send it an event `endpoint.test`. :return: the delivery's id.

        :raises UnknownEndpoint:
        :raises EndpointDisabled:
        :raises WebhooksFull: its tenant has too many that wait. :raises MemoryFull: it holds more than its share of the store's memory.
        """
        self._look()
        reply = self._store.run("webhooks_test", id=self.get(endpoint_id).endpoint_id, nonce=secrets.token_hex(8), share=self._store.share)
        if reply.became == "ok":
            return str(reply.delivery_id)
        if reply.became == "full":
            raise refusal(reply)
        raise EndpointDisabled if reply.became == "disabled" else UnknownEndpoint

    def tenant_secret(self, tenant_id: str, *, rotate: bool = False, actor: str | None = None) -> TenantSecret:
        """What signs the webhooks of a tenant's jobs: drawn at its first use, or anew."""
        found = self._rotated("tenant", tenant_id, self._signer.draw(), self._overlap if rotate else None)
        if rotate:
            audit.record(self._store, actor, "webhook_secret.rotated", tenant_id, tenant_id=tenant_id)
        return TenantSecret(tenant_id, Draw(found.nonce, found.check), int(found.old_until) if found.old_until else None)

    def _rotated(self, what: str, whose: str, draw: Draw, overlap: float | None) -> Any:
        return self._store.run("webhooks_rotate", what=what, id=whose, nonce=draw.nonce, check=draw.check, overlap=overlap)

    def _noted(self, actor: str | None, action: str, endpoint: Endpoint) -> Endpoint:
        """Write it in the audit log, which says nothing of the URL: that may hold a token of the receiver's."""
        whose = endpoint.tenant_id
        audit.record(self._store, actor, f"webhook_endpoint.{action}", endpoint.endpoint_id, {"tenant_id": whose}, tenant_id=whose)
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


def _endpoint(flat: Mapping[str, str]) -> Endpoint:
    return Endpoint(**_LAYOUT.read(flat))
