"""What is sent: `{"type", "timestamp", "data"}` (Standard Webhooks, "Payload structure"), from the record as it was at the event.

An event of a job is the one of its log (`docs/events.md`): the same envelope with the same `id` and `seq`, but `data` is the whole job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline_jobs.events.event_types import event_id
from pipeline_jobs.job import Job, dumps, rfc3339

#: `data` of an event, by the first word of its type: of the snapshot's fields and the address of the API (empty: links are paths).
Shape = Callable[[Mapping[str, str], str], dict[str, Any]]


#: Those of the modules below this one; the cell adds the others. A job's is the one in a list, with its result if the record has it.
SHAPES: dict[str, Shape] = {
    "job": lambda flat, url: Job.from_mapping(flat).to_body(url),
    "endpoint": lambda flat, url: {"endpoint_id": flat["endpoint_id"], "tenant_id": flat["tenant_id"]},
}


def body(flat: Mapping[str, str], public_url: str, shapes: Mapping[str, Shape] = SHAPES) -> str:
    """The JSON text of an event's message; the same for every try.

    :param flat: the snapshot's fields.
    """
    event = flat["webhook_type"]
    shape = shapes[event.partition(".")[0]]
    at = rfc3339(int(flat["webhook_at"]))
    envelope: dict[str, Any] = {"type": event, "timestamp": at}
    if "webhook_seq" in flat:
        seq = int(flat["webhook_seq"])
        about = {name: flat[name] for name in ("job_id", "tenant_id", "workspace_id")}
        envelope = {"id": event_id(flat["job_id"], seq), "seq": seq, **envelope, **about, "created_at": at}
    return dumps({**envelope, "data": shape(flat, public_url)})
