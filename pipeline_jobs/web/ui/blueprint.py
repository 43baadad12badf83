"""The page's blueprint: what surrounds each of its views. Permissions were checked before, as everywhere (`web/access/auth.py`)."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, render_template, request, url_for

from pipeline_jobs import __version__
from pipeline_jobs.access.api_keys import ALL
from pipeline_jobs.exceptions import PipelineJobsError
from pipeline_jobs.web import problems
from pipeline_jobs.web.access.caller import maybe_caller, set_caller
from pipeline_jobs.web.access.flags import require_queue, require_ui
from pipeline_jobs.web.access.origin import is_ours, refuse_other_form
from pipeline_jobs.web.access.policy import Policy
from pipeline_jobs.web.access.sessions import COOKIE
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui import words
from pipeline_jobs.web.ui.arguments import refuse_many, refuse_unknown
from pipeline_jobs.web.ui.compressed import compress

_HERE = Path(__file__).parent
#: No inline script or style runs, and nothing comes from elsewhere.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

#: Cookie with the reader's choice of a theme.
THEME = "pipeline_theme"

blueprint = Blueprint(
    "ui",
    __name__,
    url_prefix="/pipeline/ui",
    template_folder=_HERE / "templates",
    static_folder=_HERE / "static",
    static_url_path="/static",
)
blueprint.before_request(require_ui)
blueprint.before_request(require_queue)
blueprint.before_request(lambda: refuse_other_form(web().settings))
blueprint.before_request(refuse_unknown)
blueprint.before_request(refuse_many)
for _filter in words.FILTERS:
    blueprint.add_app_template_filter(_filter)


def mark(text: str) -> str:
    """The same for the same text, and nothing of it: what a browser keeps apart by."""
    return sha256(text.encode()).hexdigest()[:16]


blueprint.add_app_template_filter(mark)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """A page from a template; for htmx, which asks for the part that moves, `_{template}` alone."""
    name = f"_{template}" if is_fragment() and status < 400 else template
    return Response(render_template(f"{name}.html", **values), status, content_type="text/html; charset=utf-8")


def is_fragment() -> bool:
    """A script on a page asks for a part of it."""
    return request.headers.get("HX-Request") == "true"


def _is_https() -> bool:
    """The browser came by https: it says so itself, where a proxy does not."""
    return request.is_secure or request.headers.get("Origin", "").startswith("https://")


def keep_cookie(response: Response, name: str, value: str, seconds: int) -> None:
    """Have the browser send it with each request for the page, for so long."""
    response.set_cookie(name, value, max_age=seconds, **_cookie())


def drop_cookie(response: Response, name: str) -> None:
    """Have the browser forget it."""
    response.delete_cookie(name, **_cookie())


def _cookie() -> dict[str, Any]:
    # Lax: a link to a job, from a mail say, opens it. Nothing that a GET does here changes anything.
    return {"path": url_for("ui.overview"), "secure": _is_https(), "httponly": True, "samesite": "Lax"}


def see_other(endpoint: str, **values: Any) -> Response:
    """After a write: a page to look at, so that a reload does not write again."""
    return Response(status=303, headers={"Location": url_for(endpoint, **values)})


@blueprint.app_context_processor
def _everywhere() -> dict[str, Any]:
    who = maybe_caller()
    tenant = chosen_tenant()
    return {
        "who": who,
        "may_submit": who is not None and who.role in Policy.SUBMIT.roles,
        "is_admin": who is not None and who.role in Policy.ADMIN.roles,
        "tenant": tenant,
        # For links: only a key of all tenants has to name one.
        "about": {"tenant_id": tenant} if tenant not in (None, ALL) and who is not None and who.sees_all else {},
        "theme": theme if (theme := request.cookies.get(THEME)) in ("light", "dark") else None,
        "version": __version__,
    }


def chosen_tenant() -> str | None:
    """The tenant that the page is about: the key's own; of a key of all tenants the one in the path or the query, or None for all."""
    who = maybe_caller()
    if who is None:
        return None
    if not who.sees_all:
        return who.tenant_id
    return (request.view_args or {}).get("tenant_id") or request.args.get("tenant_id") or None


@blueprint.after_request
def guard(response: Response) -> Response:
    """The headers of everything that the page sends."""
    headers = response.headers
    if request.endpoint == "ui.static":
        compress(response)
    else:
        # A file that a link shows has a stricter one.
        headers.setdefault("Content-Security-Policy", _POLICY)
    # `no-referrer`, as elsewhere, would make browsers hide the origin of our own forms from us (Fetch, "append a request `Origin` header").
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


@blueprint.errorhandler(Exception)
def as_page(error: Exception) -> Response:
    """What the API says in JSON, as a page. Who has to sign in is sent there."""
    told = problems.answer(error)
    if "Tus-Resumable" in request.headers:
        # A script sends a file: it reads what the API would answer.
        return told
    if told.status_code == 401:
        return _to_sign_in()
    know_caller()
    response = page("problem", told.status_code, problem=told.get_json())
    response.headers.extend({name: value for name, value in told.headers.items() if name in ("Retry-After", "Allow")})
    return response


def know_caller() -> None:
    """For the navigation of an answer to nobody in particular (a wrong address, a link that is over): nothing is allowed by it."""
    if maybe_caller() is not None:
        return
    try:
        set_caller(web().access.caller(request.environ, Policy.READ, request.cookies.get(COOKIE)))
    except (problems.Refused, PipelineJobsError):
        # No good session, or no store to ask: the answer is the same.
        return


def _to_sign_in() -> Response:
    if is_fragment():
        target = url_for("ui.sign_in", next=local_path(request.headers.get("HX-Current-URL", "")))
        return Response("Sign in again.", 401, {"HX-Redirect": target}, content_type="text/plain; charset=utf-8")
    # A form that was sent leads back to its page, where what was typed is given back (`draft.js`).
    came_from = request.full_path if request.method == "GET" else request.referrer or ""
    known = request.method == "GET" or is_ours(came_from, web().settings)
    return see_other("ui.sign_in", next=local_path(came_from) if known else None, ended=None if request.method == "GET" else 1)


def local_path(address: str) -> str | None:
    """Path and query of an address, if it is one of the page's own: nobody is sent elsewhere after signing in."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    root = url_for("ui.overview")
    if not (parts.path == root or parts.path.startswith(root + "/")) or "\\" in address or ".." in parts.path:
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
