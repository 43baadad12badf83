"""Writes come from our own pages only (CSRF).

The cookie is SameSite=Lax and `web/access/origin.py` refuses what a browser calls cross-site; a form's write must besides say where it
comes from, and that must be here. No token is needed for that, and none can leak.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.state import web

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def check_origin() -> None:
    """:raises Refused: 403 `cross_site`. Every browser sends `Origin` with a form; what sends neither is no browser on our page."""
    if request.method in _READING:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    told = site == "same-origin" if origin is None else is_ours(origin)
    if not told or site not in (None, "same-origin", "none"):
        raise Refused(403, "cross_site", "this form was not sent from a page of this server")


def is_ours(origin: str) -> bool:
    """The origin is that of the host that was asked, or of PIPELINE_PUBLIC_URL (a proxy may ask under another name)."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    public = urlsplit(web().settings.public_url)
    if public.netloc and (parts.scheme, parts.netloc) == (public.scheme, public.netloc.lower()):
        return True
    # Behind a proxy that ends TLS the request itself may look like http; the other way round somebody has tampered with it.
    return parts.netloc == request.host.lower() and (parts.scheme == "https" or (parts.scheme == "http" and not request.is_secure))
