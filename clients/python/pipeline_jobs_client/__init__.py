"""A client of the HTTP API of pipeline-jobs: `PipelineJobs`, and under `generated` a function for each of its operations."""

from pipeline_jobs_client.connection import PipelineJobs
from pipeline_jobs_client.errors import Refused
from pipeline_jobs_client.webhooks import verify_webhook

__all__ = ["PipelineJobs", "Refused", "verify_webhook"]
