"""Celery apps for tests, in this process and on a real server: with plain tasks, closed with all that they opened."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_jobs.settings import Settings
from pipeline_jobs.worker.app import JobsCelery, create_celery

#: Of an app that real workers run on: its leases are renewed, and its cancelled runs told, five times a second.
REAL_WORKERS = {"announce_seconds": 0.2}


@contextmanager
def celery_app(settings: Settings) -> Iterator[JobsCelery]:
    """An app of `create_celery`."""
    app = create_celery(settings)
    app.conf.worker_hijack_root_logger = False
    yield app
    app.cell.close()
    app.backend.result_consumer.stop()
    app.backend.client.connection_pool.disconnect()
    app.close()
    # The worker of celery.contrib.testing leaves its own sockets to the garbage collector, which would complain in a later test.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del app
        gc.collect()
