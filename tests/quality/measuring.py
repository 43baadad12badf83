"""A sound through the stages that hear it, in a child of its own as a job has it, and what that costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext, Reporter
from pipeline_jobs.media import stages
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.settings import load_settings
from tests.living import running
from tests.quality import voices
from tests.quality.voices import Samples


class Silent(Reporter):
    def report(self, stage: str, percent: float, message: str | None) -> None:
        """Nobody follows."""

    def check(self) -> None:
        """Nobody cancels."""


@dataclass(frozen=True)
class Heard:
    """What the stages give, the CPU seconds of their process, and the most memory that it had, in bytes."""

    data: Mapping[str, Any]
    cpu: float
    memory: int


def hear(sound: Samples, folder: Path, settings: Mapping[str, str], params: Mapping[str, Any]) -> Heard:
    """:param settings: `{"PIPELINE_WHISPER_MODEL": ...}`. :param params: as a job's; with the output `speakers` that stage, too."""
    with tempfile.TemporaryDirectory(dir=folder) as work, ExitStack() as closing:
        voices.write(Path(work, "speech.wav"), sound)
        context = JobContext(
            job_id="quality", tenant_id="", workspace_id="", url=None, quality=None, params=MEDIA.check_params(dict(params)),
            workdir=Path(work), settings=load_settings({"PIPELINE_DATA_DIR": str(folder), **settings}), reporter=Silent(),
            publish=lambda path, name: name, data={"speech": "speech.wav", "speech_start": 0.0}, closing=closing,
        )  # fmt: skip
        heard_by: list[Callable[[JobContext], Mapping[str, Any]]] = [stages.transcribe, stages.InChild("analyse")]
        if "speakers" in context.params["outputs"]:
            heard_by.append(stages.InChild("speakers"))
        for stage in heard_by:
            given = stage(context)
            warnings = [*context.data.get("warnings", ()), *given.get("warnings", ())]
            context.data |= {**given, "warnings": warnings}
        (child,) = running("pipeline_jobs.media.stage_child")
        spent = child.cpu_times()
        return Heard(dict(context.data), spent.user + spent.system, peak(child.pid))


def peak(pid: int) -> int:
    """Most memory that a process had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024
