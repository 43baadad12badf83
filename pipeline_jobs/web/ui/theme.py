"""Light, dark, or as the system has it: kept in a cookie, so that the server writes it and nothing flashes."""

from __future__ import annotations

from flask import Response, request, url_for

from pipeline_jobs.web.access.origin import is_ours
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import THEME, blueprint, keep_cookie, local_path

CHOICES = ("system", "light", "dark")
#: How long a browser keeps it, in seconds.
KEPT = 365 * 86_400


@blueprint.post("/theme")
def set_theme() -> Response:
    chosen = request.form.get("theme", "")
    if chosen not in CHOICES:
        raise Refused(422, "invalid_input", f"theme must be one of: {', '.join(CHOICES)}", field="theme")
    # Back to the page with the form; one that only a POST gives (a new key, shown once) is asked for by GET, and told so there.
    came_from = request.referrer or ""
    back = local_path(came_from) if is_ours(came_from, web().settings) else None
    response = Response(status=303, headers={"Location": back or url_for("ui.overview")})
    keep_cookie(response, THEME, chosen, KEPT)
    return response
