"""Schemathesis with keys on: what it sends with a good key, and that nothing guarded is answered without one or with another."""

from __future__ import annotations

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

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.web.app import create_app
from tests import contract

from .conftest import settings_with
from .fakes import World

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
]

_world = World.make(settings_with())
_root, TEXT = _world.keys.create(ALL, Role.ADMIN, actor="test")
_app = create_app(_world.parts(), settings_with())


def app(environ: dict[str, Any], start_response: Any) -> Any:
    """Each request from an address of its own: the many wrong keys that are tried here must not shut out the good one."""
    app.calls = getattr(app, "calls", 0) + 1  # type: ignore[attr-defined]
    number = app.calls  # type: ignore[attr-defined]
    return _app({"REMOTE_ADDR": f"203.0.{number // 250}.{number % 250}", **environ}, start_response)


schema = schemathesis.openapi.from_wsgi("/openapi.json", app)

contract.expect_tus(schema)


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented_and_guarded(case: schemathesis.Case[Any]) -> None:
    # The key that all this is done with must live on.
    _world.keys.keys[_root.key_id] = _root
    case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {TEXT}"})


def test_jobs_and_keys_were_made_on_the_way() -> None:
    if not _world.jobs.jobs or len(_world.keys.keys) < 2:
        pytest.fail("no generated request made a job and a key: the document and the code disagree")
