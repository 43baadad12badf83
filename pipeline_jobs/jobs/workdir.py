"""A run's own folder on the disk of its machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline_jobs.context import JobContext, Reporter
from pipeline_jobs.job import Job
from pipeline_jobs.runlog.run_log import RunLog
from pipeline_jobs.runlog.secret_params import revealed
from pipeline_jobs.settings import Settings


class RunContext(JobContext):
    """Makes the run's folder when a stage first asks for it: many never do, and to make and remove one is a tenth of a short job's time."""

    _folder: Path
    _made = False

    @property
    def workdir(self) -> Path:
        if not self._made:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._made = True
        return self._folder

    @workdir.setter
    def workdir(self, folder: Path) -> None:
        self._folder = folder


def workdir_of(folder: Path, job: Job) -> Path:
    """Where a run of a job has it. :param folder: of those of all runs."""
    return folder / f"{job.job_id}.{job.fence}"


class Workdir:
    """A run's own folder, `{job}.{fence}`: gone with the run, if it was made."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *_: object) -> None:
        if self._path.exists():
            shutil.rmtree(self._path, ignore_errors=True)


def context_of(
    job: Job, workdir: Path, settings: Settings, reporter: Reporter, publish: Callable[[Path, str], str], run_log: RunLog | None = None
) -> JobContext:
    """What the stages of a run of this job are given."""
    return RunContext(
        job_id=job.job_id,
        tenant_id=job.tenant_id,
        workspace_id=job.workspace_id,
        url=job.url,
        quality=job.quality,
        params=revealed(job.params, job.secret_params),
        workdir=workdir,
        settings=settings,
        reporter=reporter,
        publish=publish,
        attempt=job.attempt,
        signals={name: one["payload"] for name, one in job.signals.items()},
        run_log=run_log or RunLog(),
    )


class NoReporter(Reporter):
    """Of a run without a job."""

    def report(self, stage: str, percent: float, message: str | None) -> None:
        """Nobody follows."""

    def check(self) -> None:
        """Nobody cancels."""
