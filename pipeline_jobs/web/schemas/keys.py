"""`/pipeline/tenants/{tenant_id}/keys`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from pipeline_jobs.access.api_keys import MAX_NAME
from pipeline_jobs.web.schemas.fields import Body, Moment, Name
from pipeline_jobs.web.schemas.tenants import TenantPath


class KeyPath(TenantPath):
    """Which key."""

    key_id: str = Field(description="The second part of the key.", examples=["0123456789abcdef"])


class KeyRequest(Body):
    """A key to create."""

    name: str = Field("", max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]*$", description="A description for people.")
    role: Literal["admin", "submit", "read"] = Field(
        description="`read` can see jobs, `submit` can also create and cancel them, `admin` can also create keys. An admin key is for a "
        "whole tenant."
    )
    workspace_id: Name | None = Field(
        None, description="The only workspace that the key has access to. Absent: all workspaces of the tenant."
    )
    expires_at: Moment | None = Field(None, description="RFC 3339 date-time at which the key expires. Absent: never.")


class ApiKey(BaseModel):
    """An API key without its secret. Times are RFC 3339 in UTC."""

    key_id: str = Field(examples=["0123456789abcdef"], description="The second part of the key, which is no secret.")
    name: str = Field(description="A description for people.")
    tenant_id: str = Field(description="`*`: for all tenants.")
    workspace_id: str | None = Field(description="null: all workspaces of the tenant.")
    role: Literal["admin", "submit", "read"] = Field(
        description="`read` can see jobs, `submit` can also create and cancel them, `admin` can also create keys."
    )
    created_at: str = Field(description="When it was created.")
    expires_at: str | None = Field(description="When it expires; null: never.")
    last_used_at: str | None = Field(description="Accurate to the minute; null: never.")
    revoked: bool = Field(description="Whether it was revoked: it is refused from then on.")
    revoked_at: str | None = Field(description="When it was revoked; null: it was not.")


class NewApiKey(ApiKey):
    """A new API key with its secret. Only this answer has it."""

    key: str = Field(description="`pjk_{key_id}_{secret}`, for `Authorization: Bearer`.")


class ApiKeyList(BaseModel):
    """A tenant's keys, newest first."""

    keys: list[ApiKey] = Field(description="The keys.")
    count: int = Field(description="Number of keys.")
