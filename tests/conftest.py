"""Fixtures that all tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.settings import Settings, load_settings
from tests.servers import Server

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server for the whole session; each test clears it through `cell`."""
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield server
    server.stop()


@pytest.fixture
def cell(server: Server, tmp_path: Path) -> Settings:
    """Settings for an empty cell of its own on the server."""
    with server.client() as client:
        client.flushall()
    return load_settings(
        {
            "PIPELINE_REDIS_URL": server.url,
            "PIPELINE_DATA_DIR": str(tmp_path / "data"),
            "ENABLE_PIPELINE_JOB_QUEUE": "1",
            "ENABLE_PIPELINE_RUN_API": "1",
            "PIPELINE_ALLOW_PRIVATE_URLS": "1",
            "PIPELINE_MODULES": "examples.demo_pipelines",
            "PIPELINE_SECRET_KEY": "test-key",
            # Seconds at each start of a worker; those who ask for it turn it on.
            "PIPELINE_SELF_TEST": "0",
        }
    )
