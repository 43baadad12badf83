"""Webhooks as they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from standardwebhooks.webhooks import Webhook


def verify_webhook(secret: str, headers: Mapping[str, str], body: bytes | str) -> dict[str, Any]:
    """The event of a webhook, if it is genuine and at most five minutes old (Standard Webhooks).

    Answer 2xx only when the event is safe with you, and pass over values of `webhook-id` that you have seen: one may come twice.

    :param secret: `whsec_...`, as the API showed it.
    :param body: as it came, byte for byte; parsed and written again it has another signature.
    :raises standardwebhooks.webhooks.WebhookVerificationError: it is not signed with the secret, or is too old.
    """
    event: dict[str, Any] = Webhook(secret).verify(body, {name.lower(): value for name, value in headers.items()})
    return event
