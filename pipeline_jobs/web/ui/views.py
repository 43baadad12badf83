"""Saved views: filters of the list under a name, kept in this browser for one key. They are addresses: one sees in them what the key sees.

Whoever signs in next at the same browser with another key is neither shown them nor left with them: names and filters tell of work.
"""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Response, request
from pydantic_core import from_json, to_json

from pipeline_jobs.web.access.caller import maybe_caller
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.ui.blueprint import blueprint, drop_cookie, keep_cookie, see_other
from pipeline_jobs.web.ui.listing import NAMES, filters, read_query

#: Name of the cookie, and how long a browser keeps it, in seconds.
COOKIE, KEPT = "pipeline_views", 365 * 86_400
#: Most views, longest name in characters, and most bytes of all of them: a browser takes cookies of 4096.
MOST, MAX_NAME, MAX_BYTES = 20, 40, 3_000

View = tuple[str, dict[str, str]]


def saved() -> list[View]:
    """The views of this browser and key; what cannot be read is none."""
    who = maybe_caller()
    owner, views = _read()
    return views if who is not None and owner == (who.key_id or "") else []


def forget_others(response: Response, key_id: str) -> None:
    """With this key somebody signs in: views of another one leave the browser."""
    if COOKIE in request.cookies and _read()[0] != key_id:
        drop_cookie(response, COOKIE)


def _read() -> tuple[str, list[View]]:
    """The id of the key whose views they are, and the views."""
    try:
        owner, found = from_json(bytes.fromhex(request.cookies.get(COOKIE, "")))
        views = [(str(name)[:MAX_NAME], {k: str(v) for k, v in where.items() if k in NAMES}) for name, where in found][:MOST]
    except (ValueError, AttributeError, TypeError):
        return "", []
    return str(owner), views


@blueprint.post("/jobs/views")
def save_view() -> Response:
    """Keep the list of the address's filters under a name, or (`act=remove`) forget the view of that name."""
    where, name = filters(), " ".join(request.form.get("name", "").split())[:MAX_NAME]
    act, group = request.form.get("act", "save"), request.args.get("group") or None
    if act not in ("save", "remove"):
        raise Refused(422, "invalid_input", "act must be one of: save, remove", field="act")
    if not name:
        raise Refused(422, "invalid_input", "name: a view needs a name", field="name")
    read_query(where)
    left = [one for one in saved() if one[0] != name]
    views = left if act == "remove" else [*left, (name, where)]
    who = maybe_caller()
    text = to_json(((who.key_id if who else None) or "", views)).hex()
    if len(views) > MOST or len(text) > MAX_BYTES:
        raise Refused(422, "invalid_input", f"name: there is room for {MOST} views; remove one first", field="name")
    response = see_other("ui.jobs", group=group, **where)
    keep_cookie(response, COOKIE, text, KEPT)
    return response


def is_open(view: View, found: dict[str, str]) -> bool:
    """The list shows this view."""
    return urlencode(sorted(view[1].items())) == urlencode(sorted(found.items()))
