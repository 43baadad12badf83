"""`/pipeline/tenants/{tenant_id}/keys`."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from pipeline_jobs.access.api_keys import MAX_NAME
from pipeline_jobs.web.schemas.fields import Moment, Name
from pipeline_jobs.web.schemas.tenants import TenantPath


class KeyPath(TenantPath):
    """Which key."""

    key_id: str = Field(description="The second part of the key's text.", examples=["0123456789abcdef"])


class KeyRequest(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str = Field("", max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]*$", description="What it is for, for people.")
    role: Literal["admin", "submit", "read"] = Field(
        description="`read` sees jobs, `submit` makes and ends them too, `admin` makes keys too. An admin key is of a whole tenant."
    )
    workspace_id: Name | None = Field(None, description="The only workspace that it reaches. Absent: all of the tenant's.")
    expires_at: Moment | None = Field(None, description="RFC 3339 date-time from which on it is refused. Absent: never.")


class ApiKey(BaseModel):
    """An API key without its text. Times are RFC 3339 in UTC."""

    key_id: str = Field(examples=["0123456789abcdef"])
    name: str
    tenant_id: str = Field(description="`*`: of all tenants.")
    workspace_id: str | None = Field(description="null: of all workspaces of the tenant.")
    role: Literal["admin", "submit", "read"]
    created_at: str
    expires_at: str | None
    last_used_at: str | None = Field(description="To the minute; null: never.")
    revoked: bool
    revoked_at: str | None


class NewApiKey(ApiKey):
    """An API key with its text, this once."""

    key: str = Field(description="`pjk_{key_id}_{secret}`, for `Authorization: Bearer`.")


class ApiKeyList(BaseModel):
    """A tenant's keys, newest first."""

    keys: list[ApiKey]
    count: int
