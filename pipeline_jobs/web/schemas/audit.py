"""`/pipeline/audit`."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    Field,
)

from pipeline_jobs.web.schemas.fields import PageRequest


class AuditRequest(PageRequest):
    """Which page."""


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
    count: int = Field(description="How many rows are on this page.")
    next_cursor: str | None = Field(description="Ask with `cursor=` for the next page; null: this is the last.")
