"""The real stack as processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.settings import Settings
from pipeline_jobs.worker.app import create_celery
from tests.acceptance.isolation import World, open_world
from tests.bodies import MODULE
from tests.chaos.small_disk import SmallDisk
from tests.conftest import running_server, settings_on
from tests.servers import Server
from tests.stack import Api, MakeStack, Stack

#: Short times, so that no test waits a minute for what comes now and then. Not the lease: a busy machine stands still for seconds.
QUICK: dict[str, Any] = {
    "lease_seconds": 30.0, "announce_seconds": 0.25, "rescue_seconds": 0.5, "cleanup_seconds": 0.5, "hint_seconds": 5.0,
    "cancel_grace_seconds": 2.0, "canary_seconds": 0.0, "modules": f"examples.demo_pipelines,{MODULE}",
}  # fmt: skip
#: Where a worker dies: so long waits whoever takes over its jobs.
SHORT_LEASE = {"lease_seconds": 4.0}


@contextmanager
def stacks_on(cell: Settings, folder: Path) -> Iterator[MakeStack]:
    """Makes stacks, and ends all their processes."""
    stacks: list[Stack] = []

    def make(**changes: Any) -> Stack:
        # pydantic would take a name that is no field, and nothing would change: three tests of RabbitMQ ran on Redis, unnoticed.
        assert changes.keys() <= Settings.model_fields.keys(), changes.keys() - Settings.model_fields.keys()
        settings = cell.model_copy(update={**QUICK, **changes})
        app = create_celery(settings)
        stack = Stack(app.cell.client, settings, folder / f"stack{len(stacks)}")
        stack.app = app
        stacks.append(stack)
        return stack

    yield make
    for stack in stacks:
        stack.stop()
        stack.app.close()


@pytest.fixture
def make_stack(cell: Settings, tmp_path: Path) -> Iterator[MakeStack]:
    """`make_stack(max_concurrent_jobs=4)`: a stack with these settings; all its processes end with the test."""
    with stacks_on(cell, tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeStack]:
    """Likewise, for tests of a module that share a stack: on a server that nobody empties. Each such test has its own tenants and jobs."""
    folder = tmp_path_factory.mktemp("shared")
    with running_server(folder / "server") as server, stacks_on(settings_on(server, folder), folder) as make:
        yield make


@pytest.fixture(scope="module")
def stack(make_shared_stack: MakeStack) -> Stack:
    """The shared stack of a module's tests that end no process."""
    return make_shared_stack()


@pytest.fixture(scope="module")
def api(stack: Stack) -> Api:
    """Its API."""
    return stack.api()


@pytest.fixture(scope="module")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with server.client() as client:
        client.flushall()
    made = open_world(server.url, tmp_path_factory.mktemp("isolation"))
    yield made
    made.store.client.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    small = SmallDisk(tmp_path)
    if not small.real:
        pytest.skip("a small disk can be mounted by root on Linux only")
    yield small
    small.remove()
