"""Sign in with an API key, and out."""

from __future__ import annotations

from flask import Response, request, url_for

from pipeline_jobs.web.access.sessions import COOKIE
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, local_path, page, see_other

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
    # Lax: a link to a job, from a mail say, opens it. Nothing that a GET does here changes anything.
    response.set_cookie(
        COOKIE,
        access.sessions.cookie(key),
        max_age=web().settings.ui_session_seconds,
        path=url_for("ui.overview"),
        secure=_is_https(),
        httponly=True,
        samesite="Lax",
    )
    return response


@blueprint.post("/sign-out")
def sign_out() -> Response:
    # First: a cookie that somebody copied must not outlive the sign-out.
    web().access.sessions.end(request.cookies.get(COOKIE, ""))
    response = see_other("ui.sign_in")
    response.delete_cookie(COOKIE, path=url_for("ui.overview"), secure=_is_https(), httponly=True, samesite="Lax")
    return response


def _is_https() -> bool:
    """The browser came by https: it says so itself, where a proxy does not."""
    return request.is_secure or request.headers.get("Origin", "").startswith("https://")
