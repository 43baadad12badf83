"""Copies of what jobs publish, in Google Drive: made by the run as it publishes, and what it could not copy by the outbox afterwards.

A copy stays when the job's record and its files have gone, until its tenant is erased. Those of a job that did not complete are removed by
the outbox. Each file has one id for all runs of its job, noted before its first byte is sent, so it is copied once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_jobs.exceptions import LeaseLost, MachineFault, StoreUnavailable
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.drive import Drive, DriveError, Owner
from pipeline_jobs.job import Job, dumps
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.store import Store

#: How the address of such a delivery begins (`lua/lib/outbox.lua`).
SCHEME = "gdrive:"
#: Longest that a run copies, holding its slot: what is left then is the outbox's, in seconds. And longest that the outbox tries once.
RUN_SECONDS, OUTBOX_SECONDS = 600.0, 3600.0

FULL = (
    "drive_full: The results are not copied to Google Drive: they would exceed the number of bytes that this tenant may keep there "
    "(max_drive_bytes)."
)
PENDING = (
    "drive_pending: The results could not be copied to Google Drive yet ({}). This is tried again; the job's drive_url says where the film "
    "is as soon as it is there."
)


class RunCopies:
    """The copies of one run."""

    def __init__(self, store: Store, drive: Drive | None, settings: Settings, job: Job) -> None:
        self._store, self._drive, self._job = store, drive, job
        self._most = settings.max_drive_bytes_per_tenant
        #: For the end of the run: whether some are still to be made, and where that of the film is.
        self.done = (False, "")

    def copy(self, paths: Sequence[Path], told: Callable[[float], None]) -> Mapping[str, Any]:
        """`JobContext.copy_out`. :raises LeaseLost: :raises MachineFault: the store cannot be asked."""
        if self._drive is None or not paths:
            return {}
        sizes = {path.name: path.stat().st_size for path in paths}
        job, run = self._job, self._store.run
        became = _noted(
            lambda: run(
                "copy_reserve", id=job.job_id, fence=job.fence, names=dumps(list(sizes)), bytes=sum(sizes.values()), most=self._most
            )
        )
        if became == "fenced":
            raise LeaseLost
        if became != "ok":
            # A tenant that may copy nothing at all need not be told so of each job.
            return {"warnings": [FULL]} if became == "full" else {}
        try:
            url = self._copied(self._drive, sizes, paths[0].parent, told)
        except DriveError as error:
            self.done = (True, "")
            return {"warnings": [PENDING.format(error.word)]}
        self.done = (False, url)
        return {"drive_url": url}

    def _copied(self, drive: Drive, sizes: Mapping[str, int], folder: Path, told: Callable[[float], None]) -> str:
        job, run = self._job, self._store.run
        ids = drawn(drive, list(sizes), lambda ids: _noted(lambda: run("copy_ids", id=job.job_id, fence=job.fence, ids=ids)))
        whole, before, links = max(1, sum(sizes.values())), 0, []
        pace = Pace(RUN_SECONDS)
        for name, file_id in ids.items():
            with (folder / name).open("rb") as file:
                part = Part(before / whole, sizes[name] / whole, told, pace)
                links.append(drive.put(file_id, name, file, Owner(job.tenant_id, job.job_id), part.told))
            before += sizes[name]
        return links[0]


def _noted(ask: Callable[[], object]) -> str:
    """:raises MachineFault: the store cannot be asked."""
    try:
        return str(ask())
    except StoreUnavailable as error:
        raise MachineFault(f"the copies cannot be noted: {error}") from error


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an upload may take."""

    seconds: float
    since: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "since", time.monotonic())

    def check(self, _: float = 0.0) -> None:
        """:raises DriveError: it takes longer."""
        if time.monotonic() - self.since > self.seconds:
            raise DriveError("drive_slow")


@dataclass(frozen=True, slots=True)
class Part:
    """The share of one file in the progress of all that are copied."""

    before: float
    share: float
    tell: Callable[[float], None]
    pace: Pace

    def told(self, done: float) -> None:
        self.pace.check()
        self.tell(min(1.0, self.before + self.share * done))


class Copier:
    """The outbox's side: copies what runs left, and removes what is not to stay."""

    def __init__(self, store: Store, artifacts: ArtifactStore, drive: Drive | None) -> None:
        self._store, self._artifacts, self._drive = store, artifacts, drive

    def deliver(self, event_id: str, snapshot: Mapping[str, str]) -> None:
        """Copy what a completed job left, or remove the copies of one that ended otherwise. Done twice it is done once.

        :param snapshot: the record as the job ended.
        :raises DriveError: it is to be tried again. :raises StoreUnavailable:
        """
        if self._drive is None:
            raise DriveError("drive_not_configured")
        if snapshot["webhook_type"] != "job.completed":
            self._drive.remove(json.loads(snapshot.get("copies_drawn") or "{}").values())
            return
        drive, known = self._drive, snapshot.get("copies_drawn")
        ids = json.loads(known) if known else drawn(drive, json.loads(snapshot["copies"]), lambda ids: self._note(event_id, ids))
        url = self._copied(drive, ids, snapshot)
        if self._store.run("copy_done", event_id=event_id, id=snapshot["job_id"], url=url) == "gone":
            # Its tenant was erased meanwhile.
            drive.remove(ids.values())

    def _note(self, event_id: str, ids: str) -> str:
        return str(self._store.run("copy_ids", event_id=event_id, id="", fence=0, ids=ids))

    def _copied(self, drive: Drive, ids: Mapping[str, str], snapshot: Mapping[str, str]) -> str:
        owner, pace, links = Owner(snapshot["tenant_id"], snapshot["job_id"]), Pace(OUTBOX_SECONDS), []
        for name, file_id in ids.items():
            try:
                with self._artifacts.open(f"{snapshot['artifacts']}/{name}") as file:
                    links.append(drive.put(file_id, name, file, owner, pace.check))
            except FileNotFoundError:
                raise DriveError("drive_files_gone") from None
        return links[0]


def drawn(drive: Drive, names: Sequence[str], note: Callable[[str], str]) -> dict[str, str]:
    """The id of each file, by name. :param note: keeps them, and gives back those that were kept first: of another run, maybe."""
    ids: dict[str, str] = json.loads(note(dumps(dict(zip(names, drive.draw_ids(len(names)), strict=True)))) or "{}")
    if not ids:
        raise DriveError("drive_nobody_asks")
    return ids


def erase(drive: Drive | None, tenant_id: str) -> None:
    """Remove all copies of a tenant. :raises StoreUnavailable: Drive cannot be asked now: erase again."""
    if drive is None:
        return
    try:
        drive.erase(tenant_id)
    except DriveError as error:
        raise StoreUnavailable(
            f"the tenant's folder in Google Drive cannot be removed now ({error.word}): erase the tenant again"
        ) from error
