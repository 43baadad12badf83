"""Schemathesis: requests made from the OpenAPI document, good and bad, and every answer held against it. By WSGI."""

from __future__ import annotations

from collections.abc import Iterator
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

from pipeline_jobs.states import JobStatus
from tests import contract
from tests.servers import Server

from .conftest import fresh_world
from .world import World, make_app

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


@pytest.fixture(scope="module", autouse=True)
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    for made in fresh_world(server, tmp_path_factory.mktemp("world")):
        made.put(status=JobStatus.COMPLETED)
        yield made


@pytest.fixture
def document(request: pytest.FixtureRequest, world: World) -> Any:
    """Read when it is needed: the requests for all operations take seconds to think out, in each process that collects the tests."""
    app = make_app(request.node, world)

    def on_loopback(environ: dict[str, Any], start_response: Any) -> Any:
        # Schemathesis calls the app without the other end's address; nobody has a key here, so only loopback is served.
        return app({"REMOTE_ADDR": "127.0.0.1", **environ}, start_response)

    schema = schemathesis.openapi.from_wsgi("/openapi.json", on_loopback)
    # The document tells of keys, which nobody needs as long as there is none: `test_auth_schema` has one.
    schema.config.generation.update(with_security_parameters=False)
    contract.expect_tus(schema)
    return schema


@schemathesis.pytest.from_fixture("document").parametrize()
@settings(
    max_examples=contract.EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS)


def test_jobs_were_made_on_the_way(world: World) -> None:
    if len(world.ids()) < 2:
        pytest.fail("no generated request made a job: the document and the code disagree")
