"""The record and its shapes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.exceptions import InvalidInput, NoAudio, SourceUnavailable
from pipeline_jobs.job import ANY_ID, JOB_ID, ErrorDetail, Job, StepResult, dumps, new_job_id, rfc3339
from pipeline_jobs.states import JobStatus

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
times = st.none() | st.integers(0, 2**45)

jobs = st.builds(
    Job,
    job_id=st.just("job_1_0123abcd"),
    status=st.sampled_from(JobStatus),
    pipeline=st.just("media"),
    tenant_id=st.just("acme"),
    workspace_id=st.just("main"),
    created_at=st.integers(0, 2**45),
    url=st.none() | text.filter(bool),
    params=st.dictionaries(text, json_values, max_size=3),
    priority=st.integers(-50, 50),
    progress=st.floats(0, 100),
    message=st.none() | text.filter(bool),
    started_at=times,
    completed_at=times,
    result=st.dictionaries(text, json_values, max_size=3) | st.none(),
    error=st.none() | text.filter(bool),
    cancel_requested=st.booleans(),
    tags=st.lists(text, max_size=3).map(tuple),
    metadata=st.dictionaries(text, json_values, max_size=3),
    order=st.integers(0, 2**53),
)


@settings(deadline=None)
@given(jobs)
def test_a_record_survives_the_store_unchanged(job: Job) -> None:
    flat = job.to_mapping()
    assert all(isinstance(value, str) for value in flat.values())
    assert Job.from_mapping(flat) == job


@settings(deadline=None)
@given(jobs)
def test_the_body_is_json_and_has_the_briefs_keys(job: Job) -> None:
    body = json.loads(json.dumps(job.to_dict()))
    brief = {
        "job_id", "status", "url", "quality", "tenant_id", "workspace_id", "created_at", "started_at", "completed_at", "result", "error",
        "progress",
    }  # fmt: skip
    assert brief <= body.keys()


def test_empty_lists_and_long_numbers_of_a_result_stay_what_they_are() -> None:
    job = Job("job_1_0123abcd", JobStatus.COMPLETED, "media", "a", "b", 1, result={"empty": [], "none": {}, "long": 2**62 + 1})
    assert Job.from_mapping(job.to_mapping()).result == {"empty": [], "none": {}, "long": 2**62 + 1}


def test_ids_have_the_briefs_form() -> None:
    assert JOB_ID.fullmatch(new_job_id())
    assert new_job_id(0, 1704326400.9).startswith("job_1704326400_0")
    assert {new_job_id(cell, 1704326400)[:16] for cell in range(16)} == {f"job_1704326400_{digit}" for digit in "0123456789abcdef"}
    assert JOB_ID.fullmatch(new_job_id(15))
    assert ANY_ID.fullmatch(new_job_id())
    for odd in ("", "../x", "a b", "job_1_0123abcd\n", ".x", "x" * 200):
        assert not ANY_ID.fullmatch(odd)


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(1704326400005) == "2024-01-04T00:00:00.005Z"
    assert rfc3339(None) is None


@pytest.mark.parametrize("days", [-719_162, -719_162 + 364, -1, 0, 11_016, 20_000, 2_932_896])
@pytest.mark.parametrize("milliseconds", [0, 1, 59_999, 60_000, 3_599_999, 86_399_999])
def test_times_of_any_year_are_written_as_python_writes_them(days: int, milliseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days, milliseconds=milliseconds)
    written = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert rfc3339(days * 86_400_000 + milliseconds) == written
    assert len(written) == len("2024-01-04T00:00:00.005Z")


def test_the_step_result_has_the_briefs_shape() -> None:
    assert StepResult(True, {"a": 1}).to_dict() == {"success": True, "data": {"a": 1}}
    assert StepResult(False, error="x").to_dict() == {"success": False, "data": {}, "error": "x"}


@pytest.mark.parametrize(("error", "retryable"), [(NoAudio(), False), (SourceUnavailable("down"), True), (InvalidInput("no"), False)])
def test_an_error_tells_whether_another_try_may_help(error: Exception, retryable: bool) -> None:
    detail = ErrorDetail.of(error, "fetch")  # type: ignore[arg-type]
    assert detail.to_dict() == {"code": error.code, "message": str(error), "stage": "fetch", "retryable": retryable}  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object(), {"x": float("inf")}])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        dumps(value)
