"""Schemathesis: requests made from the OpenAPI document, good and bad, and every answer held against it. By WSGI, over the fakes."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
    use_after_free,
)

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from pipeline_jobs.web.app import create_app
from tests import contract

from .conftest import settings_with
from .fakes import NOON, World

#: Left out: `positive_data_acceptance`. What a pipeline takes (its params, its qualities, a url or none) is not in the document.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    use_after_free,
]

_world = World.make(settings_with())
_world.jobs.put(Job("job_1735905600_0000000a", JobStatus.COMPLETED, "media", "acme", "main", NOON, result={"success": True, "data": {}}))
_app = create_app(_world.parts(), settings_with())


def app_on_loopback(environ: dict[str, Any], start_response: Any) -> Any:
    """Schemathesis calls the app without the other end's address; nobody has a key here, so only loopback is served."""
    return _app({"REMOTE_ADDR": "127.0.0.1", **environ}, start_response)


schema = schemathesis.openapi.from_wsgi("/openapi.json", app_on_loopback)
# The document tells of keys, which nobody needs as long as there is none: `test_auth_schema` has one.
schema.config.generation.update(with_security_parameters=False)

contract.expect_tus(schema)


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS)


def test_jobs_were_made_on_the_way() -> None:
    if len(_world.jobs.jobs) < 2:
        pytest.fail("no generated request made a job: the document and the code disagree")
