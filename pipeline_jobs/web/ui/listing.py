"""What the address of a list says: filters and cursor, checked as the API does."""

from __future__ import annotations

from flask import request

from pipeline_jobs.client import JobQuery
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.tenants import NAME
from pipeline_jobs.web.requests import ListRequest
from pipeline_jobs.web.validation import check

_FILTERS = ("tenant_id", "workspace_id", "pipeline", "tag")


def filters() -> dict[str, str]:
    """Those that are set: a form sends empty ones too."""
    found = {name: request.args.get(name, "").strip() for name in (*_FILTERS, "status")}
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


def checked_name(field: str, value: str | None) -> str | None:
    """:raises InvalidInput: it is no name of a tenant or workspace."""
    if value is not None and not NAME.fullmatch(value):
        raise InvalidInput(f"{field} must match {NAME.pattern}", field=field)
    return value
