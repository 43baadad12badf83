"""Errors that a caller is told: what was asked for cannot be done, not now, or the store did not do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline_jobs.exceptions.base import PipelineJobsError


class RequestError(PipelineJobsError):
    """The request cannot be carried out."""

    code = "bad_request"


class InvalidInput(RequestError):
    """A field has a value that is not allowed."""

    code = "invalid_input"

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        super().__init__(message)
        #: Dotted path of the offending field (`params.seconds`), or None.
        self.field = field


class UnknownPipeline(InvalidInput):
    """There is no pipeline of this name."""

    code = "unknown_pipeline"


class TooManySchedules(InvalidInput):
    """This tenant has as many schedules as it may."""

    code = "too_many_schedules"


class UnknownSchedule(RequestError):
    """There is no schedule with this id."""

    code = "unknown_schedule"


class InvalidItems(InvalidInput):
    """Some jobs of the batch are not as they must be."""

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        first = errors[0]
        super().__init__(first["message"], field=first["field"])
        #: `{"field": "jobs.3.url", "message": ..., "code": ...}` for each.
        self.errors = errors


class UnknownJob(RequestError):
    """There is no job with this id."""

    code = "unknown_job"


class UnknownBatch(RequestError):
    """There is no batch with this id."""

    code = "unknown_batch"


class JobNotEnded(RequestError):
    """The job has not ended yet: cancel it first."""

    code = "job_not_ended"


class JobNotWaiting(RequestError):
    """The job does not wait any more: only a waiting one can be changed."""

    code = "job_not_waiting"


class UnknownUpload(RequestError):
    """There is no upload with this id."""

    code = "unknown_upload"


class UploadConflict(RequestError):
    """The upload is at another offset."""

    code = "upload_offset_conflict"

    def __init__(self, offset: int) -> None:
        super().__init__(f"Upload-Offset: the upload is at {offset}")
        #: Where it is.
        self.offset = offset


class UploadLocked(RequestError):
    """Another request writes this upload now."""

    code = "upload_locked"


class UploadInUse(RequestError):
    """A job that has not ended needs this upload."""

    code = "upload_in_use"


class UploadTooLarge(RequestError):
    """The upload is larger than this server takes."""

    code = "upload_too_large"


class ChecksumMismatch(RequestError):
    """Upload-Checksum: the bytes that came have another checksum; none of them was kept."""

    code = "checksum_mismatch"


class UnknownEndpoint(RequestError):
    """There is no webhook endpoint with this id."""

    code = "unknown_endpoint"


class EndpointDisabled(RequestError):
    """The webhook endpoint is disabled: enable it first."""

    code = "endpoint_disabled"


class UnknownDelivery(RequestError):
    """There is no delivery with this id."""

    code = "unknown_delivery"


class KeyChanged(RequestError):
    """PIPELINE_SECRET_KEY is not the one that this webhook secret was made with: put it back, or rotate the secret."""

    code = "webhook_key_changed"


class KeyReused(RequestError):
    """This Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"


class JobGone(RequestError):
    """The job that this Idempotency-Key made was removed since."""

    code = "job_gone"


class ScheduleGone(RequestError):
    """The schedule that this Idempotency-Key made was removed since."""

    code = "schedule_gone"


class QueueDisabled(RequestError):
    """This part of the API is switched off by a feature flag."""

    code = "feature_disabled"


class TryLater(PipelineJobsError):
    """Not now: try again later."""

    code = "try_later"

    def __init__(self, message: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(message)
        #: Seconds until a place should be free, from the rate at which jobs end.
        self.retry_after = retry_after


class QueueFull(TryLater):
    """This tenant has as many jobs waiting as it may: try again later."""

    code = "queue_full"


class TooManyUploads(TryLater):
    """This tenant keeps as many uploads as it may: delete some, or try again later."""

    code = "too_many_uploads"


class StorageFull(TryLater):
    """This tenant keeps as many bytes of artifacts as it may: delete jobs, or try again later."""

    code = "storage_full"


class WebhooksFull(TryLater):
    """This tenant has too many webhooks waiting to be delivered: repair or delete its endpoints, or try again later."""

    code = "webhooks_full"


class RateLimited(TryLater):
    """This tenant submits jobs faster than it may: try again later."""

    code = "rate_limited"

    def __init__(self, message: str | None = None, *, retry_after: int = 1, limit: float = 0, whose: str = "tenant") -> None:
        super().__init__(message or f"This {whose} submits jobs faster than it may: try again later.", retry_after=retry_after)
        #: Jobs a second.
        self.limit = limit
        #: `tenant`, `key` or `address`.
        self.whose = whose


class StoreFull(TryLater):
    """This installation has as many jobs waiting as it takes: try again later."""

    code = "store_full"


class StoreError(PipelineJobsError):
    """The store refused an operation."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The store cannot be reached or cannot write now: try again later."""

    code = "store_unavailable"


class IdTaken(StoreError):
    """This job id is taken."""

    code = "id_taken"


class ConfigurationError(PipelineJobsError):
    """A setting has a value that cannot work."""

    code = "configuration_error"
