"""The filters and cursor in the address of a list, checked as in the API."""

from __future__ import annotations

from flask import request

from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.schemas.jobs import ListRequest

#: One of these at a time can be asked for in the form, with a tenant and a status. The address may have any mix, as the API.
BY = {"workspace_id": "Workspace", "pipeline": "Pipeline", "tag": "Tag"}


def filters() -> dict[str, str]:
    """Those that are set. The form sends which one (`by`) and its value (`value`); links name it, as the API does."""
    found = {name: request.args.get(name, "").strip() for name in ("tenant_id", "status", *BY)}
    by = request.args.get("by", "")
    if by in BY:
        found = {"tenant_id": found["tenant_id"], "status": found["status"], by: request.args.get("value", "").strip()}
    return {name: value for name, value in found.items() if value}


def read_query(found: dict[str, str]) -> JobQuery:
    """:raises Refused: 422, names the field."""
    raw: dict[str, object] = {**found, "limit": "25"}
    if "status" in found:
        raw["status"] = found["status"].split(",")
    cursor = request.args.get("cursor")
    if cursor:
        raw["cursor"] = cursor
    return check(ListRequest, raw).to_query()
