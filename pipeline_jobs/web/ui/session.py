"""Sign in with an API key, and out."""

from __future__ import annotations

from flask import Response, request, url_for

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.web.access.caller import maybe_caller
from pipeline_jobs.web.access.sessions import COOKIE
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, drop_cookie, is_fragment, keep_cookie, local_path, page, see_other
from pipeline_jobs.web.ui.views import forget_others

#: What a page asks for by itself.
_NO_USE = frozenset({"ui.static", "ui.upload", "ui.continue_upload", "ui.sign_out"})
#: Longer than any key.
_MAX_TEXT = 200


@blueprint.get("/sign-in")
def sign_in() -> Response:
    if web().access.is_open(request.environ):
        return see_other("ui.overview")
    return page("sign_in", next=local_path(request.args.get("next", "")))


@blueprint.post("/sign-in")
def try_sign_in() -> Response:
    access = web().access
    following = local_path(request.form.get("next", ""))
    key = access.sign_in(request.environ, request.form.get("key", "").strip()[:_MAX_TEXT])
    if key is None:
        return page("sign_in", 401, next=following, wrong=True)
    response = Response(status=303, headers={"Location": following or url_for("ui.overview")})
    keep_cookie(response, COOKIE, access.sessions.cookie(key), web().settings.ui_session_seconds)
    forget_others(response, key.key_id)
    return response


@blueprint.after_request
def renew(response: Response) -> Response:
    """A session lasts from its last use on. A page that is opened or a form that is sent is a use; what a script asks meanwhile is none."""
    cookie = request.cookies.get(COOKIE, "")
    who = maybe_caller()
    if not cookie or who is None or who.key_id is None or is_fragment() or response.status_code >= 400 or request.endpoint in _NO_USE:
        return response
    try:
        fresh = web().access.sessions.renewed(cookie)
    except StoreUnavailable:
        return response
    if fresh is not None:
        keep_cookie(response, COOKIE, fresh, web().settings.ui_session_seconds)
    return response


@blueprint.post("/sign-out")
def sign_out() -> Response:
    # First: a cookie that somebody copied must not outlive the sign-out.
    web().access.sessions.end(request.cookies.get(COOKIE, ""))
    response = see_other("ui.sign_in")
    drop_cookie(response, COOKIE)
    return response
