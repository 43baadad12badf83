"""Webhook endpoints, secrets and deliveries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from pipeline_jobs.addresses import MAX_URL
from pipeline_jobs.tenants import DEFAULT_TENANT
from pipeline_jobs.web.schemas.fields import Body, Name
from pipeline_jobs.web.schemas.pages import PageRequest, page_of
from pipeline_jobs.webhooks.endpoints import MAX_DESCRIPTION

Event = Literal["batch.completed", "job.completed", "job.failed", "job.cancelled", "job.waiting"]
Events = Annotated[list[Event], Field(max_length=20)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION, pattern=r"^[^\x00-\x1f\x7f]*$")]
Target = Annotated[str, Field(min_length=1, max_length=MAX_URL)]


class EndpointPath(BaseModel):
    """Which endpoint."""

    endpoint_id: str = Field(description="`whep_{16 hex}`.", examples=["whep_0123456789abcdef"])


class EndpointRequest(Body):
    """An endpoint to create."""

    tenant_id: Name = Field(DEFAULT_TENANT, description="The tenant whose events are sent. Absent: the key's tenant.")
    url: Target = Field(
        description="An https URL with a public address, without a user name or password.", examples=["https://hooks.example/pipeline"]
    )
    events: Events = Field(default_factory=list, description="Types of events to send. Absent or empty: all.")
    description: Description = Field("", description="A description for people.")


class EndpointChange(Body):
    """Changes. Fields that are absent or null do not change."""

    url: Target | None = Field(None, description="Applies to waiting messages, too.")
    events: Events | None = Field(None, description="Types of events to send; empty: all.")
    description: Description | None = Field(None, description="A description for people.")
    enabled: bool | None = Field(
        None, description="A disabled endpoint gets nothing, and its waiting messages become dead when they are due."
    )


class EndpointListRequest(PageRequest):
    """Whose endpoints."""

    tenant_id: Name | None = Field(None, description="The tenant. Absent: the key's tenant, or all tenants with a key for all tenants.")


class DeliveryPath(BaseModel):
    """Which delivery."""

    delivery_id: str = Field(description="`msg_{32 hex}`: the `webhook-id`.", examples=["msg_0123456789abcdef0123456789abcdef"])


class DeliveryListRequest(PageRequest):
    """Which deliveries."""

    tenant_id: Name | None = Field(None, description="The tenant. Required with a key for all tenants.")
    status: Literal["pending", "delivered", "dead"] | None = Field(
        None, description="Only deliveries with this status; `dead`: the last attempt failed."
    )


class WebhookEndpoint(BaseModel):
    """A URL that gets a tenant's events. Times are RFC 3339 in UTC."""

    endpoint_id: str = Field(examples=["whep_0123456789abcdef"], description="`whep_{16 hex}`.")
    tenant_id: str = Field(description="The tenant whose events it gets.")
    url: str = Field(description="The address that events are sent to.")
    events: list[str] = Field(description="Types of events to send; empty: all.", examples=[["job.failed"]])
    description: str = Field(description="A description for people.")
    enabled: bool = Field(description="Whether events are sent to it.")
    disabled_reason: str | None = Field(description="`gone`: it answered 410. null: it is enabled, or was disabled by a request.")
    created_at: str = Field(description="When it was created.")
    old_secret_until: str | None = Field(description="Until this time the previous secret signs too; null: there is none.")


class NewWebhookEndpoint(WebhookEndpoint):
    """An endpoint with its secret. Only this answer has it."""

    secret: str = Field(description="`whsec_...`: the key of its signatures (Standard Webhooks).")


WebhookEndpointList = page_of(
    "WebhookEndpointList", "endpoints", WebhookEndpoint, "One page of endpoints, newest first.", "Number of endpoints on this page."
)


class WebhookRemoval(BaseModel):
    """An endpoint that was deleted."""

    endpoint_id: str = Field(description="The endpoint.")
    status: Literal["deleted"] = Field(description="Always `deleted`.")


class WebhookSecret(BaseModel):
    """The secret that signs the webhooks of a tenant's jobs (those created with their own `webhook`)."""

    tenant_id: str = Field(description="The tenant.")
    secret: str = Field(description="`whsec_...` (Standard Webhooks).")
    old_secret_until: str | None = Field(description="Until this time the previous secret signs too.")


class DeliveryAttempt(BaseModel):
    """One attempt."""

    ended_at: str = Field(description="When it was answered, or given up.")
    status: int | None = Field(description="The status of the receiver's answer; null: there was none.")
    error: str | None = Field(examples=["http_500"], description="null: it was delivered.")
    seconds: float = Field(description="How long the attempt took, in seconds.")


class Delivery(BaseModel):
    """One message to one receiver. Times are RFC 3339 in UTC."""

    delivery_id: str = Field(examples=["msg_0123456789abcdef0123456789abcdef"], description="The `webhook-id`, the same in each attempt.")
    event: str = Field(examples=["job.completed"], description="The type of the event.")
    tenant_id: str = Field(description="The tenant of the event.")
    subject: str = Field(description="The id of the job or batch of the event; for `endpoint.test` that of the endpoint.")
    endpoint_id: str | None = Field(description="null: the job's own webhook.")
    origin: str = Field(
        examples=["https://hooks.example"], description="Scheme and host of the receiver's URL. The rest may contain a token."
    )
    status: Literal["pending", "delivered", "dead"] = Field(description="`dead`: the last attempt failed; it can be sent again.")
    tries: int = Field(description="Number of attempts.")
    created_at: str = Field(description="When the event happened.")
    ended_at: str | None = Field(description="When it was delivered, or the last attempt failed; null: it is pending.")
    next_try_at: str | None = Field(description="When the next attempt is due; null: there is none.")
    error: str | None = Field(description="The error of the last attempt.")
    attempts: list[DeliveryAttempt] = Field(description="Oldest first, at most 50.")


class DeliveryList(BaseModel):
    """Deliveries."""

    deliveries: list[Delivery] = Field(description="The deliveries, newest first.")
    count: int = Field(description="Number of deliveries in this answer.")


class DeliveryPage(DeliveryList):
    """One page of deliveries, newest first."""

    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")
