"""Run a pipeline in the test of it: here and now, with no server, no worker and no store.

    ran = testing.run(WORDS, {"text": "two words"})
    assert ran.result == {"words": 2}

The stages are run by the very code that runs them in a worker (`jobs.executor.run_stages`), with the real context: its parameters are
checked, its log is bounded and masked. In place of the store and the artifact store is `Ran`, which has what they would have been given.
Parts of a stage (`Map`) run one after the other, each in a folder of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext, Parent, Reporter
from pipeline_jobs.exceptions import JobCancelled, SourceNotFound
from pipeline_jobs.files.artifacts import check_path
from pipeline_jobs.jobs.executor import run_stages
from pipeline_jobs.jobs.parts_here import FanOutHere
from pipeline_jobs.pipelines import Pipeline, SignalTimeout
from pipeline_jobs.runlog.capture import captured
from pipeline_jobs.runlog.lines import Line, read
from pipeline_jobs.runlog.masking import Mask
from pipeline_jobs.runlog.run_log import RunLog
from pipeline_jobs.settings import Settings
from pipeline_jobs.stage import Parked

#: Bytes of an upload that a stage is given at once.
PIECE_BYTES = 1 << 16
#: The id of the job.
JOB_ID = "job_1_00000000"


@dataclass
class Ran(Reporter):
    """What a run of a pipeline has given and said. If a stage failed, `run` raised its error."""

    #: As a client gets it: `data` of the job's result.
    result: dict[str, Any] = field(default_factory=dict)
    #: What all stages gave, merged.
    data: dict[str, Any] = field(default_factory=dict)
    #: Each call of `context.progress`, and the begin of each stage: stage, percentage of the whole, message.
    progress: list[tuple[str, float, str | None]] = field(default_factory=list)
    #: What was published, by its name.
    files: dict[str, bytes] = field(default_factory=dict)
    #: The log of the job.
    log: list[Line] = field(default_factory=list)
    #: What links were made for signals: name, payload, seconds for which each is good.
    links: list[tuple[str, Any, float]] = field(default_factory=list)
    #: Of the stage at whose first look for a cancel the job is cancelled.
    cancel_in: str | None = None
    _stage: str = ""

    @property
    def warnings(self) -> list[str]:
        """What stages returned as `warnings`."""
        return list(self.data.get("warnings", ()))

    @property
    def messages(self) -> list[str]:
        """The messages of the log."""
        return [line.message for line in self.log]

    def report(self, stage: str, percent: float, message: str | None) -> None:
        self.progress.append((stage, percent, message))
        begins, self._stage = stage != self._stage, stage
        if not begins:
            self.check()

    def check(self) -> None:
        if self._stage == self.cancel_in:
            raise JobCancelled

    def publish(self, path: Path, name: str) -> str:
        """`context.publish`: the link is none that anybody can open."""
        self.files[check_path(name)] = path.read_bytes()
        return f"https://artifacts.example/{name}"

    def signal_url(self, name: str, payload: Any, expires_seconds: float) -> str:
        """`context.signal_url`: likewise."""
        self.links.append((name, payload, expires_seconds))
        return f"https://signals.example/{name}"


def run(
    pipeline: Pipeline,
    params: Mapping[str, Any] | None = None,
    *,
    url: str | None = None,
    quality: str | None = None,
    uploads: Mapping[str, bytes] | None = None,
    parents: Mapping[str, Any] | None = None,
    workdir: Path | None = None,
    settings: Settings | None = None,
    cancel_in: str | None = None,
    signals: Mapping[str, Any] | None = None,
    into: Ran | None = None,
) -> Ran:
    """Run all stages of a pipeline, once.

    :param params: as a client sends them; they are checked, and the defaults filled in.
    :param url: the job's `url`. :param quality: None: the pipeline's default.
    :param uploads: what `context.open_upload` finds, by the upload's id.
    :param parents: what `context.parents` has: by the name of each job the `result` that it gave, or a `Parent`.
    :param workdir: the run's folder, which stays; None: one that is removed.
    :param settings: None: the defaults.
    :param cancel_in: cancel the job in the stage of this name, at its first look for a cancel.
    :param signals: the payloads of the signals that it waits for, by name. Of any other the wait is over at once: no time passes here.
    :param into: is filled as the run goes, to be looked at also when it fails.
    :raises InvalidInput: the parameters are wrong.
    :raises StageError: as the job would fail, `SignalTimeout` among others; any other error is a bug of the stage, code `internal_error`.
    :raises JobCancelled: `cancel_in`.
    """
    ran, checked = into or Ran(), pipeline.check_params(params or {})
    ran.cancel_in = cancel_in
    log = RunLog(mask=Mask(pipeline.secrets(checked)))
    with tempfile.TemporaryDirectory() as folder:
        context = JobContext(
            job_id=JOB_ID, tenant_id="default", workspace_id="main", url=url,
            quality=quality or (pipeline.qualities[0] if pipeline.qualities else None), params=checked, workdir=workdir or Path(folder),
            settings=settings or Settings(), reporter=ran, publish=ran.publish, run_log=log, open_upload=_opens(uploads or {}),
            parents={name: one if isinstance(one, Parent) else _completed(one) for name, one in (parents or {}).items()},
            signals={**_in_vain(pipeline), **(signals or {})}, signal_url=ran.signal_url, fan_out=FanOutHere(pipeline),
        )  # fmt: skip
        try:
            with captured(log), context.closing:
                ran.data = dict(run_stages(pipeline, context))
        except Parked:
            raise SignalTimeout(f"no signal {context.stage} came in time") from None
        finally:
            ran.log = list(read(log.lines()))
    ran.result = dict(pipeline.result(ran.data))
    return ran


def _completed(result: Any) -> Parent:
    return Parent(JOB_ID, "completed", read=lambda: result)


def _in_vain(pipeline: Pipeline) -> dict[str, None]:
    """What a job goes on with whose signals did not come."""
    return {name: None for name, wait in pipeline.waits.items() if wait.on_timeout == "go_on"}


def _opens(uploads: Mapping[str, bytes]) -> Any:
    def open_upload(upload_id: str) -> tuple[int, Iterator[bytes]]:
        if upload_id not in uploads:
            raise SourceNotFound("there is no such upload")
        data = uploads[upload_id]
        return len(data), (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))

    return open_upload


__all__ = ["JOB_ID", "Parent", "Ran", "run"]
