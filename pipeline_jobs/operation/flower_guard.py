"""What Flower asks of a request beside a login, for `flowerconfig.py`: browsers send a kept login along whoever made the request.

A page anywhere can make a browser on this machine send a POST to Flower, with the Basic login that the browser keeps; and by a name of its
own that it points at 127.0.0.1 (DNS rebinding) it could read the answers, too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

import flower.app
import tornado.web
from tornado.httputil import HTTPServerRequest

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


class Refused(tornado.web.ErrorHandler):
    """Answers 403 to any method, with the reason as text. Nothing of the request is looked at."""

    def initialize(self, reason: str) -> None:  # type: ignore[override]
        super().initialize(403)
        self.reason = reason

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(self.reason + "\n")


def guard(hosts: Collection[str]) -> None:
    """From now on Flower answers 403 to a request under a foreign host name, and to what a page of another origin makes a browser send.

    Every request passes here, for whichever handler it is, Flower's pages, its API, its files, or none.

    :param hosts: names under which Flower may be asked, besides the address it listens on and those of loopback.
    """

    def find_handler(self: Any, request: HTTPServerRequest, **kwargs: Any) -> Any:
        reason = refusal(request, {*hosts, self.options.address or "localhost"})
        if reason:
            return self.get_handler_delegate(request, Refused, {"reason": reason})
        return tornado.web.Application.find_handler(self, request, **kwargs)

    flower.app.Flower.find_handler = find_handler


def refusal(request: HTTPServerRequest, hosts: Collection[str]) -> str:
    """Why a request is refused; empty if it is not."""
    host = request.headers.get("Host", "")
    if not _is_ours(host, {name.lower() for name in hosts}):
        return "Flower is not known by this host name: add it to PIPELINE_FLOWER_HOSTS."
    # No page of another origin can read the answer to a GET; a WebSocket, which begins as one, it could.
    harmless = request.method == "GET" and "Upgrade" not in request.headers
    if harmless or _is_same_origin(request, host):
        return ""
    return "The request comes from a page of another origin."


def _is_ours(host: str, hosts: Collection[str]) -> bool:
    """Of a `Host` header: `localhost:5555`, `[::1]`."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found["name"].strip("[]").lower()
    return name in hosts or name == "localhost" or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_same_origin(request: HTTPServerRequest, host: str) -> bool:
    """Browsers send both headers, old ones only `Origin`; programs neither."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    return site in (None, "same-origin") and (origin is None or urlsplit(origin).netloc.lower() == host.lower())
