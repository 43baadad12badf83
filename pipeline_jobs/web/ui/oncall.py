"""On call: does work get through, what needs me, what do I do? For operators; an admin sets the limits of pipelines here, too."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, request

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.exceptions import UnknownPipeline
from pipeline_jobs.jobs import pipeline_limits
from pipeline_jobs.jobs.listing import JobQuery, tally
from pipeline_jobs.operation import conditions
from pipeline_jobs.operation.overview import tenants
from pipeline_jobs.operation.pauses import pauses
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.figures import load, workers
from pipeline_jobs.tenants import is_canary_pipeline
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.schemas.pipelines import PipelineLimitsRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, is_fragment, page, see_other

#: Tenants whose dead deliveries are counted.
MOST_TENANTS = 50
#: A number that may be a limit; a longer one is refused as what it is, a text.
_DIGITS = re.compile(r"[0-9]{1,15}", re.ASCII)


@blueprint.get("/oncall")
def oncall() -> Response:
    return _page()


@blueprint.post("/oncall/pipelines/<pipeline>")
def set_pipeline_limits(pipeline: str) -> Response:
    cell, text = web().cell, request.form.get("max_concurrent", "").strip()
    try:
        name = cell.pipelines.get(pipeline).name
    except UnknownPipeline as error:
        raise Refused(404, error.code, error.message, field="pipeline") from None
    try:
        body = check(PipelineLimitsRequest, {"max_concurrent": int(text) if _DIGITS.fullmatch(text) else text or None})
    except Refused as refused:
        told = answer(refused)
        return _page(told.status_code, wrong=(name, text, " ".join(one["message"] for one in told.get_json()["errors"])))
    pipeline_limits.set_cap(cell.store, name, body.max_concurrent, actor=caller().actor)
    return see_other("ui.oncall")


def _page(status: int = 200, **values: Any) -> Response:
    here = web()
    store, cell = here.cell.store, here.cell
    now, fleet = load(store), workers(store)
    failed = tally(store, JobQuery(statuses=(JobStatus.FAILED,)))
    found = {
        "seen": conditions.look(store, here.settings, here.watch.findings()),
        "now": now,
        "fleet": fleet,
        "failed": failed,
        "dead": _dead(),
        "pauses": pauses(cell.client),
        "may_set": caller().role is Role.ADMIN,
    }
    if not is_fragment():
        names = [one.name for one in cell.pipelines.all() if not is_canary_pipeline(one.name)]
        found["pipelines"] = [(name, pipeline_limits.of(store, name)) for name in names]
        found["others"] = [
            (name, href) for name, href in (("Flower", here.settings.flower_url), ("Grafana", here.settings.grafana_url)) if href
        ]
        found["tenants"] = tenants(store, MOST_TENANTS)
        found["wrong"] = None
    return page("oncall", status, **found | values)


def _dead() -> list[tuple[str, int]]:
    """Tenants with deliveries that were given up, and how many, the most first."""
    store = web().cell.store
    names = tenants(store, MOST_TENANTS)
    sizes = store.sizes([("deliveries_in", name, "dead") for name in names])
    return sorted(((name, size) for name, size in zip(names, sizes, strict=True) if size), key=lambda one: (-one[1], one[0]))
