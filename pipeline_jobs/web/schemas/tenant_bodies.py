"""Models of what we answer about a tenant: its keys, limits, figures and webhooks, and what admins did."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class ApiKey(BaseModel):
    """An API key without its text. Times are RFC 3339 in UTC."""

    key_id: str = Field(examples=["0123456789abcdef"])
    name: str
    tenant_id: str = Field(description="`*`: for all tenants.")
    workspace_id: str | None = Field(description="null: all workspaces of the tenant.")
    role: Literal["admin", "submit", "read"]
    created_at: str
    expires_at: str | None
    last_used_at: str | None = Field(description="Accurate to the minute; null: never.")
    revoked: bool
    revoked_at: str | None


class NewApiKey(ApiKey):
    """An API key with its text, this once."""

    key: str = Field(description="`pjk_{key_id}_{secret}`, for `Authorization: Bearer`.")


class ApiKeyList(BaseModel):
    """A tenant's keys, newest first."""

    keys: list[ApiKey]
    count: int


class AuditRow(BaseModel):
    """One thing that was done."""

    id: str
    at: str = Field(examples=["2025-01-03T12:00:00.000Z"])
    actor: str = Field(description="`key:{key_id}`, `cli:{user}@{host}`, `flower:...`, `code:...`, or `loopback`: no key was needed.")
    action: str = Field(examples=["key.created"])
    target: str = Field(description="The id of the key, job or tenant.")
    detail: dict[str, Any]


class AuditPage(BaseModel):
    """One page of the audit log, newest first."""

    rows: list[AuditRow]
    count: int = Field(description="Number of rows on this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")


class Limits(BaseModel):
    """A tenant's own limits; null: the default of the installation holds, or there is none."""

    weight: float | None
    max_concurrent: int | None
    max_queued: int | None
    submit_rate: float | None
    start_rate: float | None
    paused: bool | None
    max_storage_bytes: int | None
    max_run_seconds: float | None


class UsageDay(BaseModel):
    """A tenant's figures of one day in UTC."""

    date: str = Field(examples=["2026-11-24"])
    created: int
    completed: int
    failed: int
    cancelled: int
    slot_seconds: float = Field(description="Time that slots were in use, in seconds.")
    wait_p50_seconds: float | None = Field(description="Time from acceptance to the first start; null: no job started.")
    wait_p95_seconds: float | None
    failure_rate: float | None = Field(description="Fraction of the completed and failed jobs that failed; null: there were none.")


class Usage(BaseModel):
    """What a tenant used, by day, today first."""

    tenant_id: str
    days: list[UsageDay]


class Erasure(BaseModel):
    """What was erased of a tenant, or would be."""

    jobs: int
    still_live: int = Field(description="Jobs that are being cancelled; erase again when they have ended.")
    artifact_bytes: int
    done: bool = Field(description="True if nothing of the tenant is left.")


class WebhookEndpoint(BaseModel):
    """Where a tenant wants its events. Times are RFC 3339 in UTC."""

    endpoint_id: str = Field(examples=["whep_0123456789abcdef"])
    tenant_id: str
    url: str
    events: list[str] = Field(description="Types of events to send; empty: all.", examples=[["job.failed"]])
    description: str
    enabled: bool
    disabled_reason: str | None = Field(description="`gone`: it answered 410. null: it is enabled, or was disabled by a request.")
    created_at: str
    old_secret_until: str | None = Field(description="Until this time the previous secret signs too; null: there is none.")


class NewWebhookEndpoint(WebhookEndpoint):
    """An endpoint with its secret, this once."""

    secret: str = Field(description="`whsec_...`: the key of its signatures (Standard Webhooks).")


class WebhookEndpointList(BaseModel):
    """One page of endpoints, newest first."""

    endpoints: list[WebhookEndpoint]
    count: int = Field(description="Number of endpoints on this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")


class WebhookRemoval(BaseModel):
    """An endpoint that is gone."""

    endpoint_id: str
    status: Literal["deleted"]


class WebhookSecret(BaseModel):
    """What signs the webhooks of a tenant's jobs (those that were made with a `webhook` of their own)."""

    tenant_id: str
    secret: str = Field(description="`whsec_...` (Standard Webhooks).")
    old_secret_until: str | None = Field(description="Until this time the previous secret signs too.")


class DeliveryAttempt(BaseModel):
    """One try."""

    ended_at: str
    status: int | None = Field(description="The status of the receiver's answer; null: there was none.")
    error: str | None = Field(examples=["http_500"], description="null: it was delivered.")
    seconds: float = Field(description="How long the attempt took, in seconds.")


class Delivery(BaseModel):
    """One message to one receiver. Times are RFC 3339 in UTC."""

    delivery_id: str = Field(examples=["msg_0123456789abcdef0123456789abcdef"], description="The `webhook-id`, the same in each attempt.")
    event: str = Field(examples=["job.completed"])
    tenant_id: str
    subject: str = Field(description="The id of the job or batch of the event; for `endpoint.test` that of the endpoint.")
    endpoint_id: str | None = Field(description="null: the job's own webhook.")
    origin: str = Field(
        examples=["https://hooks.example"], description="Scheme and host of the receiver's URL. The rest may contain a token."
    )
    status: Literal["pending", "delivered", "dead"] = Field(description="`dead`: the last attempt failed; it can be sent again.")
    tries: int
    created_at: str
    ended_at: str | None
    next_try_at: str | None
    error: str | None = Field(description="The error of the last attempt.")
    attempts: list[DeliveryAttempt] = Field(description="Oldest first, at most 50.")


class DeliveryList(BaseModel):
    """Deliveries."""

    deliveries: list[Delivery]
    count: int


class DeliveryPage(DeliveryList):
    """One page of deliveries, newest first."""

    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")


BODIES: tuple[type[BaseModel], ...] = (
    ApiKey,
    NewApiKey,
    ApiKeyList,
    AuditPage,
    Limits,
    Usage,
    Erasure,
    WebhookEndpoint,
    NewWebhookEndpoint,
    WebhookEndpointList,
    WebhookRemoval,
    WebhookSecret,
    Delivery,
    DeliveryList,
    DeliveryPage,
)
