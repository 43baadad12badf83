"""One run of a job as its stages see it: progress is taken without waiting, a cancel or a lost lease stops it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from types import FrameType, TracebackType

import structlog

from pipeline_jobs.context import StageLimit
from pipeline_jobs.exceptions import JobCancelled, LeaseLost, StopRun, StoreUnavailable
from pipeline_jobs.runlog.masking import Masks
from pipeline_jobs.runlog.run_log import as_it_is
from pipeline_jobs.store.runs import CACHED, WARNING
from pipeline_jobs.store.store import Told

logger = structlog.get_logger(__name__)

#: Most often that a run writes its progress, in seconds: the newest value wins, the last is always written. Each write is an event.
FLUSH_SECONDS = 0.5
#: How often a run asks whether it must stop while it has no progress to write, in seconds.
ASK_SECONDS = 1.0
#: How long a stage may take to come to its next `progress()` or `check_cancelled()` before it is interrupted, in seconds.
INTERRUPT_SECONDS = 1.0
#: What is said of a stage that did not run.
WAS_CACHED = "not run: another job had given its output"
#: The watching thread ends when there was no run for so long, in seconds.
IDLE_SECONDS = 10.0
#: Sent by a run to its own main thread only; a stray one does nothing.
INTERRUPT = signal.SIGUSR2


#: Writes a run's progress: `Store.progress`, or what stands for it. Job, fence, and what `Told` has.
Progress = Callable[[str, int, float | None, str, str | None, Sequence[tuple[str, float | str]]], str]

#: With no percentage the store is only asked whether the run must stop.
_ASK: Told = (None, "", None, ())


class Run:
    """A `context.Reporter` over the store. `with Run(...) as run:` around the stages.

    A thread apart (`_Watch`) talks to the store, so that `report` costs a stage no round trip, a silent stage's last value is
    written all the same, and a cancel is seen while a stage is deep in a library. In the main thread of a process whose
    `install_interrupt` ran, such a stage is interrupted by a signal; elsewhere it ends at its next `report` or `check`.
    """

    def __init__(
        self,
        progress: Progress,
        job_id: str,
        fence: int,
        look: Callable[[], type[StopRun] | None] = lambda: None,
        shown: Masks = as_it_is,
    ) -> None:
        """
        :param look: asked every `FLUSH_SECONDS`, in another thread, why the run must stop whatever the store says; None: it need not.
        :param shown: takes the job's secrets out of what the store is told.
        """
        self._look, self._shown = look, shown
        self._progress, self._job_id, self._fence = progress, job_id, fence
        #: Stage, percentage, message, and how much had come by then.
        self._pending: tuple[str, float, str | None, int] | None = None
        self._stage: str | None = None
        #: Each stage with the percentage at which it began, and each warning, in order; and of how many of them the store was told.
        self._came: list[tuple[str, float | str]] = []
        self._told = 0
        self._stop: type[StopRun] | None = None
        self._raised = False
        #: Of the stage that runs: of the context, once there is one.
        self.limit = StageLimit()
        self._over = False
        #: Held while the store is asked: no write of a run is on its way when the run has ended.
        self._asking = threading.Lock()
        self._asked = time.monotonic()
        self._owner = threading.current_thread()
        #: Whose lines in the log are those of the watching thread about this run.
        self._context = copy_context()

    def __enter__(self) -> Run:
        global _current
        if self._owner is threading.main_thread():
            _current = self
        _watch.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        global _current
        _current = None
        _watch.remove(self)
        self._over = True
        with self._asking:
            if self._stop is None and self._pending is not None:
                self._ask()

    def hand_over(self) -> Told | None:
        """What is not written yet, for `finish` to take along: a whole call less for each job. The run itself writes it no more."""
        with self._asking:
            pending, self._pending = self._pending, None
            return None if pending is None or self._stop is not None else self._untold(*pending)

    def _untold(self, stage: str, percent: float, message: str | None, came: int) -> Told:
        """What the store is to be told: with it the stages that came and went since the last write, and the warnings."""
        passed, message = self._came[self._told : came], message and self._shown(str(message))
        # The beginning of the stage that is still on is told by the call itself.
        return percent, stage, message, passed[:-1] if passed and passed[-1][1] not in (WARNING, CACHED) else passed

    def report(self, stage: str, percent: float, message: str | None) -> None:
        if stage != self._stage:
            self._stage = stage
            self._came.append((stage, percent))
        self._pending = (stage, percent, message, len(self._came))
        self.check()

    def warn(self, stage: str, text: str) -> None:
        self._came.append((self._shown(text), WARNING))

    def cached(self, stage: str) -> None:
        self._came.append((WAS_CACHED, CACHED))

    def check(self) -> None:
        if self._stop is not None:
            self._raised = True
            raise self._stop

    def interrupt(self) -> None:
        """From the signal handler, in the main thread: stop if this run must stop."""
        if not self._settled:
            self.check()
            self.limit.check()

    @property
    def _settled(self) -> bool:
        """The stage knows that it must stop, or need not."""
        return self._raised if self._stop is not None else not self.limit.due

    def look(self) -> None:
        """From the watching thread, every `FLUSH_SECONDS`: look after the run; write what is pending; ask now and then."""
        try:
            self._context.run(self._look_after)
        except Exception:
            # The next look may go well, and the other runs must not be left alone.
            self._context.run(logger.exception, "the watch of a run failed, will try again")

    def _look_after(self) -> None:
        # Not while holding the lock: a look at a large folder takes long, and the end of the run waits for the lock.
        stop = None if self._over else self._look()
        with self._asking:
            now = time.monotonic()
            if self._over or self._stop is not None:
                return
            self._stop = stop
            if self.limit.due and not self.limit.told:
                self.limit.told = True
                self._interrupt_soon()
            if stop is None and self._pending is None and now - self._asked < ASK_SECONDS:
                return
            self._asked = now
            if stop is not None or self._ask():
                self._interrupt_soon()

    def _interrupt_soon(self) -> None:
        threading.Thread(target=self._interrupt_later, name=f"stop-{self._job_id}", daemon=True).start()

    def _ask(self) -> bool:
        """Write what is pending, or only ask. :return: this run must stop."""
        pending, self._pending = self._pending, None
        try:
            reply = self._progress(self._job_id, self._fence, *(self._untold(*pending) if pending else _ASK))
            if pending:
                self._told = pending[3]
        except StoreUnavailable:
            # The lease decides whether this run may go on; progress can wait for the store.
            self._pending = self._pending or pending
            return False
        if reply == "ok":
            return False
        self._stop = JobCancelled if reply == "cancel" else LeaseLost
        return True

    def _interrupt_later(self) -> None:
        deadline = time.monotonic() + INTERRUPT_SECONDS
        while not self._settled and time.monotonic() < deadline:
            time.sleep(0.05)
            if self._over:
                return
        # One that comes too late finds no run, or one that need not stop.
        if not self._settled and self._owner is threading.main_thread() and self._owner.ident:
            signal.pthread_kill(self._owner.ident, INTERRUPT)


class _Watch:
    """The thread that looks after the runs of this process. One for all: to start and join one each was a third of a short job's time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: set[Run] = set()
        self._thread: threading.Thread | None = None

    def add(self, run: Run) -> None:
        with self._lock:
            self._runs.add(run)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._loop, name="watch-runs", daemon=True)
                self._thread.start()

    def remove(self, run: Run) -> None:
        with self._lock:
            self._runs.discard(run)

    def _loop(self) -> None:
        idle_since = time.monotonic()
        while True:
            time.sleep(FLUSH_SECONDS)
            with self._lock:
                runs = tuple(self._runs)
                if runs:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > IDLE_SECONDS:
                    self._thread = None
                    return
            for run in runs:
                run.look()


_watch = _Watch()


def _forget_threads() -> None:
    """In a forked child: its parent's thread and lock are not here."""
    global _watch
    _watch = _Watch()


os.register_at_fork(after_in_child=_forget_threads)

#: The run in this process's main thread, for the signal handler.
_current: Run | None = None


def install_interrupt() -> None:
    """Let runs in this process interrupt their own stages. Main thread only; the signal's default action would kill."""

    def handle(_signum: int, _frame: FrameType | None) -> None:
        if _current is not None:
            _current.interrupt()

    signal.signal(INTERRUPT, handle)
