"""A run whose store is away: it goes on, keeps its newest progress, and hears of a cancel when the store is back."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline_jobs.exceptions import JobCancelled, StoreUnavailable
from pipeline_jobs.jobs import run as run_module
from pipeline_jobs.jobs.run import Run
from tests.waiting import until


class Away:
    """A store that cannot be reached until it is told an answer."""

    def __init__(self) -> None:
        self.answer = ""
        self.asked = 0
        self.written: list[float | None] = []

    def progress(
        self, job_id: str, fence: int, percent: float | None, stage: str = "", message: str | None = None, passed: Any = ()
    ) -> str:
        self.asked += 1
        if not self.answer:
            raise StoreUnavailable
        self.written.append(percent)
        return self.answer


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Away:
    monkeypatch.setattr(run_module, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(run_module, "ASK_SECONDS", 0.02)
    return Away()


def test_it_asks_again_and_again_and_writes_the_value_it_kept(store: Away) -> None:
    with Run(store.progress, "j", 1) as run:
        run.report("fetch", 33.0, None)
        until(lambda: store.asked >= 3, "three tries")
        run.check()
        store.answer = "ok"
        until(lambda: store.written, "the write")
    assert store.written[0] == 33.0


def test_a_cancel_made_meanwhile_stops_it_when_the_store_is_back(store: Away) -> None:
    with Run(store.progress, "j", 1) as run:
        until(lambda: store.asked >= 2, "two tries")
        store.answer = "cancel"
        until(lambda: store.written, "the answer")
        with pytest.raises(JobCancelled):
            until(lambda: run.check(), "the stop")
