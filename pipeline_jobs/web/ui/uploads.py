"""Uploads from the page: sent in parts by its script (`upload.js`) as the API takes them, listed, deleted."""

from __future__ import annotations

from flask import Response, request

from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api import uploads as api
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.schemas.uploads import UploadListRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other


@blueprint.get("/uploads")
def uploads() -> Response:
    who = caller()
    given = {name: value for name, value in request.args.items() if value}
    query = check(UploadListRequest, given)
    _, workspace_id = who.narrowed(query.tenant_id, query.workspace_id)
    tenant_id = who.tenant(query.tenant_id)
    if tenant_id is None:
        # Of all tenants there is no list.
        return page("uploads", uploads=(), next_cursor=None, given=given, nobody=True)
    found = web().cell.uploads.page(tenant_id, workspace_id, cursor=query.cursor, limit=query.limit)
    given.pop("cursor", None)
    return page("uploads", uploads=found.items, next_cursor=seal(found.next_cursor), given=given, nobody=False)


@blueprint.post("/uploads")
def begin_upload() -> Response:
    return api.create()


@blueprint.get("/uploads/<upload_id>")
def upload(upload_id: str) -> Response:
    """Say at which byte a broken upload goes on."""
    return api.get(upload_id=upload_id)


@blueprint.patch("/uploads/<upload_id>")
def continue_upload(upload_id: str) -> Response:
    return api.append(upload_id=upload_id)


@blueprint.post("/uploads/<upload_id>/delete")
def delete_upload(upload_id: str) -> Response:
    found = api.own_upload(upload_id)
    web().cell.uploads.delete(found.upload_id)
    return see_other("ui.uploads", tenant_id=found.tenant_id if caller().sees_all else None)
