"""Bar 2 of Flows: 100,000 jobs end, are moved and purged while the mover is killed 20 times; on SQLite and on PostgreSQL.

`HISTORY_JOBS=5000 python -m pytest -s tests/heavy/bar_history.py` for fewer.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import pytest

from pipeline_jobs.settings import Settings
from tests.integration.conftest import make_cell
from tests.moved_jobs import Killing
from tests.postgres import Postgres, programs

JOBS, KILLS, SEED = int(os.environ.get("HISTORY_JOBS", 100_000)), 20, 1


def bar(settings: Settings, url: str) -> None:
    began = time.monotonic()
    killing = Killing(make_cell(settings.model_copy(update={"history_url": url})), SEED)
    killing.run(JOBS, KILLS)
    wrong = killing.wrong()
    print(json.dumps({"jobs": len(killing.ids), "deaths": killing.deaths, "seconds": round(time.monotonic() - began), "wrong": wrong}))
    assert (wrong, killing.deaths) == ([], KILLS)


def test_sqlite(cell: Settings, tmp_path: Path) -> None:
    bar(cell, f"sqlite:///{tmp_path / 'history.db'}")


@pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed (Debian: apt install postgresql)")
def test_postgresql(cell: Settings) -> None:
    with tempfile.TemporaryDirectory(prefix="pipeline-jobs-test-") as folder:
        server = Postgres(Path(folder), synchronous=True)
        try:
            bar(cell, f"postgresql://bench@127.0.0.1:{server.port}/postgres")
        finally:
            server.stop()
