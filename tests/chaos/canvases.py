"""The clients that send chords and chains of jobs, as a Celery program does; and what is seen of them at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from celery import chain, chord
from kombu.exceptions import OperationalError

from pipeline_jobs.exceptions import StoreUnavailable, TryLater
from pipeline_jobs.worker.app import JobsCelery
from pipeline_jobs.worker.hints import JOB_TASK
from tests.chaos.journal import ClientJournal
from tests.chaos.load import PATIENCE_SECONDS, PAUSE_SECONDS, fields_of
from tests.chaos.plan import PlannedCanvas, PlannedJob, Shape

AWAY = (StoreUnavailable, TryLater, OperationalError, redis.RedisError, OSError)


@dataclass(frozen=True, slots=True)
class Sent:
    """A canvas whose `apply_async` returned: ids and tokens of its jobs, in their order."""

    shape: Shape
    ids: tuple[str, ...]
    tokens: tuple[str, ...]


class CanvasLoad:
    """A thread that sends them."""

    def __init__(self, canvases: Sequence[PlannedCanvas], app: JobsCelery, journal: ClientJournal) -> None:
        self._canvases, self._app, self._journal = canvases, app, journal
        self._began = 0.0
        self.given_up: list[str] = []
        #: What Celery raised and does not declare for a server that is away.
        self.undeclared: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="canvases", daemon=True)

    def start(self) -> None:
        self._began = time.monotonic()
        self._thread.start()

    @property
    def sending(self) -> bool:
        return self._thread.is_alive()

    def give_up(self) -> None:
        self._stop.set()

    def join(self) -> None:
        self._thread.join()

    def _send_all(self) -> None:
        for canvas in self._canvases:
            self._stop.wait(max(0.0, self._began + canvas.at - time.monotonic()))
            jobs = (*canvas.members, canvas.last)
            ids = self._until_sent(canvas)
            if ids is None:
                self.given_up += [job.token for job in jobs]
                continue
            self._journal.write("canvas", shape=canvas.shape, ids=ids, tokens=[job.token for job in jobs])
            # What follows the first of a chain, or the members of a chord, is submitted by the worker that ran the last one before.
            at_once = len(canvas.members) if canvas.shape == "chord" else 1
            for job_id, job in list(zip(ids, jobs, strict=True))[:at_once]:
                self._journal.write("accepted", job_id=job_id, token=job.token, http=False)

    def _until_sent(self, canvas: PlannedCanvas) -> list[str] | None:
        """Each try is another canvas: nothing is known of the jobs of one that broke off."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not self._stop.is_set():
            try:
                return _ids(canvas.shape, self._send(canvas))
            except AWAY:
                time.sleep(PAUSE_SECONDS)
            except Exception as error:
                self.undeclared.append(f"{canvas.shape}: {type(error).__name__}: {error}")
                time.sleep(PAUSE_SECONDS)
        return None

    def _send(self, canvas: PlannedCanvas) -> Any:
        members, last = [self._signature(job) for job in canvas.members], self._signature(canvas.last)
        return chord(members, last)() if canvas.shape == "chord" else chain(*members, last).apply_async()

    def _signature(self, job: PlannedJob) -> Any:
        return self._app.tasks[JOB_TASK].si(**fields_of(job))


def _ids(shape: Shape, result: Any) -> list[str]:
    """In the order of the jobs; the result is the last one's."""
    if shape == "chord":
        return [*(one.id for one in result.parent.results), result.id]
    ids = []
    while result is not None:
        ids.append(result.id)
        result = result.parent
    return ids[::-1]


def sent(client: Sequence[Mapping[str, Any]]) -> Iterator[Sent]:
    """The canvases of a client journal."""
    for line in client:
        if line["what"] == "canvas":
            yield Sent(line["shape"], tuple(line["ids"]), tuple(line["tokens"]))


def states(app: JobsCelery, client: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What Celery says of the last job of each canvas."""
    return {canvas.ids[-1]: app.AsyncResult(canvas.ids[-1]).state for canvas in sent(client)}
