"""What nothing leads to: a wrong address below the page is answered as a page, with its navigation; `/` and a slash at the end lead on."""

from __future__ import annotations

from urllib.parse import quote

from flask import Flask, Response, request, url_for
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from pipeline_jobs.web import problems
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import as_page, blueprint, guard


def install(app: Flask) -> None:
    """Answer what no route does, where a browser asks."""

    def lost(error: HTTPException) -> Response:
        if request.blueprint == blueprint.name:
            # A view of the page's own said so: Flask asks this handler first.
            return as_page(error)
        if request.endpoint is not None or not web().settings.ui or not web().settings.enable_job_queue:
            return problems.answer(error)
        root = url_for("ui.overview")
        if request.path == "/" and request.method == "GET" and _is_a_browser():
            return guard(Response(status=303, headers={"Location": root}))
        if not request.path.startswith(root + "/"):
            return problems.answer(error)
        if request.method == "GET" and _is_page(app, bare := request.path.rstrip("/")):
            query = request.query_string.decode("latin-1")
            # Quoted again: a line's end in the address would be one in the header.
            return guard(Response(status=308, headers={"Location": quote(bare) + (f"?{query}" if query else "")}))
        return guard(as_page(error))

    app.register_error_handler(NotFound, lost)
    app.register_error_handler(MethodNotAllowed, lost)


def _is_a_browser() -> bool:
    """HTML is liked better than other types. Of what is liked as well, `best` would be the most specific: with Chromium it is no page."""
    return request.accept_mimetypes.best_match(("application/json", "text/html")) == "text/html"


def _is_page(app: Flask, path: str) -> bool:
    """There is one at this address: then a slash was all that was wrong."""
    if path == request.path:
        return False
    try:
        endpoint, _ = app.create_url_adapter(request).match(path, method="GET")  # type: ignore[union-attr]
    except HTTPException:
        return False
    return str(endpoint).startswith("ui.")
