"""An event that could not be sent breaks nothing: the record says it already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError, ResponseError

from pipeline_jobs.store.store import Rescued
from pipeline_jobs.worker.parts import Jobs


class Breaks:
    """A dispatcher whose connection breaks in the middle of a send."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    @contextmanager
    def default_dispatcher(self) -> Iterator[Breaks]:
        yield self

    def send(self, *args: Any, **fields: Any) -> None:
        raise self.error


def jobs_that_meet(error: Exception) -> Jobs:
    broker = Celery(broker="redis://127.0.0.1:1/0", set_as_current=False)
    app = SimpleNamespace(events=Breaks(error), connection_for_write=broker.connection_for_write)
    others = {one.name: None for one in fields(Jobs) if one.name != "app"}
    return Jobs(app=app, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [ConnectionError("reset"), ResponseError("OOM"), OperationalError("away"), OSError("gone")])
def test_a_broker_that_breaks_off_is_only_logged(error: Exception) -> None:
    jobs_that_meet(error).say_rescued(Rescued("job_1_00000000", "queued"))


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        jobs_that_meet(TypeError("uuid")).say_rescued(Rescued("job_1_00000000", "queued"))
