"""What the scripts answer when they do not take a job, as errors."""

from __future__ import annotations

from typing import Any

from pipeline_jobs.exceptions import (
    IdTaken,
    InvalidInput,
    KeyReused,
    PipelineJobsError,
    QueueFull,
    RateLimited,
    StorageFull,
    StoreFull,
    WebhooksFull,
)

LARGE_BATCH = "A tenant may send one batch of more than 200 jobs a second: try again later, or send smaller ones."


def bad_upload(why: str) -> InvalidInput:
    """Of a job whose url names an upload: `unknown` (another's, too) or `incomplete`."""
    return InvalidInput(f"url: {'there is no such upload' if why == 'unknown' else 'the upload is not complete'}", field="url")


def refusal(reply: Any) -> PipelineJobsError:
    """Why a submit was refused: one of the replies that `lua/lib/accept.lua` declares, or `taken`."""
    match reply.became:
        case "dependency":
            field = f"depends_on.{reply.places[1]}"
            return InvalidInput(f"{field}: there is no such job", field=field)
        case "full":
            full = {"tenant": QueueFull, "storage": StorageFull, "webhooks": WebhooksFull}.get(reply.what, StoreFull)
            return full(retry_after=int(reply.retry_after))
        case "rate":
            text = LARGE_BATCH if reply.whose == "batch" else None
            return RateLimited(text, retry_after=max(1, -(-int(reply.retry_after_ms) // 1000)), limit=float(reply.rate), whose=reply.whose)
        case "upload":
            return bad_upload(reply.places[1])
        case "differs":
            return KeyReused()
    return IdTaken()
