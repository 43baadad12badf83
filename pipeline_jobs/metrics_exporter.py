"""The metrics exporter: `python -m pipeline_jobs.metrics_exporter` shows what the store knows to Prometheus. One for an installation.

API and workers show what they count themselves; what the store knows is the same whoever is asked, and would count twice in every sum.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import structlog

from pipeline_jobs import logs
from pipeline_jobs.exceptions import ConfigurationError, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.operation import conditions
from pipeline_jobs.operation.metrics import Gauge, StoreMetrics, exposition
from pipeline_jobs.operation.metrics_server import metrics_server
from pipeline_jobs.operation.process_metrics import artifact_disk, build_info, store_disk
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.store.guard import data_folder
from pipeline_jobs.store.store import Store, connect

logger = structlog.get_logger(__name__)

_DOWN = "1: the store answers. 0: it does not, and nothing else is known."


class Exporter:
    """What the exporter shows."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._store = settings, Store(connect(settings.redis_url), settings)
        self._artifacts = ArtifactStore(settings.artifacts_root, settings.base_url, lambda: settings.secret_key, settings.disk_reserve)
        self._metrics = StoreMetrics(self._store, settings, self._own)
        #: Where the server writes, as it said last: it may be away because that disk is full.
        self._folder: Path | None = None

    def text(self) -> bytes:
        """While the store is away, no more than that: what was known before may be wrong by now, and zero is wrong as well."""
        try:
            return self._metrics.text() + self._conditions()
        except StoreUnavailable:
            known = exposition((), [("pipeline_store_up", _DOWN, {}, 0), *self._here()])
            return known + self._conditions()

    def _conditions(self) -> bytes:
        return conditions.exposition(conditions.look(self._store, self._settings, {})).encode()

    def _own(self) -> Iterator[Gauge]:
        self._folder = data_folder(self._store, self._settings.redis_url) or self._folder
        yield from self._here()

    def _here(self) -> Iterator[Gauge]:
        yield build_info()
        yield from artifact_disk(self._artifacts)
        yield from store_disk(self._folder, self._settings)


def main() -> int:
    """Serve until SIGTERM or SIGINT. :return: 2 if a setting is wrong or the port is taken."""
    try:
        settings = load_settings()
        logs.configure(settings.log_format)
        logs.take_over()
        server = metrics_server(settings.metrics_host, settings.metrics_port, Exporter(settings).text)
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    signal.signal(signal.SIGTERM, _end)
    logger.info("metrics are shown", host=settings.metrics_host, port=server.server_port)
    try:
        server.serve_forever()
    except (KeyboardInterrupt, SystemExit):
        server.server_close()
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    raise SystemExit(main())
