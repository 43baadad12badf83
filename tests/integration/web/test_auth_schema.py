"""Schemathesis with keys on: what it sends with a good key, and that nothing guarded is answered without one or with another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pipeline_jobs.access.api_keys import ALL, ApiKey, Role
from tests import contract
from tests.servers import Server

from .conftest import fresh_world
from .world import World, make_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
]


@dataclass
class Root:
    """The world, and a key that may do everything."""

    world: World
    key: ApiKey
    text: str


@pytest.fixture(scope="module")
def root(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    for made in fresh_world(server, tmp_path_factory.mktemp("world")):
        yield Root(made, *made.key(ALL, Role.ADMIN))


@pytest.fixture
def document(request: pytest.FixtureRequest, root: Root) -> Any:
    app, numbers = make_app(request.node, root.world), itertools.count()

    def from_everywhere(environ: dict[str, Any], start_response: Any) -> Any:
        # Each request from an address of its own: the many wrong keys that are tried here must not shut out the good one.
        number = next(numbers)
        return app({"REMOTE_ADDR": f"203.0.{number // 250}.{number % 250}", **environ}, start_response)

    schema = schemathesis.openapi.from_wsgi("/openapi.json", from_everywhere)
    # Each request has the good key, also one that would be refused without: `ignored_auth` sends it again with another, and with none.
    schema.config.generation.update(with_security_parameters=False)
    schema.config.phases.update(phases=contract.PHASES_WITH_A_KEY)
    contract.expect_tus(schema)
    return schema


@schemathesis.pytest.from_fixture("document").parametrize()
@settings(
    max_examples=max(1, contract.EXAMPLES * 3 // 5),
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented_and_guarded(case: schemathesis.Case[Any], root: Root) -> None:
    # The key that all this is done with must live on.
    known = root.world.keys.get(root.key.key_id)
    assert known is not None
    assert known.revoked_at is None
    case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {root.text}"})


def test_jobs_and_keys_were_made_on_the_way(root: Root) -> None:
    if not root.world.ids() or len(root.world.keys.list()) < 2:
        pytest.fail("no generated request made a job and a key: the document and the code disagree")
