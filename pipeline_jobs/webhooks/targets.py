"""Where webhooks may go, and about what: the rules that an endpoint or a job's own webhook is checked by as it comes in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from ssrfguard import Policy, SSRFGuardError

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.states import TERMINAL
from pipeline_jobs.urls import PRIVATE, PUBLIC_PORTS, TABLE

MAX_URL = 2048
#: The types of events there are. Whoever adds one: a call of `outbox` in a script, and the shape of its `data` (`payload`).
JOB_EVENTS = tuple(sorted(f"job.{status.value}" for status in TERMINAL))
EVENTS = ("batch.completed", *JOB_EVENTS)

#: Visible ASCII: a name beyond it is written in its `xn--` form, so that no look-alike of a dot or a digit is ever read as one.
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


@lru_cache(maxsize=2)
def policy(allow_private: bool) -> Policy:
    """What a webhook may be sent to; asked for every connection, with the address that is really connected to.

    :param allow_private: private and loopback addresses, any port, and http too.
    """
    if allow_private:
        return Policy(denied_networks=TABLE, allowed_networks=PRIVATE, allowed_ports=frozenset(range(1, 65536)), max_redirects=0)
    return Policy(denied_networks=TABLE, allowed_ports=PUBLIC_PORTS - {80}, allowed_schemes=frozenset({"https"}), max_redirects=0)


def check_target(url: object, events: Sequence[str], *, allow_private: bool, field: str = "", known: Sequence[str] = EVENTS) -> None:
    """Refuse what can never be sent to. A name's address is checked when it is connected to: it may be another by then.

    :param field: where the URL stands in the request (`webhook.` before `url` and `events`).
    :raises InvalidInput: names the field.
    """
    where = f"{field}url"
    if not isinstance(url, str) or not url:
        raise InvalidInput(f"{where} is required", field=where)
    if len(url) > MAX_URL:
        raise InvalidInput(f"{where} is longer than {MAX_URL} characters", field=where)
    if not _VISIBLE.fullmatch(url) or "\\" in url:
        raise InvalidInput(f"{where} must consist of visible ASCII characters (an international name in its xn-- form)", field=where)
    try:
        parts = urlsplit(url)
        host, port = parts.netloc, parts.port
    except ValueError:
        raise InvalidInput(f"{where} is not a valid URL", field=where) from None
    schemes = ("https", "http") if allow_private else ("https",)
    if parts.scheme not in schemes:
        raise InvalidInput(f"{where} must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}", field=where)
    if "@" in host:
        raise InvalidInput(f"{where} must not contain a user name or password", field=where)
    if port is not None:
        host = host.rpartition(":")[0]
    if not _HOST.fullmatch(host.removesuffix(":")):
        raise InvalidInput(f"{where} has no valid host", field=where)
    try:
        policy(allow_private).check_url(url)
    except SSRFGuardError:
        raise InvalidInput(f"{where} must be of a public address and a usual port", field=where) from None
    _check_events(events, f"{field}events", known)


def _check_events(events: Sequence[str], where: str, known: Sequence[str]) -> None:
    for event in events:
        if event not in known:
            raise InvalidInput(f"{where} must be among: {', '.join(known)}", field=where)


def check_own(webhook: Mapping[str, Any] | None, *, allow_private: bool) -> dict[str, Any] | None:
    """A job's own webhook as its record keeps it: `{"url": ..., "events": [...]}`, no event for all.

    :raises InvalidInput: names the field.
    """
    if webhook is None:
        return None
    if unknown := sorted(set(webhook) - {"url", "events"}):
        raise InvalidInput(f"unknown field 'webhook.{unknown[0]}'", field=f"webhook.{unknown[0]}")
    events = list(dict.fromkeys(webhook.get("events") or ()))
    check_target(webhook.get("url"), events, allow_private=allow_private, field="webhook.", known=JOB_EVENTS)
    return {"url": webhook["url"], "events": events}


def origin(url: str) -> str:
    """Scheme and host, for the ledger: what follows may hold a token of the receiver's."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
