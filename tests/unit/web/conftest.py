"""The app over fakes, with both of the brief's flags on."""

from __future__ import annotations

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
