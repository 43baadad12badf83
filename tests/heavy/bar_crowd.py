"""A minute of many clients at once, workers, duties, and an operator who erases tenants (`SECONDS=300 SEED=7` for more, or others)."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.web.conftest import fresh_world
from tests.integration.web.test_crowd import check_crowd
from tests.integration.web.world import World
from tests.servers import Server


@pytest.fixture
def world(server: Server, tmp_path: Path) -> Iterator[World]:
    yield from fresh_world(server, tmp_path)


def test_a_crowd_is_served_for_a_minute(world: World) -> None:
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"SEED={seed}")
    check_crowd(world, world.make_client, seed, float(os.environ.get("SECONDS", "60")))
