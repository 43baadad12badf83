"""`/pipeline/audit`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from pipeline_jobs.web.schemas.pages import PageRequest, page_of


class AuditRequest(PageRequest):
    """Which rows of the audit log, and in which form."""

    format: Literal["json", "jsonl"] | None = Field(
        None, description="`jsonl`: all rows from `cursor` on, one a line, whatever `limit` says. Default: as the `Accept` header says."
    )


class AuditRow(BaseModel):
    """One action in the audit log."""

    id: str = Field(description="The id of the row: rows are ordered by it.")
    at: str = Field(examples=["2025-01-03T12:00:00.000Z"], description="When it was done.")
    actor: str = Field(description="`key:{key_id}`, `cli:{user}@{host}`, `flower:...`, `code:...`, or `loopback`: no key was needed.")
    action: str = Field(examples=["key.created"], description="What was done.")
    target: str = Field(description="The id of the key, job or tenant.")
    detail: dict[str, Any] = Field(description="More about it, by action; never a secret.")


AuditPage = page_of("AuditPage", "rows", AuditRow, "One page of the audit log, newest first.", "Number of rows on this page.")
