"""Which URLs and events webhooks may have: the rules for endpoints and for the webhooks of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_jobs import addresses
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.states import TERMINAL

#: The types of events there are. Whoever adds one: a call of `outbox` in a script, and the shape of its `data` (`payload`).
JOB_EVENTS = (*sorted(f"job.{status.value}" for status in TERMINAL), "job.waiting")
EVENTS = ("batch.completed", *JOB_EVENTS)


def check_target(url: object, events: Sequence[str], *, allow_private: bool, field: str = "", known: Sequence[str] = EVENTS) -> None:
    """Refuse a URL that can never be sent to, and types of events that there are not.

    :param field: where both stand in the request (`webhook.` before `url` and `events`).
    :raises InvalidInput: names the field.
    """
    addresses.check_webhook(url, allow_private=allow_private, field=f"{field}url")
    for event in events:
        if event not in known:
            raise InvalidInput(f"{field}events must be among: {', '.join(known)}", field=f"{field}events")


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
