"""Which addresses users may make us connect to: as sources of media and as targets of webhooks.

What is written in a request is checked as it comes in (`check_source`, `check_webhook`). What a name stands for is checked when it is
connected to, with the very address: ssrfguard asks the policy for every connection of a download and of a webhook, and the child that
runs yt-dlp from an audit hook. The table is that of the IANA registries, with what it lacks.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_network
from urllib.parse import SplitResult, urlsplit

from ssrfguard import DEFAULT_DENIED, AddressTable, Block, Policy, Reach, SSRFGuardError

from pipeline_jobs.exceptions import InvalidInput

MAX_URL = 2048

#: A public address by the registries, but inside Azure it is the host's own service.
_AZURE_HOST = Block(ip_network("168.63.129.16/32"), "Azure host service", "learn.microsoft.com", Reach.DENIED)
#: IPv4 carried in IPv6 by stateless translation; in no registry of special addresses, and a translator makes any address of it.
_TRANSLATED = Block(ip_network("::ffff:0:0:0/96"), "IPv4-translated address", "RFC 2765, section 2.1", Reach.DENIED)
TABLE = AddressTable((*DEFAULT_DENIED.blocks, _AZURE_HOST, _TRANSLATED), snapshot=DEFAULT_DENIED.snapshot)

#: Where the public serves HTTP; anything else is more likely a service that should not be talked to in HTTP.
PUBLIC_PORTS = frozenset({80, 443, 8000, 8080, 8443})

#: What a setting may open: this machine and private networks. Link-local (the clouds' metadata services), multicast and translation
#: prefixes stay closed.
PRIVATE = tuple(
    ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
)
_ANY_PORT = frozenset(range(1, 65536))

#: What most URLs look like; the rest are taken apart.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[1-9][0-9]{0,3})?(/[!-~]*)?")
_WHITE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f]")
#: Visible ASCII: a name beyond it is written in its `xn--` form, so that no look-alike of a dot or a digit is ever read as one.
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


@lru_cache(maxsize=2)
def source_policy(allow_private: bool) -> Policy:
    """What media may be fetched from; with `allow_private`, private and loopback addresses on any port too."""
    if allow_private:
        return Policy(denied_networks=TABLE, allowed_networks=PRIVATE, allowed_ports=_ANY_PORT)
    return Policy(denied_networks=TABLE, allowed_ports=PUBLIC_PORTS)


@lru_cache(maxsize=2)
def webhook_policy(allow_private: bool) -> Policy:
    """What a webhook may be sent to, no redirect followed; with `allow_private`, private and loopback addresses, any port, and http too."""
    if allow_private:
        return Policy(denied_networks=TABLE, allowed_networks=PRIVATE, allowed_ports=_ANY_PORT, max_redirects=0)
    return Policy(denied_networks=TABLE, allowed_ports=PUBLIC_PORTS - {80}, allowed_schemes=frozenset({"https"}), max_redirects=0)


def operator_policy() -> Policy:
    """What an operator may name in a setting (Google's API, a language model): any address but those that `PRIVATE` leaves closed."""
    return webhook_policy(True)


def is_plain(url: str | None) -> bool:
    """It is an http(s) URL with a host, as most are: `check_source` has nothing else to look at."""
    return isinstance(url, str) and len(url) <= MAX_URL and _PLAIN_URL.fullmatch(url) is not None


def check_source(url: str | None) -> None:
    """:raises InvalidInput: no http(s) URL with a host. Whether it may be fetched is found when it is connected to."""
    if is_plain(url):
        return
    text = _text(url, "url")
    if _WHITE_OR_CONTROL.search(text):
        raise InvalidInput("url contains white space or control characters", field="url")
    parts, port = _parts(text, "url")
    if parts.scheme not in ("http", "https"):
        raise InvalidInput("url must begin with http:// or https://, or be the upload:// address of an upload", field="url")
    if not parts.hostname or port == 0:
        raise InvalidInput("url has no valid host or port", field="url")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("url must not contain a user name or password", field="url")


def check_webhook(url: object, *, allow_private: bool, field: str = "url") -> None:
    """Refuse what no webhook can ever be sent to. A name's address is checked when it is connected to: it may be another by then.

    :param field: where the URL stands in the request.
    :raises InvalidInput: names the field.
    """
    text = _text(url, field)
    if not _VISIBLE.fullmatch(text) or "\\" in text:
        raise InvalidInput(f"{field} must consist of visible ASCII characters (an international name in its xn-- form)", field=field)
    parts, port = _parts(text, field)
    schemes = ("https", "http") if allow_private else ("https",)
    if parts.scheme not in schemes:
        raise InvalidInput(f"{field} must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}", field=field)
    if "@" in parts.netloc:
        raise InvalidInput(f"{field} must not contain a user name or password", field=field)
    host = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    if not _HOST.fullmatch(host.removesuffix(":")):
        raise InvalidInput(f"{field} has no valid host", field=field)
    try:
        webhook_policy(allow_private).check_url(text)
    except SSRFGuardError:
        raise InvalidInput(f"{field} must be of a public address and a usual port", field=field) from None


def origin(url: str) -> str:
    """Scheme and host, for what others see of a URL: what follows may hold a token of the receiver's."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _text(url: object, field: str) -> str:
    if not isinstance(url, str) or not url:
        raise InvalidInput(f"{field} is required", field=field)
    if len(url) > MAX_URL:
        raise InvalidInput(f"{field} is longer than {MAX_URL} characters", field=field)
    return url


def _parts(url: str, field: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        raise InvalidInput(f"{field} is not a valid URL", field=field) from None
