"""A worker whose children never go back to their pool while there is a job for them: `PIPELINE_MODULES=...,tests.patient_loop`. On a busy
machine a few jobs take longer than a child may."""

from __future__ import annotations

import sys

from pipeline_jobs.worker import job_loop

if "worker" in sys.argv:
    job_loop.MOST_SECONDS = 1000.0
