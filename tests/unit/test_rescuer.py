"""A job worker's own look for dead ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.worker.rescuer import Rescuer
from tests.waiting import until


class Rescue:
    """Fails twice, in two ways, then works."""

    def __init__(self) -> None:
        self.looks = 0

    def look(self) -> None:
        self.looks += 1
        if self.looks == 1:
            raise StoreUnavailable
        if self.looks == 2:
            raise RuntimeError("a mistake")


def test_it_looks_again_and_again_whatever_happens_until_it_is_stopped() -> None:
    rescue = Rescue()
    cell: Any = SimpleNamespace(settings=SimpleNamespace(rescue_seconds=0.01), rescue=rescue)
    rescuer = Rescuer(cell)
    rescuer.start()
    until(lambda: rescue.looks > 3, "more looks")
    rescuer.stop()
    rescuer._thread.join(60)
    assert not rescuer._thread.is_alive()
