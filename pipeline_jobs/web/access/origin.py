"""Refuses requests that a browser was tricked into: DNS rebinding, and writes from pages of other sites."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from flask import Flask, request

from pipeline_jobs.settings import Settings
from pipeline_jobs.web.asked import asked
from pipeline_jobs.web.problems import Refused

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
#: As a `Host` header has them.
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: Browsers say who makes a request; other clients do not send the header.
_OWN_SITE = frozenset({"same-origin", "none"})


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """The names under which the API may be addressed, or None for any.

    While it listens on loopback only, a page that rebinds its own name to 127.0.0.1 must not reach it.
    """
    if not is_loopback(settings.http_host):
        return None
    public = urlsplit(settings.public_url).hostname
    names = LOOPBACK_NAMES | {settings.http_host.lower()}
    return names | {public} if public else names


def install(app: Flask, settings: Settings) -> None:
    hosts = allowed_hosts(settings)

    def refuse_strangers() -> None:
        environ = asked().environ
        host = environ.get("HTTP_HOST")
        if hosts is not None and host is not None and name_of(host) not in hosts:
            raise Refused(
                403,
                "foreign_host",
                "this API accepts requests for its own host only; set PIPELINE_PUBLIC_URL to the address that clients use",
            )
        site = environ.get("HTTP_SEC_FETCH_SITE")
        if site is not None and site not in _OWN_SITE and environ["REQUEST_METHOD"] not in _READING:
            raise Refused(403, "cross_site", "write requests from a page of another site are refused")

    app.before_request(refuse_strangers)


def refuse_other_origin(settings: Settings) -> None:
    """A WebSocket may be opened by a page of our own only: browsers ask nobody before they open one to another origin.

    :raises Refused: 403
    """
    origin = request.headers.get("Origin")
    if origin is not None and not is_ours(origin, settings):
        raise Refused(403, "cross_site", "WebSockets from a page of another site are refused")


def refuse_other_form(settings: Settings) -> None:
    """A form's write comes from a page of our own (CSRF): it says so itself, so that no token is needed and none can leak.

    Every browser sends `Origin` with a form; what sends neither header is no browser on our page.

    :raises Refused: 403
    """
    if request.method in _READING:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    told = site == "same-origin" if origin is None else is_ours(origin, settings)
    if not told or (site is not None and site not in _OWN_SITE):
        raise Refused(403, "cross_site", "this form was not sent from a page of this server")


def is_ours(origin: str, settings: Settings) -> bool:
    """The origin is that of the host that was asked, or of PIPELINE_PUBLIC_URL (a proxy may ask under another name)."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    public = urlsplit(settings.public_url)
    if public.netloc and (parts.scheme, parts.netloc) == (public.scheme, public.netloc.lower()):
        return True
    # Behind a proxy that ends TLS the request itself may look like http; the other way round somebody has tampered with it.
    return parts.netloc == request.host.lower() and (parts.scheme == "https" or (parts.scheme == "http" and not request.is_secure))


def name_of(host: str) -> str:
    """`Example.com:8000` -> `example.com`, `[::1]:8000` -> `[::1]`."""
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0].lower()


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """An address or name of this machine itself; `::ffff:127.0.0.1` is one."""
    try:
        ip = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return (mapped or ip).is_loopback
