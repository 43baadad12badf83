"""A run as its stages see it: progress without waiting, and a stop that reaches them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline_jobs.context import StageLate
from pipeline_jobs.exceptions import JobCancelled, LeaseLost
from pipeline_jobs.jobs import run as run_module
from pipeline_jobs.jobs.run import Run, install_interrupt
from pipeline_jobs.runlog.masking import Mask
from pipeline_jobs.store.runs import WARNING
from tests.waiting import until


class FakeStore:
    """Answers what it is told to, and keeps what it was told."""

    def __init__(self) -> None:
        self.answer: str | Exception = "ok"
        self.written: list[tuple[float | None, str, str | None]] = []
        self.passed: list[tuple[str, float | str]] = []

    def progress(
        self, job_id: str, fence: int, percent: float | None, stage: str = "", message: str | None = None, passed: Any = ()
    ) -> str:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.written.append((percent, stage, message))
        self.passed += passed
        return self.answer


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    monkeypatch.setattr(run_module, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(run_module, "ASK_SECONDS", 0.02)
    monkeypatch.setattr(run_module, "INTERRUPT_SECONDS", 0.05)
    return FakeStore()


@pytest.fixture
def interruptible() -> Iterator[None]:
    import signal

    before = signal.getsignal(run_module.INTERRUPT)
    install_interrupt()
    yield
    signal.signal(run_module.INTERRUPT, before)


def test_many_reports_become_few_writes_and_the_last_is_always_written(store: FakeStore) -> None:
    with Run(store.progress, "j", 1) as run:
        for i in range(10_000):
            run.report("fetch", i / 100, None)
    values = [percent for percent, _, _ in store.written]
    assert len(values) < 1000
    assert values[-1] == 99.99


def test_what_the_store_is_told_is_without_the_jobs_secrets(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module._watch, "add", lambda run: None)
    with Run(store.progress, "j", 1, shown=Mask(["hunter2"])) as run:
        run.report("fetch", 0.0, None)
        run.warn("fetch", "odd: hunter2")
        run.report("fetch", 90.0, "with hunter2")
    assert store.written == [(90.0, "fetch", "with ***")]
    assert store.passed == [("fetch", 0.0), ("odd: ***", WARNING)]


def test_what_is_handed_over_is_not_written_again(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module._watch, "add", lambda run: None)
    with Run(store.progress, "j", 1) as run:
        run.report("fetch", 0.0, None)
        run.report("publish", 90.0, "nearly")
        last = run.hand_over()
    assert last == (90.0, "publish", "nearly", [("fetch", 0.0)])
    assert store.written == []


def test_a_stage_that_falls_silent_has_its_last_value_written(store: FakeStore) -> None:
    with Run(store.progress, "j", 1) as run:
        run.report("fetch", 12.0, "half")
        until(lambda: (12.0, "fetch", "half") in store.written, "the write")


def test_every_stage_is_told_however_quick_it_was(store: FakeStore) -> None:
    with Run(store.progress, "j", 1) as run:
        for i in range(1000):
            run.report(f"s{i}", i / 10, None)
            run.report(f"s{i}", i / 10 + 0.05, "half")
    told = [(stage, percent) for stage, percent in store.passed] + [(stage, percent) for percent, stage, _ in store.written]
    begins = {f"s{i}": i / 10 for i in range(1000)}
    assert {stage for stage, _ in told} == set(begins)
    assert all(percent == begins[stage] for stage, percent in store.passed)
    assert len(store.passed) == len(set(store.passed))


def test_each_warning_is_told_once_and_after_the_stage_that_gave_it_began(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module._watch, "add", lambda run: None)
    with Run(store.progress, "j", 1) as run:
        run.report("fetch", 0.0, None)
        run.warn("fetch", "odd: x")
        run.report("fetch", 10.0, "odd: x")
        run.look()
        run.report("fetch", 20.0, None)
        run.look()
        run.warn("fetch", "odd: y")
        run.report("fetch", 30.0, "odd: y")
        run.report("publish", 90.0, None)
        last = run.hand_over()
    assert store.passed == [("fetch", 0.0), ("odd: x", "warning")]
    assert last == (90.0, "publish", None, [("odd: y", "warning")])


@pytest.mark.parametrize(("answer", "error"), [("cancel", JobCancelled), ("fenced", LeaseLost)])
def test_a_stop_is_raised_at_the_next_report_or_check(store: FakeStore, answer: str, error: type[BaseException]) -> None:
    store.answer = answer

    def report(run: Run) -> None:
        run.report("fetch", 1.0, None)

    for call in (report, Run.check):
        # In a thread: only there a stage is not interrupted by a signal, so that it must come to the call by itself.
        raised: list[BaseException] = []

        def stage(call: object = call, raised: list[BaseException] = raised) -> None:
            with Run(store.progress, "j", 1) as run:
                try:
                    while True:
                        call(run)  # type: ignore[operator]
                except (JobCancelled, LeaseLost) as error:
                    raised.append(error)

        thread = threading.Thread(target=stage)
        thread.start()
        thread.join(600)
        assert list(map(type, raised)) == [error]


@pytest.mark.usefixtures("interruptible")
def test_a_stage_that_never_looks_is_interrupted(store: FakeStore) -> None:
    store.answer = "cancel"
    with pytest.raises(JobCancelled), Run(store.progress, "j", 1):
        threading.Event().wait(60)


def late(run: Run) -> None:
    run.limit.begin(0.001)
    threading.Event().wait(60)


@pytest.mark.usefixtures("interruptible")
def test_a_stage_that_is_late_and_never_looks_is_interrupted(store: FakeStore) -> None:
    with Run(store.progress, "j", 1) as run:
        # Each of its tries, and the next stage.
        for _ in range(2):
            with pytest.raises(StageLate):
                late(run)
            run.limit.begin(None)


@pytest.mark.usefixtures("interruptible")
def test_a_stage_that_knows_that_it_is_late_can_be_cancelled_still(store: FakeStore) -> None:
    with Run(store.progress, "j", 1) as run:
        with pytest.raises(StageLate):
            late(run)
        store.answer = "cancel"
        with pytest.raises(JobCancelled):
            threading.Event().wait(60)


@pytest.mark.usefixtures("interruptible")
def test_a_stray_signal_stops_nothing(store: FakeStore) -> None:
    import os
    import signal

    os.kill(os.getpid(), run_module.INTERRUPT)
    with Run(store.progress, "j", 1) as run:
        os.kill(os.getpid(), run_module.INTERRUPT)
        run.report("fetch", 1.0, None)
    signal.raise_signal(run_module.INTERRUPT)
