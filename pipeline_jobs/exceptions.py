"""Every error of pipeline-jobs, one tree. The docstring of a class is its default message.

PipelineJobsError
├── RequestError                what a caller asked for cannot be done
│   ├── InvalidInput            a field is wrong (names the field)
│   │   ├── UnknownPipeline
│   │   ├── InvalidItems          some jobs of a batch are wrong (names each)
│   │   └── TooManySchedules      the tenant has as many as it may
│   ├── UnknownJob              no such job, or not one of yours
│   ├── UnknownBatch            no such batch, or not one of yours
│   ├── UnknownSchedule         no such schedule, or not one of yours
│   ├── JobNotEnded             it must have ended first
│   ├── JobNotWaiting           it can be changed only while it waits
│   ├── UnknownUpload           no such upload, or not one of yours
│   ├── UploadConflict          it is at another offset (says at which)
│   ├── UploadLocked            another request writes it now
│   ├── UploadInUse             a job that has not ended needs it
│   ├── UploadTooLarge          it would be larger than this server takes
│   ├── ChecksumMismatch        what came is not what was announced
│   ├── UnknownEndpoint         no such webhook endpoint, or not one of yours
│   ├── EndpointDisabled        it must be enabled first
│   ├── UnknownDelivery         no such delivery, or not one of yours
│   ├── KeyChanged              a webhook secret was made with another PIPELINE_SECRET_KEY
│   ├── KeyReused               this Idempotency-Key made another job
│   ├── AlreadySubmitted        this Idempotency-Key made this job before (answered, not an error)
│   ├── AlreadyScheduled        likewise of a schedule
│   └── QueueDisabled           a feature flag is off
├── TryLater                    not now: says after how many seconds
│   ├── QueueFull               the tenant has as many jobs waiting as it may
│   ├── TooManyUploads          the tenant keeps as many uploads as it may
│   ├── StorageFull             the tenant keeps as many bytes of artifacts as it may
│   ├── WebhooksFull            the tenant has as many webhooks waiting as it may
│   ├── RateLimited             the tenant submits faster than it may
│   └── StoreFull               the whole cell has
├── StoreError                  the store did not do it
│   ├── StoreUnavailable        down, read-only or out of memory: try again
│   └── IdTaken                 this job id is somebody's already
├── ConfigurationError          a setting is wrong
└── StageError                  a stage failed; the job will be `failed`
    ├── BadParameters
    ├── SourceError             the media could not be had
    │   ├── SourceForbidden     an address that may not be fetched
    │   ├── SourceNotFound
    │   ├── SourceUnavailable   (retryable)
    │   ├── SourceTooLarge
    │   ├── SourceTooSlow       (retryable)
    │   └── SourceEmpty
    ├── MediaError              the file is not what a pipeline can work on
    │   ├── NotMedia
    │   ├── MediaDamaged
    │   ├── MediaTooLarge
    │   └── NoAudio
    ├── PublishError            (retryable)
    ├── OutOfMemory             it needed more than a job is given
    ├── WorkerLost              the process that ran it died, too often
    └── InternalError           a bug in a stage

StopRun (BaseException: no `except Exception` of a library may swallow it)
├── JobCancelled                the client asked for it
└── LeaseLost                   another run of this job has the say now
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar


class PipelineJobsError(Exception):
    """Something went wrong in pipeline-jobs."""

    #: Stable word for programs; clients may switch on it.
    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        return str(self)


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


class AlreadySubmitted(RequestError):
    """This Idempotency-Key has made its job already."""

    code = "already_submitted"

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id


class AlreadyScheduled(RequestError):
    """This Idempotency-Key has made its schedule already."""

    code = "already_scheduled"

    def __init__(self, schedule_id: str) -> None:
        super().__init__()
        self.schedule_id = schedule_id


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


class StageError(PipelineJobsError):
    """A stage failed."""

    code = "stage_failed"
    #: True when the same job may well succeed if it is run again.
    retryable: ClassVar[bool] = False


class BadParameters(StageError):
    """The parameters of the job do not fit its pipeline."""

    code = "bad_parameters"


class SourceError(StageError):
    """The source of the media could not be fetched."""

    code = "source_failed"


class SourceForbidden(SourceError):
    """The address of the source may not be fetched."""

    code = "source_forbidden"


class SourceNotFound(SourceError):
    """The source does not exist."""

    code = "source_not_found"


class SourceUnavailable(SourceError):
    """The source cannot be reached now."""

    code = "source_unavailable"
    retryable = True


class SourceTooLarge(SourceError):
    """The source is larger than this server accepts."""

    code = "source_too_large"


class SourceTooSlow(SourceError):
    """The source sends too slowly."""

    code = "source_too_slow"
    retryable = True


class SourceEmpty(SourceError):
    """The source is empty: 0 bytes."""

    code = "source_empty"


class MediaError(StageError):
    """The file cannot be worked on."""

    code = "media_failed"


class NotMedia(MediaError):
    """The source is not an audio or video file of a known kind."""

    code = "not_media"


class MediaDamaged(MediaError):
    """The media file is damaged or cut off."""

    code = "media_damaged"


class MediaTooLarge(MediaError):
    """The media is longer or larger than this server accepts."""

    code = "media_too_large"


class NoAudio(MediaError):
    """The media has no audio to transcribe."""

    code = "no_audio"


class PublishError(StageError):
    """The artifacts could not be published."""

    code = "publish_failed"
    retryable = True


class OutOfMemory(StageError):
    """The job needed more memory than this server gives one."""

    code = "out_of_memory"


class WorkerLost(StageError):
    """The worker process that ran the job died."""

    code = "worker_lost"
    retryable = True


class InternalError(StageError):
    """A stage failed in a way it does not know."""

    code = "internal_error"


class StopRun(BaseException):
    """This run of the job must stop now."""

    code: ClassVar[str] = "stop"


class JobCancelled(StopRun):
    """The job was cancelled."""

    code = "cancelled"


class LeaseLost(StopRun):
    """This run no longer holds the job: its lease ended or another run has it."""

    code = "fenced"
