"""Celery apps for tests, in this process and on a real server: with plain tasks, closed with all that they opened."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kombu.transport.redis import Transport

from pipeline_jobs.settings import Settings
from pipeline_jobs.worker.app import JobsCelery, create_celery

#: Of an app that real workers run on: its leases are renewed, and its cancelled runs told, five times a second.
REAL_WORKERS = {"announce_seconds": 0.2}
#: How long one look at the queues waits for a message. A worker that is told to end waits for the answer: a second, as kombu has it.
POLL_SECONDS = 0.1


@contextmanager
def celery_app(settings: Settings) -> Iterator[JobsCelery]:
    """An app of `create_celery`."""
    app = create_celery(settings)
    app.conf.worker_hijack_root_logger = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transport, "brpop_timeout", POLL_SECONDS)
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
