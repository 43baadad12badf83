"""States and their Celery words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from celery import states as celery_states

from pipeline_jobs.job import Job
from pipeline_jobs.states import LIVE, TERMINAL, JobStatus, Reason
from pipeline_jobs.worker.backend import celery_state
from tests.cases import each

DOCS = Path(__file__).resolve().parents[2] / "docs"


def job(status: JobStatus, **about: Any) -> Job:
    return Job("job_1_0123abcd", status, "media", "a", "b", 1, **about)


def test_every_status_is_live_or_terminal_and_never_both() -> None:
    assert set(JobStatus) == LIVE | TERMINAL
    assert not LIVE & TERMINAL


@pytest.mark.parametrize("status", JobStatus)
def test_celery_is_ready_exactly_when_a_job_has_ended(status: JobStatus) -> None:
    assert (celery_state(job(status)) in celery_states.READY_STATES) == (status in TERMINAL)


@each(
    ("status", "about", "expected"),
    [
        (JobStatus.QUEUED, {}, "PENDING"),
        (JobStatus.QUEUED, {"reason": Reason.DISPATCHED}, "RECEIVED"),
        (JobStatus.QUEUED, {"reason": Reason.DISPATCHED, "handbacks": 1}, "RETRY"),
        (JobStatus.RUNNING, {}, "STARTED"),
        (JobStatus.RUNNING, {"progress": 0.1}, "PROGRESS"),
        (JobStatus.COMPLETED, {"progress": 100}, "SUCCESS"),
        (JobStatus.FAILED, {"progress": 30}, "FAILURE"),
        (JobStatus.CANCELLED, {"reason": "x"}, "REVOKED"),
    ],
)
def test_celerys_word(status: JobStatus, about: dict[str, object], expected: str) -> None:
    assert celery_state(job(status, **about)) == expected


def test_the_documents_name_every_status_and_reason() -> None:
    text = (DOCS / "state_machine.md").read_text("utf-8")
    assert {word for word in [*JobStatus, *Reason] if not re.search(rf"`{word}`", text)} == set()
