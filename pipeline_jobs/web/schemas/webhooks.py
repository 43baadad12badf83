"""Webhook endpoints, secrets and deliveries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from pipeline_jobs.tenants import DEFAULT_TENANT
from pipeline_jobs.web.schemas.fields import (
    Name,
    PageRequest,
)
from pipeline_jobs.webhooks.endpoints import MAX_DESCRIPTION
from pipeline_jobs.webhooks.targets import MAX_URL

Event = Literal["batch.completed", "job.completed", "job.failed", "job.cancelled"]
Events = Annotated[list[Event], Field(max_length=20)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION, pattern=r"^[^\x00-\x1f\x7f]*$")]
Target = Annotated[str, Field(min_length=1, max_length=MAX_URL)]


class EndpointPath(BaseModel):
    """Which endpoint."""

    endpoint_id: str = Field(examples=["whep_0123456789abcdef"])


class EndpointRequest(BaseModel):
    """An endpoint to be made."""

    model_config = ConfigDict(strict=True, extra="forbid")

    tenant_id: Name = Field(DEFAULT_TENANT, description="Whose events. Absent: the key's tenant.")
    url: Target = Field(description="https, a public address, no user name or password.", examples=["https://hooks.example/pipeline"])
    events: Events = Field(default_factory=list, description="Types of events that it wants. Absent or empty: all.")
    description: Description = Field("", description="What it is for, for people.")


class EndpointChange(BaseModel):
    """What to change; what is absent or null stays."""

    model_config = ConfigDict(strict=True, extra="forbid")

    url: Target | None = Field(None, description="Acts on what waits to be sent, too.")
    events: Events | None = Field(None, description="Types of events; empty: all.")
    description: Description | None = None
    enabled: bool | None = Field(None, description="Disabled, it gets nothing, and what waits for it is dead when its turn comes.")


class EndpointListRequest(PageRequest):
    """Whose endpoints."""

    tenant_id: Name | None = Field(None, description="Those of this tenant. Absent: of the key's; with a key of all tenants all there are.")


class DeliveryPath(BaseModel):
    """Which delivery."""

    delivery_id: str = Field(examples=["msg_0123456789abcdef0123456789abcdef"])


class DeliveryListRequest(PageRequest):
    """Which deliveries."""

    tenant_id: Name | None = Field(None, description="Of this tenant. Required with a key of all tenants.")
    status: Literal["pending", "delivered", "dead"] | None = Field(None, description="Only those in this state; `dead`: given up.")


class WebhookEndpoint(BaseModel):
    """Where a tenant wants its events. Times are RFC 3339 in UTC."""

    endpoint_id: str = Field(examples=["whep_0123456789abcdef"])
    tenant_id: str
    url: str
    events: list[str] = Field(description="Types of events; empty: all.", examples=[["job.failed"]])
    description: str
    enabled: bool
    disabled_reason: str | None = Field(description="`gone`: it answered 410. null: it is enabled, or somebody disabled it.")
    created_at: str
    old_secret_until: str | None = Field(description="Until then the secret before the last rotation signs too; null: there was none.")


class NewWebhookEndpoint(WebhookEndpoint):
    """An endpoint with its secret, this once."""

    secret: str = Field(description="`whsec_...`: what its signatures are made with (Standard Webhooks).")


class WebhookEndpointList(BaseModel):
    """One page of endpoints, newest first."""

    endpoints: list[WebhookEndpoint]
    count: int = Field(description="How many endpoints are on this page.")
    next_cursor: str | None = Field(description="Ask with `cursor=` for the next page; null: this is the last.")


class WebhookRemoval(BaseModel):
    """An endpoint that is gone."""

    endpoint_id: str
    status: Literal["deleted"]


class WebhookSecret(BaseModel):
    """What signs the webhooks of a tenant's jobs (those that were made with a `webhook` of their own)."""

    tenant_id: str
    secret: str = Field(description="`whsec_...` (Standard Webhooks).")
    old_secret_until: str | None = Field(description="Until then the secret before the last rotation signs too.")


class DeliveryAttempt(BaseModel):
    """One try."""

    ended_at: str
    status: int | None = Field(description="The receiver's; null: no answer came.")
    error: str | None = Field(examples=["http_500"], description="null: it was taken.")
    seconds: float = Field(description="How long it took.")


class Delivery(BaseModel):
    """One message to one receiver. Times are RFC 3339 in UTC."""

    delivery_id: str = Field(examples=["msg_0123456789abcdef0123456789abcdef"], description="The `webhook-id`, the same at each try.")
    event: str = Field(examples=["job.completed"])
    tenant_id: str
    subject: str = Field(description="Id of the job that it tells of; of `endpoint.test` the endpoint's.")
    endpoint_id: str | None = Field(description="null: the job's own webhook.")
    origin: str = Field(examples=["https://hooks.example"], description="Of the receiver's URL; the rest may hold a token of its own.")
    status: Literal["pending", "delivered", "dead"] = Field(description="`dead`: the last try failed; it can be sent again.")
    tries: int
    created_at: str
    ended_at: str | None
    next_try_at: str | None
    error: str | None = Field(description="Of the last try.")
    attempts: list[DeliveryAttempt] = Field(description="Oldest first, at most 50.")


class DeliveryList(BaseModel):
    """Deliveries."""

    deliveries: list[Delivery]
    count: int


class DeliveryPage(DeliveryList):
    """One page of deliveries, newest first."""

    next_cursor: str | None = Field(description="Ask with `cursor=` for the next page; null: this is the last.")
