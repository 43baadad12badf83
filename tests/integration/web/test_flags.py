"""The brief's flags: off is 404, and says so."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.settings import load_settings

from .checks import problem_of
from .conftest import MakeClient

JOB_ENDPOINTS = [
    ("POST", "/pipeline/jobs"),
    ("GET", "/pipeline/jobs"),
    ("GET", "/pipeline/jobs/job_1_00000000"),
    ("DELETE", "/pipeline/jobs/job_1_00000000"),
    ("POST", "/pipeline/jobs/job_1_00000000/cancel"),
]


@pytest.mark.parametrize(("method", "path"), JOB_ENDPOINTS)
def test_without_the_queue_job_endpoints_name_the_flag(make_client: MakeClient, method: str, path: str) -> None:
    body = problem_of(make_client(enable_job_queue=False).open(path, method=method), 404, "feature_disabled")
    assert "ENABLE_PIPELINE_JOB_QUEUE" in body["detail"]


def test_without_the_run_api_its_endpoint_names_the_flag(make_client: MakeClient) -> None:
    body = problem_of(make_client(enable_run_api=False).post("/pipeline/run", json={}), 404, "feature_disabled")
    assert "ENABLE_PIPELINE_RUN_API" in body["detail"]


def test_both_flags_are_off_by_default() -> None:
    settings = load_settings({})
    assert (settings.enable_job_queue, settings.enable_run_api) == (False, False)


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/pipeline/pipelines", "/openapi.json", "/docs"])
def test_the_rest_is_there_without_any_flag(make_client: MakeClient, path: str) -> None:
    client: FlaskClient = make_client(enable_job_queue=False, enable_run_api=False)
    assert client.get(path).status_code == 200
