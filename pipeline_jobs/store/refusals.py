"""What the scripts answer when they do not take a job, as errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline_jobs.exceptions import (
    IdTaken,
    InvalidInput,
    KeyReused,
    MemoryFull,
    PipelineJobsError,
    QueueFull,
    RateLimited,
    StorageFull,
    StoreFull,
    TryLater,
    WebhooksFull,
)

LARGE_BATCH = "A tenant may send one batch of more than 200 jobs a second: try again later, or send smaller ones."

#: By what is full; anything else is the installation.
_FULL: Mapping[str, type[TryLater]] = {"tenant": QueueFull, "storage": StorageFull, "webhooks": WebhooksFull, "memory": MemoryFull}


def wrong(became: str, what: Any) -> InvalidInput:
    """Of a job that names others' things.

    :param what: of a `dependency` its place in `depends_on`; of an `upload` why: `unknown` (another's, too) or `incomplete`.
    """
    if became == "dependency":
        return InvalidInput(f"depends_on.{what}: there is no such job", field=f"depends_on.{what}")
    return InvalidInput(f"url: {'there is no such upload' if what == 'unknown' else 'the upload is not complete'}", field="url")


def refusal(reply: Any) -> PipelineJobsError:
    """Why a submit was refused: one of the replies that `lua/lib/accept.lua` declares, or `taken`."""
    match reply.became:
        case "dependency" | "upload":
            return wrong(reply.became, reply.places[1])
        case "full":
            return _FULL.get(reply.what, StoreFull)(retry_after=int(reply.retry_after))
        case "rate":
            text = LARGE_BATCH if reply.whose == "batch" else None
            return RateLimited(text, retry_after=max(1, -(-int(reply.retry_after_ms) // 1000)), limit=float(reply.rate), whose=reply.whose)
        case "differs":
            return KeyReused()
    return IdTaken()
