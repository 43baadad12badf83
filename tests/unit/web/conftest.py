"""The app over fakes, with both of the brief's flags on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.settings import Settings
from pipeline_jobs.web.app import create_app

from .fakes import World

#: A client over a world with other settings: `make_client(enable_job_queue=False)`.
MakeClient = Callable[..., FlaskClient]


def settings_with(**changes: Any) -> Settings:
    return Settings(**{"enable_job_queue": True, "enable_run_api": True, **changes})


@pytest.fixture
def world() -> World:
    return World.make(settings_with())


@pytest.fixture
def make_client(world: World) -> MakeClient:
    return lambda **changes: create_app(world.parts(), settings_with(**changes)).test_client()


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    return make_client()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Schemathesis gives the tests of all operations one id, and pytest-xdist runs one test of each id: the rest were left out unsaid."""
    for item in items:
        label = getattr(item, "operation_label", None)
        if label is not None:
            item._id = dataclasses.replace(item._id, params=label)
