"""Pause a tenant, after a question that says what happens, for how long and why; and let it go on. For admins of all tenants."""

from __future__ import annotations

import time

from flask import Response, request

from pipeline_jobs.operation import pauses
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import check_name
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, page, see_other

#: For how long a pause may be meant, in seconds, by the word of the form.
TIMES = {"30 minutes": 1800, "1 hour": 3600, "4 hours": 14_400, "1 day": 86_400, "until I resume it": None}


@blueprint.get("/oncall/pause")
def ask_pause() -> Response:
    return _page(request.args.get("of", ""))


@blueprint.post("/oncall/pause")
def do_pause() -> Response:
    tenant_id, why = request.values.get("of", ""), " ".join(request.form.get("why", "").split())
    client, actor = web().cell.client, caller().actor
    check_name("of", tenant_id)
    if request.form.get("act") == "resume":
        pauses.resume(client, tenant_id, actor=actor)
        return see_other("ui.oncall")
    lasts = request.form.get("lasts", "")
    if lasts not in TIMES:
        raise Refused(422, "invalid_input", f"lasts must be one of: {', '.join(TIMES)}", field="lasts")
    if not why:
        return _page(tenant_id, "Say why: whoever wonders about it reads this.", 422)
    seconds = TIMES[lasts]
    until = None if seconds is None else int((time.time() + seconds) * 1000)
    pauses.pause(client, tenant_id, actor=actor, by=_name(), until=until, why=why)
    return see_other("ui.oncall")


def _name() -> str:
    """What the tenant is told of who paused it: the name of the key, never its id."""
    who = caller()
    key = web().cell.keys.get(who.key_id) if who.key_id else None
    return (key.name if key else None) or "an operator"


def _page(tenant_id: str, error: str = "", status: int = 200) -> Response:
    check_name("of", tenant_id)
    store = web().cell.store
    queued, running = store.sizes([("tenant_status", tenant_id, status) for status in (JobStatus.QUEUED, JobStatus.RUNNING)])
    return page("pause", status, of=tenant_id, queued=queued, running=running, times=TIMES, error=error, why=request.form.get("why", ""))
