"""A tenant's API keys, for its admins: made (and shown once), listed, revoked."""

from __future__ import annotations

from flask import Response, request

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.access.ids import unknown_key
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.schemas.keys import KeyRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other
from pipeline_jobs.web.ui.tenants import check_tenant


@blueprint.get("/tenants/<tenant_id>/keys")
def keys(tenant_id: str) -> Response:
    return _page(tenant_id)


@blueprint.post("/tenants/<tenant_id>/keys")
def make_key(tenant_id: str) -> Response:
    """The page that follows is the only one that has the key, so it is the answer to the form itself."""
    who, values = caller(), {name: text.strip() for name, text in request.form.items() if text.strip()}
    check_tenant(tenant_id)
    try:
        if who.key_id is None:
            # As in the API: whoever makes the first key shuts all others out.
            raise Refused(403, "no_key_yet", "the first key must be created on the command line: celery -A celery_app jobs key create")
        body = check(KeyRequest, {name: values[name] for name in ("name", "role", "workspace_id") if name in values})
    except Refused as refused:
        told = answer(refused)
        return _page(tenant_id, values=values, error=told.get_json()["detail"], status=told.status_code)
    made = web().cell.keys.create(tenant_id, Role(body.role), actor=who.actor, name=body.name, workspace_id=body.workspace_id)
    return _page(tenant_id, made=made[1])


@blueprint.post("/tenants/<tenant_id>/keys/<key_id>/revoke")
def revoke_key(tenant_id: str, key_id: str) -> Response:
    if web().cell.keys.revoke(tenant_id, key_id, actor=caller().actor) is None:
        raise unknown_key()
    return see_other("ui.keys", tenant_id=tenant_id)


def _page(tenant_id: str, *, made: str = "", values: dict[str, str] | None = None, error: str = "", status: int = 200) -> Response:
    check_tenant(tenant_id)
    return page(
        "keys",
        status,
        tenant_id=tenant_id,
        keys=web().cell.keys.list(tenant_id),
        # The one that may least comes first.
        roles=[Role.READ.value, Role.SUBMIT.value, Role.ADMIN.value],
        made=made,
        # Nobody who is signed in has none.
        first=caller().key_id is None,
        values=values or {},
        error=error,
    )
