"""What the scripts answer when they do not take a job, as errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline_jobs.exceptions import (
    AlreadySubmitted,
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


def bad_upload(why: str) -> InvalidInput:
    """Of a job whose url names an upload: `unknown` (another's, too) or `incomplete`."""
    return InvalidInput(f"url: {'there is no such upload' if why == 'unknown' else 'the upload is not complete'}", field="url")


def refusal(reply: Sequence[Any]) -> PipelineJobsError:
    """Why a submit was refused."""
    match reply[0]:
        case "dependency":
            field = f"depends_on.{reply[2]}"
            return InvalidInput(f"{field}: there is no such job", field=field)
        case "full":
            return {"tenant": QueueFull, "storage": StorageFull, "webhooks": WebhooksFull}.get(reply[1], StoreFull)(
                retry_after=int(reply[2])
            )
        case "rate":
            return RateLimited(retry_after=max(1, -(-int(reply[3]) // 1000)), limit=float(reply[2]), whose=reply[1])
        case "upload":
            return bad_upload(reply[2])
        case "same":
            return AlreadySubmitted(reply[1])
        case "differs":
            return KeyReused()
    return IdTaken()
