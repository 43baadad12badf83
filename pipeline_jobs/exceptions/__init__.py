"""Every error of pipeline-jobs, one tree. The docstring of a class is its default message.

They are imported from here: in which file one stands (`requests`: a caller is told, `runs`: a run ends) is nobody else's business.

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
│   ├── JobGone                 the job that this Idempotency-Key made was removed since
│   ├── ScheduleGone            likewise of a schedule
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
    │   └── DiskFull                its disk is nearly full
    ├── ResultTooLarge          more than 8 MB of JSON
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

from pipeline_jobs.exceptions.base import PipelineJobsError as PipelineJobsError
from pipeline_jobs.exceptions.requests import ChecksumMismatch as ChecksumMismatch
from pipeline_jobs.exceptions.requests import ConfigurationError as ConfigurationError
from pipeline_jobs.exceptions.requests import EndpointDisabled as EndpointDisabled
from pipeline_jobs.exceptions.requests import IdTaken as IdTaken
from pipeline_jobs.exceptions.requests import InvalidInput as InvalidInput
from pipeline_jobs.exceptions.requests import InvalidItems as InvalidItems
from pipeline_jobs.exceptions.requests import JobGone as JobGone
from pipeline_jobs.exceptions.requests import JobNotEnded as JobNotEnded
from pipeline_jobs.exceptions.requests import JobNotWaiting as JobNotWaiting
from pipeline_jobs.exceptions.requests import KeyChanged as KeyChanged
from pipeline_jobs.exceptions.requests import KeyReused as KeyReused
from pipeline_jobs.exceptions.requests import QueueDisabled as QueueDisabled
from pipeline_jobs.exceptions.requests import QueueFull as QueueFull
from pipeline_jobs.exceptions.requests import RateLimited as RateLimited
from pipeline_jobs.exceptions.requests import RequestError as RequestError
from pipeline_jobs.exceptions.requests import ScheduleGone as ScheduleGone
from pipeline_jobs.exceptions.requests import StorageFull as StorageFull
from pipeline_jobs.exceptions.requests import StoreError as StoreError
from pipeline_jobs.exceptions.requests import StoreFull as StoreFull
from pipeline_jobs.exceptions.requests import StoreUnavailable as StoreUnavailable
from pipeline_jobs.exceptions.requests import TooManySchedules as TooManySchedules
from pipeline_jobs.exceptions.requests import TooManyUploads as TooManyUploads
from pipeline_jobs.exceptions.requests import TryLater as TryLater
from pipeline_jobs.exceptions.requests import UnknownBatch as UnknownBatch
from pipeline_jobs.exceptions.requests import UnknownDelivery as UnknownDelivery
from pipeline_jobs.exceptions.requests import UnknownEndpoint as UnknownEndpoint
from pipeline_jobs.exceptions.requests import UnknownJob as UnknownJob
from pipeline_jobs.exceptions.requests import UnknownPipeline as UnknownPipeline
from pipeline_jobs.exceptions.requests import UnknownSchedule as UnknownSchedule
from pipeline_jobs.exceptions.requests import UnknownUpload as UnknownUpload
from pipeline_jobs.exceptions.requests import UploadConflict as UploadConflict
from pipeline_jobs.exceptions.requests import UploadInUse as UploadInUse
from pipeline_jobs.exceptions.requests import UploadLocked as UploadLocked
from pipeline_jobs.exceptions.requests import UploadTooLarge as UploadTooLarge
from pipeline_jobs.exceptions.requests import WebhooksFull as WebhooksFull
from pipeline_jobs.exceptions.runs import BadParameters as BadParameters
from pipeline_jobs.exceptions.runs import DiskFull as DiskFull
from pipeline_jobs.exceptions.runs import InternalError as InternalError
from pipeline_jobs.exceptions.runs import JobCancelled as JobCancelled
from pipeline_jobs.exceptions.runs import LeaseLost as LeaseLost
from pipeline_jobs.exceptions.runs import MachineFault as MachineFault
from pipeline_jobs.exceptions.runs import MediaDamaged as MediaDamaged
from pipeline_jobs.exceptions.runs import MediaError as MediaError
from pipeline_jobs.exceptions.runs import MediaTooLarge as MediaTooLarge
from pipeline_jobs.exceptions.runs import NoAudio as NoAudio
from pipeline_jobs.exceptions.runs import NotMedia as NotMedia
from pipeline_jobs.exceptions.runs import OutOfMemory as OutOfMemory
from pipeline_jobs.exceptions.runs import PublishError as PublishError
from pipeline_jobs.exceptions.runs import ResultTooLarge as ResultTooLarge
from pipeline_jobs.exceptions.runs import SourceEmpty as SourceEmpty
from pipeline_jobs.exceptions.runs import SourceError as SourceError
from pipeline_jobs.exceptions.runs import SourceForbidden as SourceForbidden
from pipeline_jobs.exceptions.runs import SourceNotFound as SourceNotFound
from pipeline_jobs.exceptions.runs import SourceTooLarge as SourceTooLarge
from pipeline_jobs.exceptions.runs import SourceTooSlow as SourceTooSlow
from pipeline_jobs.exceptions.runs import SourceUnavailable as SourceUnavailable
from pipeline_jobs.exceptions.runs import StageError as StageError
from pipeline_jobs.exceptions.runs import StopRun as StopRun
from pipeline_jobs.exceptions.runs import WorkerLost as WorkerLost
from pipeline_jobs.exceptions.runs import WorkTooLarge as WorkTooLarge
