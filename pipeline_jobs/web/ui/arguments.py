"""What the address of each page may have, and how much a form. Anything else is refused: a filter that is not understood is never passed
over."""

from __future__ import annotations

from collections.abc import Mapping

from flask import request

from pipeline_jobs.web.problems import Refused

#: By the page. `None`: the page looks at them itself, with the words of its own schema.
KNOWN: Mapping[str, tuple[str, ...] | None] = {
    "static": ("v",), "sign_in": ("next", "ended"), "overview": ("tenant_id",), "jobs": None, "ask_bulk": None,
    "job": ("t",), "transcript": ("as",), "change": (), "ask_chosen": ("id", "action", "tenant_id"),
    "form": ("pipeline", "like", "tenant_id", "workspace_id"),
    "many": ("tenant_id",), "upload": (), "uploads": None, "batches": None, "batch": ("action", "done"), "workflow": (),
    "schedules": None, "schedule": (), "new_schedule": ("tenant_id",), "webhooks": None, "webhook": (), "delivery": (),
    "keys": (), "tenant": ("saved",), "audit": None, "tenant_audit": None,
    "fairness": ("of", "weight", "max_concurrent"), "oncall": (), "ask_pause": ("of",),
    "shared": ("token", "t"), "shared_file": ("token",), "signal_link": ("link",),
}  # fmt: skip

#: Most fields of a form, as of one that is sent in parts. A megabyte of them takes a third of a second to be read, by whoever signs in too.
MAX_FIELDS = 1000


def refuse_many() -> None:
    """:raises Refused: 413, the form has too many fields."""
    if request.mimetype == "application/x-www-form-urlencoded" and request.get_data().count(b"&") >= MAX_FIELDS:
        raise Refused(413, "body_too_large", f"a form has at most {MAX_FIELDS} fields")


def refuse_unknown() -> None:
    """:raises Refused: 400, the address has a parameter that this page does not know."""
    known = KNOWN.get((request.endpoint or "").removeprefix("ui."))
    if request.method != "GET" or known is None:
        return
    for name in request.args:
        if name not in known:
            said = f"there is no filter {name[:100]!r} here" + (f"; there are: {', '.join(known)}" if known else "")
            raise Refused(400, "unknown_parameter", said, field=name[:100])
