"""Every error, one tree. A class's docstring is its default message; its `code`, for programs, is its name in snake case unless stated.

PipelineJobsError
├── RequestError                what a caller asked for cannot be done
│   ├── InvalidInput            a field is wrong (names the field)
│   │   ├── UnknownPipeline
│   │   ├── InvalidItems          some jobs of a batch are wrong (names each)
│   │   └── TooManySchedules      the tenant has as many as it may
│   ├── UnknownJob, UnknownBatch, UnknownSchedule, UnknownUpload, UnknownEndpoint, UnknownDelivery: not one of yours
│   ├── JobNotEnded             it must have ended first
│   ├── ResultGone              its file is not there any more
│   ├── JobNotWaiting           it can be changed only while it waits
│   ├── UploadConflict          it is at another offset (says at which)
│   ├── UploadLocked            another request writes it now
│   ├── UploadInUse             a job that has not ended needs it
│   ├── UploadTooLarge          it would be larger than this server takes
│   ├── ChecksumMismatch        what came is not what was announced
│   ├── EndpointDisabled        it must be enabled first
│   ├── KeyChanged              a webhook secret was made with another PIPELINE_SECRET_KEY
│   ├── KeyReused               this Idempotency-Key made another job
│   ├── JobGone, ScheduleGone   what this Idempotency-Key made was removed since
│   └── QueueDisabled           a feature flag is off
├── TryLater                    not now: says after how many seconds
│   ├── QueueFull, TooManyUploads, StorageFull, WebhooksFull: the tenant has as much of this as it may
│   ├── MemoryFull              the tenant holds more than its share of the memory of a store that is nearly full
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
    │   ├── DecoderCrashed      the process that decoded it died of it
    │   ├── MediaTooLarge
    │   └── NoAudio
    ├── PublishError            (retryable)
    │   └── DiskFull                its disk is nearly full
    ├── ResultTooLarge          more than 16 MB of JSON
    ├── OutOfMemory             it needed more than a job is given
    ├── WorkerLost              the process that ran it died, too often
    └── InternalError           a bug in a stage
StopRun (BaseException: no `except Exception` of a library may swallow it)
├── JobCancelled                the client asked for it
├── WorkTooLarge                its files take more room than a run is given
├── MachineFault                this machine cannot run it now, another time it can
└── LeaseLost                   another run of this job has the say now
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class PipelineJobsError(Exception):
    """Something went wrong in pipeline-jobs."""

    #: Stable word for programs; clients may switch on it. An error of another package has that of its base unless it names its own.
    code: ClassVar[str] = "error"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in vars(cls) and cls.__module__ == __name__:
            cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        return str(self)


class RequestError(PipelineJobsError):
    """The request cannot be carried out."""

    code = "bad_request"


class InvalidInput(RequestError):
    """The value of a field is not permitted."""

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        super().__init__(message)
        #: Dotted path of the offending field (`params.seconds`), or None.
        self.field = field


class UnknownPipeline(InvalidInput):
    """There is no pipeline with this name."""


class TooManySchedules(InvalidInput):
    """This tenant has the maximum number of schedules."""


class UnknownSchedule(RequestError):
    """There is no schedule with this id."""


class InvalidItems(InvalidInput):
    """Some jobs of the batch are not valid."""

    code = InvalidInput.code

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__(errors[0]["message"], field=errors[0]["field"])
        #: `{"field": "jobs.3.url", "message": ..., "code": ...}` for each.
        self.errors = errors


class UnknownJob(RequestError):
    """There is no job with this id."""


class UnknownBatch(RequestError):
    """There is no batch with this id."""


class JobNotEnded(RequestError):
    """The job has not ended yet: cancel it first."""


class ResultGone(RequestError):
    """The result of this job is not in the artifact store any more."""


class JobNotWaiting(RequestError):
    """The job is not waiting any more: only a queued job can be changed."""


class UnknownUpload(RequestError):
    """There is no upload with this id."""


class UploadConflict(RequestError):
    """The upload is at another offset."""

    code = "upload_offset_conflict"

    def __init__(self, offset: int) -> None:
        super().__init__(f"Upload-Offset: the upload is at {offset}")
        self.offset = offset


class UploadLocked(RequestError):
    "Another request is writing to this upload."


class UploadInUse(RequestError):
    """A job that has not ended needs this upload."""


class UploadTooLarge(RequestError):
    """The upload is larger than this server permits."""


class ChecksumMismatch(RequestError):
    """Upload-Checksum: the body has another checksum; nothing of it was kept."""


class UnknownEndpoint(RequestError):
    """There is no webhook endpoint with this id."""


class EndpointDisabled(RequestError):
    """The webhook endpoint is disabled: enable it first."""


class UnknownDelivery(RequestError):
    """There is no delivery with this id."""


class KeyChanged(RequestError):
    """PIPELINE_SECRET_KEY is not the one that this webhook secret was created with: restore it, or rotate the secret."""

    code = "webhook_key_changed"


class KeyReused(RequestError):
    """This Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"


class JobGone(RequestError):
    """The job that was created with this Idempotency-Key has been deleted."""


class ScheduleGone(RequestError):
    """The schedule that was created with this Idempotency-Key has been deleted."""


class QueueDisabled(RequestError):
    """This part of the API is switched off by a feature flag."""

    code = "feature_disabled"


class TryLater(PipelineJobsError):
    """Not now: try again later."""

    def __init__(self, message: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(message)
        #: Seconds until a place should be free, from the rate at which jobs end.
        self.retry_after = retry_after


class QueueFull(TryLater):
    """This tenant has the maximum number of queued jobs: try again later."""


class TooManyUploads(TryLater):
    """This tenant has the maximum number of uploads: delete some, or try again later."""


class StorageFull(TryLater):
    """This tenant has reached its storage limit: delete jobs, or try again later."""


class WebhooksFull(TryLater):
    """This tenant has too many webhooks waiting, or to be sent by its queued jobs: repair or delete endpoints, or try again later."""


class MemoryFull(TryLater):
    """The store is nearly full, and this tenant holds more than its share of the memory: delete jobs, or try again later."""


class RateLimited(TryLater):
    """This tenant has reached its rate limit for submitting jobs: try again later."""

    def __init__(self, message: str | None = None, *, retry_after: int = 1, limit: float = 0, whose: str = "tenant") -> None:
        super().__init__(
            message or f"This {whose} has reached its rate limit for submitting jobs: try again later.", retry_after=retry_after
        )
        #: Jobs a second; and of whom: `tenant`, `key` or `address`. `batch`: large batches a second, of the tenant.
        self.limit, self.whose = limit, whose


class StoreFull(TryLater):
    """This installation has the maximum number of queued jobs: try again later."""


class StoreError(PipelineJobsError):
    """The store refused an operation."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or cannot write now: try again later."""


class IdTaken(StoreError):
    """This job id is taken."""


class ConfigurationError(PipelineJobsError):
    """A setting has a value that cannot work."""


class StageError(PipelineJobsError):
    """A stage failed."""

    code = "stage_failed"
    #: True when the same job may well succeed if it is run again.
    retryable: ClassVar[bool] = False


class BadParameters(StageError):
    """The parameters of the job are not valid for its pipeline."""


class SourceError(StageError):
    """The source of the media could not be fetched."""

    code = "source_failed"


class SourceForbidden(SourceError):
    """The address of the source is not permitted."""


class SourceNotFound(SourceError):
    """The source does not exist."""


class SourceUnavailable(SourceError):
    """The source cannot be reached now."""

    retryable = True


class SourceTooLarge(SourceError):
    """The source is larger than this server accepts."""


class SourceTooSlow(SourceError):
    """The source sends too slowly."""

    retryable = True


class SourceEmpty(SourceError):
    """The source is empty: 0 bytes."""


class MediaError(StageError):
    """The file cannot be processed."""

    code = "media_failed"


class NotMedia(MediaError):
    """The source is not an audio or video file of a known kind."""


class MediaDamaged(MediaError):
    """The media file is damaged or cut off."""


class DecoderCrashed(MediaError):
    """The program that decodes the media crashed at this file."""


class MediaTooLarge(MediaError):
    """The media is longer or larger than this server accepts."""


class NoAudio(MediaError):
    """The media has no audio to transcribe."""


class PublishError(StageError):
    """The artifacts could not be published."""

    code = "publish_failed"
    retryable = True


class DiskFull(PublishError):
    """The disk of this server is nearly full: try again later."""


class OutOfMemory(StageError):
    """The job needed more memory than this server permits."""


class ResultTooLarge(StageError):
    """The result of the pipeline is too large: publish it as an artifact and return the link."""


class WorkerLost(StageError):
    """The worker process that ran the job died."""

    retryable = True


class InternalError(StageError):
    """A stage failed with an unexpected error."""


class StopRun(BaseException):
    """This run of the job must stop now."""

    code: ClassVar[str] = "stop"


class JobCancelled(StopRun):
    """The job was cancelled."""

    code = "cancelled"


class WorkTooLarge(StopRun):
    """The files in the working folder of the job take more space than this server permits."""

    code = "work_too_large"


class MachineFault(StopRun):
    """This machine cannot run jobs now: the job goes back to the queue, and nothing is counted."""

    code = "machine_fault"


class LeaseLost(StopRun):
    """This run no longer holds the job: its lease ended or another run has it."""

    code = "fenced"
