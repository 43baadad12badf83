"""What a process shows of itself, beside what it counts: which version it is, and how its disks and its clock are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline_jobs import __version__, disk
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.job import SCHEMA
from pipeline_jobs.operation.metrics import Gauge
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store

_FREE = "Free space on a disk, as this process sees it: `artifacts` (and uploads), `work` (running jobs), `store` (the server's log)."
_RESERVE = "Free space below which nothing more is stored there."


def build_info(worker_class: str = "") -> Gauge:
    """Version of the package, newest schema of records, and what a worker can run (its class; empty for others)."""
    labels = {"version": __version__, "schema": str(SCHEMA), "class": worker_class}
    return "pipeline_build_info", "What this process is; always 1.", labels, 1


def artifact_disk(artifacts: ArtifactStore) -> Iterator[Gauge]:
    """The disk of artifacts; nothing, where they are on no disk of this machine."""
    if (found := artifacts.disk_bytes()) is not None:
        yield from _disk("artifacts", *found)


def work_disk(settings: Settings) -> Iterator[Gauge]:
    """The disk of the working folders."""
    yield from _folder("work", settings.work_dir, settings.disk_reserve)


def store_disk(folder: Path | None, settings: Settings) -> Iterator[Gauge]:
    """The disk of the store. :param folder: where its server writes its log; None: it is not on this machine, or does not tell."""
    if folder is not None:
        yield from _folder("store", folder, settings.disk_reserve)


def clock(store: Store) -> Iterator[Gauge]:
    """How far the store's clock is ahead; nothing while the store is away."""
    try:
        before = time.time()
        there = store.now() / 1000
        yield "pipeline_store_clock_ahead_seconds", _AHEAD, {}, there - (before + time.time()) / 2
    except StoreUnavailable:
        return


_AHEAD = "How far the clock of the store's server is ahead of that of the process that is asked."


def _folder(name: str, folder: Path, reserve: Callable[[Path], int]) -> Iterator[Gauge]:
    try:
        yield from _disk(name, disk.free(folder), reserve(folder))
    except OSError:
        return


def _disk(name: str, free: int, reserve: int) -> Iterator[Gauge]:
    yield "pipeline_disk_free_bytes", _FREE, {"disk": name}, free
    yield "pipeline_disk_reserve_bytes", _RESERVE, {"disk": name}, reserve
