"""Bar 7: 100,000 expired jobs, alone and among 1,000,000 records."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.settings import Settings
from tests.heavy.cleanup import CleanupFigures, Patterns, run_cleanup
from tests.integration.conftest import make_cell
from tests.integration.test_cleanup import ended
from tests.servers import Server

EXPIRED, LIVE = 100_000, 1_000


def cleanup(settings: Settings, folder: Path, records: int) -> CleanupFigures:
    server = Server(folder).start()
    try:
        cell = make_cell(settings.model_copy(update={"redis_url": server.url}))
        artifacts = ArtifactStore((folder / "artifacts").as_uri(), "http://x", lambda: "k")
        patterns = Patterns(ended(cell), lambda: cell.submit(tenant_id="acme").job_id)
        figures = run_cleanup(cell.store, artifacts, patterns, expired=EXPIRED, records=records, live=LIVE)
        cell.store.client.close()
        return figures
    finally:
        server.stop()


def test_a_million_records(cell: Settings, tmp_path: Path) -> None:
    alone = cleanup(cell, tmp_path / "alone", EXPIRED + LIVE)
    among = cleanup(cell, tmp_path / "among", 1_000_000)
    print(json.dumps([asdict(alone), asdict(among), {"ratio of the times": round(among.seconds / alone.seconds, 2)}], indent=2))
    assert alone.wrong == among.wrong == []
