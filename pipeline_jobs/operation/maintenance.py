"""The maintenance tasks of a cell. Each is `run_once() -> counts`, safe with any number of concurrent runners.

Beat ticks, the maintenance worker runs them; what they do is decided by scripts, so two at once do not do a thing twice.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass

import structlog

from pipeline_jobs import failpoints
from pipeline_jobs.exceptions import PublishError, UnknownJob
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.kept import KeptFolders
from pipeline_jobs.jobs.executor import IN_PROCESS_FENCE
from pipeline_jobs.jobs.moved import Moved, Say, quiet
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import figures
from pipeline_jobs.store.guard import share_of_memory
from pipeline_jobs.store.store import Store

logger = structlog.get_logger(__name__)

#: Jobs of a page: a purge of so many holds the server for two milliseconds.
BATCH = 50
#: Bytes of memory. Whoever holds less does not fill a server: it keeps all of its records even when nobody has a share.
LITTLE = 1_000_000
#: Tenants of a page.
TENANTS = 100
#: Live jobs that reconciling looks at for each second of its interval: some hundredths of the server's time.
LOOKED_AT_A_SECOND = 2_000
#: Between two looks for functions of other versions, in seconds: one that still runs must load its own again.
CLEAR_SECONDS = 3600.0


@dataclass(slots=True)
class Purge:
    """TTL cleanup: removes ended jobs past their time, or of which a tenant keeps too many; kept folders past their time; the artifacts of
    both; and functions that other versions left.

    Cost: that of the expired ones, and three sizes a tenant. A live job is never looked at.
    """

    store: Store
    artifacts: ArtifactStore
    settings: Settings
    _cleared_at: float = float("-inf")

    def run_once(self) -> dict[str, int]:
        """:return: `{"purged": jobs, "folders": artifact folders}`"""
        memory = self.store.info("memory")
        share = share_of_memory(memory, self.settings.memory_watermark)
        purged, keep = 0, self._keep(share)
        while True:
            page = self.store.run("purge", limit=BATCH, keep=keep)
            purged += int(page.removed)
            if int(page.looked_at) < BATCH:
                break
        purged += self._trim(share, keep)
        KeptFolders(self.store).purge()
        failpoints.reach("purge.midway")
        if (now := time.monotonic()) - self._cleared_at >= CLEAR_SECONDS:
            self._cleared_at = now
            self.store.clear_functions()
        self.store.beat("purge")
        return {"purged": purged, "folders": self._empty_trash()}

    def _keep(self, share: int | None) -> int:
        """Of each tenant so many jobs past their time stay that are not in the history yet; -1: all. A history that is away must not fill
        the server: where its memory is nearly full none stay, and of too many only a tenant's part.

        :param share: of memory, as `share_of_memory` gives it.
        """
        if not self.settings.history_url or share is not None:
            return 0
        waiting, most = figures.history(self.store), self.settings.history_max_waiting
        return -1 if waiting.jobs <= most else most // waiting.tenants

    def _trim(self, share: int | None, keep: int) -> int:
        tenants = self.store.members("tenants")
        trimmed, unused = 0, self._unused_seconds()
        for start in range(0, len(tenants), TENANTS):
            some, count = tenants[start : start + TENANTS], BATCH
            while count == BATCH:
                most_held = -1 if share is None else max(share, LITTLE)
                count = self.store.trim(some, self.settings.max_ended_per_tenant, most_held, BATCH, keep, unused)
                trimmed += count
        return trimmed

    def _unused_seconds(self) -> float:
        """For how long an output that is shared between jobs may lie unused: as long as artifacts. On a disk without room none is kept."""
        try:
            return 0.0 if self.artifacts.lacks_room() else self.settings.artifact_ttl_seconds
        except OSError:
            return self.settings.artifact_ttl_seconds

    def _empty_trash(self) -> int:
        emptied = 0
        while folders := self.store.take_trash():
            gone = []
            for folder in folders:
                try:
                    # A kept file may be named again by now: it is called by its content.
                    if not self.store.names_again(folder):
                        self.artifacts.delete_prefix(folder)
                    gone.append(folder)
                except PublishError as error:
                    logger.warning("artifacts cannot be deleted now", seldom=True, folder=folder, error=str(error))
            self.store.drop_trash(gone)
            emptied += len(gone)
            if len(gone) < len(folders):
                break
        return emptied


@dataclass(slots=True)
class Rescue:
    """Dead workers' jobs and lost hints go back to the queue.

    Admits: a worker that only seems dead (a long pause) loses its job too; its fence keeps it from writing.
    """

    store: Store
    settings: Settings
    #: Told of each job that was moved.
    say: Say = quiet

    def run_once(self) -> dict[str, int]:
        """Besides, what scripts left of jobs that wait for others is worked off. :return: as `look`"""
        counts = self.look()
        while any(self.store.settle()):
            pass
        self.store.beat("rescue")
        return counts

    def look(self) -> dict[str, int]:
        """The same without a word for readiness, which asks whether beat and the maintenance worker live.

        :return: how many, by what became of them: `{"queued": 2, "failed": 0, "cancelled": 0, "hint": 1, "stopping": 0}`
        """
        counts = {"queued": 0, "failed": 0, "cancelled": 0, "hint": 0, "stopping": 0}
        while found := self.store.rescue():
            for rescued in found:
                failpoints.reach("rescue.midway")
                counts[rescued.became] += 1
                logger.warning("job rescued", job_id=rescued.job_id, became=rescued.became)
                self.say(Moved(rescued.job_id, rescued.became, ran=True))
        return counts


@dataclass(slots=True)
class Reconcile:
    """Counters against a recount; queued and running jobs that no queue knows. Finds nothing, or there is a bug: it says so loudly.

    Cost: that of what runs, and of so many live jobs a tick, in pages. The next tick goes on with the rest.
    """

    store: Store
    #: Live jobs of a tick, about.
    most: int = 100_000
    #: Those of a script, at most.
    page: int = 500

    def run_once(self) -> dict[str, int]:
        """:return: `{"counters": put right, "jobs": put right}`"""
        counters, jobs, looked_at = self.store.recount(), 0, 0
        while looked_at < self.most:
            done = self.store.reconcile(self.page)
            counters, jobs, looked_at = counters + done.counters, jobs + done.jobs, looked_at + done.looked_at
            if not done.more:
                break
        if jobs:
            # A lease that was put back is a slot that is used.
            counters += self.store.recount()
        if counters or jobs:
            logger.error("reconciled: the indexes did not agree with the records", counters=counters, jobs=jobs)
        self.store.beat("reconcile")
        return {"counters": counters, "jobs": jobs}


def sweep_workdirs(store: Store, settings: Settings) -> int:
    """Remove working folders that a killed run left on this disk. :return: how many.

    A folder is named `{job}.{fence}`; it stays while that very run is the one with the lease.
    """
    swept = 0
    for folder in settings.work_dir.glob("[!.]*.*"):
        job_id, _, fence = folder.name.rpartition(".")
        if fence == str(IN_PROCESS_FENCE):
            # A run in process has no record; it removes its folder itself.
            continue
        try:
            job = store.get(job_id)
            held = job.status is JobStatus.RUNNING and str(job.fence) == fence
        except UnknownJob:
            held = False
        if not held:
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
    return swept
