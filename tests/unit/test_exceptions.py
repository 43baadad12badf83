"""The words that clients switch on: a class that is renamed must not rename its `code`."""

from __future__ import annotations

import inspect

from pipeline_jobs import exceptions
from pipeline_jobs.exceptions import SourceUnavailable, StageError, StopRun

CODES = """
bad_parameters bad_request cancelled checksum_mismatch configuration_error decoder_crashed disk_full endpoint_disabled error
feature_disabled fenced id_taken idempotency_key_reused internal_error invalid_input job_gone job_not_ended job_not_waiting machine_fault
media_damaged media_failed media_too_large memory_full no_audio not_media out_of_memory publish_failed queue_full rate_limited
result_gone result_too_large schedule_gone source_empty source_failed source_forbidden source_not_found source_too_large source_too_slow
source_unavailable stage_failed stop storage_full store_error store_full store_unavailable too_many_schedules too_many_uploads
try_later unknown_batch unknown_delivery unknown_endpoint unknown_job unknown_pipeline unknown_schedule unknown_upload
upload_in_use upload_locked upload_offset_conflict upload_too_large webhook_key_changed webhooks_full work_too_large worker_lost
"""


def test_no_code_was_renamed_and_a_new_one_is_written_down_here() -> None:
    roots = (exceptions.PipelineJobsError, StopRun)
    classes = [one for _, one in inspect.getmembers(exceptions, inspect.isclass) if issubclass(one, roots)]
    assert {one.code for one in classes} == set(CODES.split())


def test_an_error_of_another_package_has_the_code_of_its_base_or_its_own() -> None:
    class NotMine(SourceUnavailable):
        """The source is somewhere else."""

    class Named(StageError):
        """It has a word of its own."""

        code = "my_word"

    assert (NotMine.code, NotMine().message, NotMine.retryable) == ("source_unavailable", "The source is somewhere else.", True)
    assert Named.code == "my_word"
