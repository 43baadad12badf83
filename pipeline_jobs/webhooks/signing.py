"""Secrets and signatures, by Standard Webhooks (standardwebhooks.com, "Signature scheme"): `webhook-id`, `-timestamp`, `-signature`.

No secret is kept anywhere: what the store has is a random nonce, and the secret is HMAC-SHA256 of it by the key of the installation
(PIPELINE_SECRET_KEY). So a copy of the store signs nothing, as long as that key is not in the store too (it is when the setting is empty).
Beside the nonce lies a check value, by which a changed key is noticed: then nothing is sent that receivers would refuse.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

from pipeline_jobs.exceptions import KeyChanged

_LABEL = b"pipeline-jobs webhook secret\0"


@dataclass(frozen=True, slots=True)
class Draw:
    """What of a secret is kept. It tells nothing without the key of the installation."""

    nonce: str
    check: str


class Signer:
    """Makes secrets, and signs with them."""

    def __init__(self, key: Callable[[], str]) -> None:
        """:param key: gives the key of the installation; asked at the first use."""
        self._key = key

    def draw(self) -> Draw:
        """A new secret."""
        nonce = secrets.token_hex(16)
        return Draw(nonce, self._check(nonce))

    def reveal(self, draw: Draw) -> str:
        """The secret: `whsec_` and 32 bytes in base64.

        :raises KeyChanged:
        """
        if not hmac.compare_digest(self._check(draw.nonce), draw.check):
            raise KeyChanged
        return "whsec_" + base64.b64encode(self._derive(draw.nonce)).decode()

    def headers(self, message_id: str, moment: datetime, body: str, current: Draw, old: Draw | None = None) -> dict[str, str]:
        """The three headers; while an old secret counts too, with a signature by each.

        :raises KeyChanged:
        """
        moment = moment.astimezone(UTC)
        signatures = [Webhook(secret).sign(message_id, moment, body) for secret in self._secrets(current, old)]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def _secrets(self, current: Draw, old: Draw | None) -> Sequence[str]:
        found = [self.reveal(current)]
        if old is not None:
            try:
                found.append(self.reveal(old))
            except KeyChanged:
                # It was rotated because the key changed.
                pass
        return found

    def _derive(self, nonce: str) -> bytes:
        return hmac.digest(self._key().encode(), _LABEL + nonce.encode(), "sha256")

    def _check(self, nonce: str) -> str:
        return hmac.digest(self._derive(nonce), b"check", "sha256").hex()[:16]
