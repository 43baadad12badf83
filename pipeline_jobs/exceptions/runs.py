"""Errors of a run: a stage failed, or the run must stop."""

from __future__ import annotations

from typing import ClassVar

from pipeline_jobs.exceptions.base import PipelineJobsError


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


class DiskFull(PublishError):
    """The disk of this server is nearly full: try again later."""

    code = "disk_full"


class OutOfMemory(StageError):
    """The job needed more memory than this server gives one."""

    code = "out_of_memory"


class ResultTooLarge(StageError):
    """The result of the pipeline is larger than a record holds: publish it as an artifact and return the link."""

    code = "result_too_large"


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


class WorkTooLarge(StopRun):
    """The files in the working folder of the job take more room than this server gives one."""

    code = "work_too_large"


class MachineFault(StopRun):
    """This machine cannot run jobs now: the job goes back to the queue, and nothing is counted."""

    code = "machine_fault"


class LeaseLost(StopRun):
    """This run no longer holds the job: its lease ended or another run has it."""

    code = "fenced"
