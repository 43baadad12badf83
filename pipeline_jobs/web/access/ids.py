"""The ids in addresses, checked in one place before any view sees them.

An id becomes part of a key of the store. One with a colon in it could name another key: a delivery's list of tries for a delivery.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask

from pipeline_jobs import exceptions
from pipeline_jobs.access.api_keys import KEY_ID
from pipeline_jobs.files.upload import UPLOAD_ID
from pipeline_jobs.job import ANY_ID, BATCH_ID
from pipeline_jobs.jobs.signals import UnknownSignal
from pipeline_jobs.stage import SIGNAL_NAME
from pipeline_jobs.tenants import NAME, NAME_OR_ALL, NAME_RULE
from pipeline_jobs.web.asked import asked
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.webhooks.endpoints import ENDPOINT_ID
from pipeline_jobs.webhooks.ledger import DELIVERY_ID


def unknown_key() -> Refused:
    return Refused(404, "unknown_key", "the tenant has no key with this id")


def _no_name(field: str) -> Callable[[], exceptions.InvalidInput]:
    return lambda: exceptions.InvalidInput(f"{field} {NAME_RULE}", field=field)


#: By the name of a route's variable: what all of its values are like, and the answer to one that is not.
IDS: Mapping[str, tuple[re.Pattern[str], Callable[[], Exception]]] = {
    "job_id": (ANY_ID, exceptions.UnknownJob),
    "batch_id": (BATCH_ID, exceptions.UnknownBatch),
    "workflow_id": (BATCH_ID, exceptions.UnknownBatch),
    "schedule_id": (ANY_ID, exceptions.UnknownSchedule),
    "upload_id": (UPLOAD_ID, exceptions.UnknownUpload),
    "endpoint_id": (ENDPOINT_ID, exceptions.UnknownEndpoint),
    "delivery_id": (DELIVERY_ID, exceptions.UnknownDelivery),
    "key_id": (KEY_ID, unknown_key),
    # `*` are all tenants; routes of one tenant refuse it themselves.
    "tenant_id": (NAME_OR_ALL, _no_name("tenant_id")),
    "pipeline": (NAME, _no_name("pipeline")),
    "signal": (SIGNAL_NAME, lambda: UnknownSignal("no pipeline waits for a signal of this name", field="signal")),
}
#: Variables that are paths of files and no ids: their routes check them.
PATHS = frozenset({"path", "filename"})


def install(app: Flask) -> None:
    """Ask before every request, after `auth`: a stranger does not learn what an id looks like."""
    app.before_request(lambda: refuse_strange(asked().view_args or {}))


def refuse_strange(values: Mapping[str, Any]) -> None:
    """:raises RequestError, Refused: nothing can have this id; the answer is the one to an id that nothing has."""
    for name, value in values.items():
        if name not in PATHS:
            pattern, answer = IDS[name]
            if not pattern.fullmatch(value):
                raise answer()
