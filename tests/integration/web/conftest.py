"""The app on the session's server, with both of the brief's flags on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.web.server.paced_socket import PacedSocket
from tests.commands import empty
from tests.servers import Server

from .world import World, settings_with

#: A client of a process with other settings: `make_client(enable_job_queue=False)`.
MakeClient = Callable[..., FlaskClient]


def fresh_world(server: Server, folder: Path) -> Iterator[World]:
    """An empty one on the server, until the generator is closed."""
    empty(server)
    made = World(settings_with(server.url, str(folder / "data")))
    yield made
    made.close()


@pytest.fixture
def world(server: Server, tmp_path: Path) -> Iterator[World]:
    yield from fresh_world(server, tmp_path)


@pytest.fixture
def sock() -> Iterator[PacedSocket]:
    """As gunicorn's worker gives it to each request."""
    with PacedSocket(socket.AF_UNIX) as found:
        found.owner, found.cost = None, 0.0
        yield found


@pytest.fixture
def make_client(world: World) -> MakeClient:
    return world.make_client


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    return make_client()
