"""The parts of a cell's webhooks, joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store
from pipeline_jobs.webhooks.endpoints import Endpoints
from pipeline_jobs.webhooks.ledger import Ledger
from pipeline_jobs.webhooks.payload import SHAPES, Shape
from pipeline_jobs.webhooks.sender import Sender
from pipeline_jobs.webhooks.signing import Signer


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What the faces need of them."""

    signer: Signer
    endpoints: Endpoints
    ledger: Ledger
    sender: Sender

    @classmethod
    def of(cls, store: Store, settings: Settings, key: Callable[[], str], shapes: Mapping[str, Shape] | None = None) -> Webhooks:
        """:param key: gives the key of the installation, from which secrets are derived.
        :param shapes: what the events of higher modules look like, by the first word of their types.
        """
        signer = Signer(key)
        endpoints, ledger = Endpoints(store, settings, signer), Ledger(store, settings)
        return cls(signer, endpoints, ledger, Sender(ledger, endpoints, signer, settings, {**SHAPES, **(shapes or {})}))
