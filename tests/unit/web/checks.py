"""What every error must look like."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from pipeline_jobs.web.schemas.problem import Problem


def problem_of(response: TestResponse, status: int, code: str | None = None, field: str | None = None) -> dict[str, Any]:
    """The body of an error, after a look at all that errors promise."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    body: dict[str, Any] = response.get_json()
    Problem.model_validate(body)
    assert body["status"] == status
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert "Traceback" not in response.text
    if code is not None:
        assert body["code"] == code
    if field is not None:
        assert body["field"] == field
    return body
