from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.media import download
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.settings import load_settings
from tests.unit.media.fakes import FakeReporter, FakeSite

MakeContext = Callable[..., JobContext]


@pytest.fixture
def site() -> Iterator[FakeSite]:
    site = FakeSite()
    yield site
    site.close()


@pytest.fixture
def reporter() -> FakeReporter:
    return FakeReporter()


@pytest.fixture
def published() -> dict[str, bytes]:
    """What stages published, by name."""
    return {}


@pytest.fixture
def make_context(tmp_path: Path, reporter: FakeReporter, published: dict[str, bytes]) -> Iterator[MakeContext]:
    """`make_context(url, quality="360p", params={...}, data={...}, PIPELINE_...="...")`: loopback is allowed unless told."""

    closing = ExitStack()

    def publish(path: Path, name: str) -> str:
        published[name] = path.read_bytes()
        return f"link:{name}"

    def make(
        url: str | None = None,
        *,
        quality: str = "360p",
        params: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        **environ: str,
    ) -> JobContext:
        workdir = tmp_path / "work"
        workdir.mkdir(exist_ok=True)
        settings = load_settings({"PIPELINE_ALLOW_PRIVATE_URLS": "1", "PIPELINE_DATA_DIR": str(tmp_path), **environ})
        context = JobContext(
            "job_1_00000000",
            "acme",
            "main",
            url,
            quality,
            MEDIA.check_params(params or {}),
            workdir,
            settings,
            reporter,
            publish,
            data or {},
        )
        context.closing = closing
        return context

    with closing:
        yield make


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BACKOFF", 0.01)
    monkeypatch.setattr(download, "POLL", 0.01)
