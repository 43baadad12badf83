"""What readiness and metrics say of the disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_jobs import disk as disks
from pipeline_jobs.metrics_exporter import Exporter
from pipeline_jobs.operation import health
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.serve import create_api
from pipeline_jobs.store.guard import data_folder
from tests.integration.conftest import Cell

#: More than any disk has free.
FULL = 2**62


def part(cell: Cell) -> dict[str, object]:
    return health.disk(cell.store, cell.settings, cell.cell.artifacts)


def test_a_disk_with_room_is_ready_and_one_below_the_reserve_is_not(jobs: Cell) -> None:
    roomy, full = jobs.with_settings(disk_reserve_bytes=0), jobs.with_settings(disk_reserve_bytes=FULL)
    assert (part(roomy)["ok"], part(roomy)["reason"]) == (True, None)
    assert part(full)["ok"] is False
    assert f"{FULL} must stay free" in str(part(full)["reason"])
    answer = create_api(full.settings).test_client().get("/health/ready")
    assert answer.status_code == 503
    assert f"{FULL} must stay free" in answer.get_json()["parts"]["disk"]["reason"]
    roomy.cell.close()
    full.cell.close()


def test_a_bucket_has_no_disk_of_ours(jobs: Cell) -> None:
    bucket = jobs.with_settings(disk_reserve_bytes=FULL, artifacts_url="memory://a-bucket")
    assert part(bucket)["ok"] is True
    assert bucket.cell.artifacts.disk_bytes() is None
    bucket.cell.close()


def test_a_store_that_shares_the_disk_with_what_can_fill_it_is_told_of(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = jobs.with_settings(disk_reserve_bytes=0)
    server = data_folder(roomy.store, roomy.settings.redis_url)
    assert server is not None
    assert list(server.glob("*.log"))
    # The tests' own may lie in memory.
    monkeypatch.setattr(disks, "device", lambda path: 1)
    assert "give it a disk of its own" in str(part(roomy)["warning"])
    monkeypatch.setattr(disks, "device", lambda path: 1 if path == server else 2)
    assert "warning" not in part(roomy)
    roomy.cell.close()


def test_the_stores_own_disk_is_looked_at_too(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = jobs.with_settings(disk_reserve_bytes=1000)
    server = data_folder(cell.store, cell.settings.redis_url)
    monkeypatch.setattr(disks, "free", lambda path: 999 if path == server else 1000)
    assert part(cell)["ok"] is True
    assert "the store's disk is nearly full" in str(part(cell)["warning"])
    cell.cell.close()


@pytest.mark.parametrize("url", ["redis://store.example:6379/0", "rediss://10.0.0.1/0"])
def test_of_a_server_elsewhere_nothing_is_known(jobs: Cell, url: str) -> None:
    assert data_folder(jobs.store, url) is None


def test_a_disk_that_cannot_be_asked_is_not_ready(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> int:
        raise OSError("I/O error")

    monkeypatch.setattr(disks, "free", broken)
    assert part(jobs)["ok"] is False
    assert jobs.cell.artifacts.disk_bytes() is None


def test_the_metrics_have_both_figures(jobs: Cell) -> None:
    cell = jobs.with_settings(disk_reserve_bytes=1000)
    for text in (Exporter(cell.settings).text().decode(), create_api(cell.settings).test_client().get("/metrics").text):
        assert 'pipeline_disk_reserve_bytes{disk="artifacts"} 1000.0' in text
        assert 'pipeline_disk_free_bytes{disk="artifacts"} ' in text
    assert "pipeline_disk" not in StoreMetrics(cell.store, cell.settings).text().decode()
    cell.cell.close()
