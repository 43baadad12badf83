"""What a stage is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import JobCancelled
from pipeline_jobs.settings import load_settings
from tests.living import alive
from tests.waiting import until


class Reporter:
    def __init__(self) -> None:
        self.seen: list[tuple[str, float, str | None]] = []
        self.cancelled = False

    def report(self, stage: str, percent: float, message: str | None) -> None:
        self.seen.append((stage, percent, message))

    def check(self) -> None:
        if self.cancelled:
            raise JobCancelled


def make_context(workdir: Path, **fields: Any) -> JobContext:
    values: dict[str, Any] = {
        "job_id": "j", "tenant_id": "t", "workspace_id": "w", "url": None, "quality": None, "params": {}, "workdir": workdir,
        "settings": load_settings({}), "reporter": Reporter(), "publish": lambda path, name: name,
    }  # fmt: skip
    return JobContext(**{**values, **fields})


def test_a_stages_progress_is_mapped_into_its_span(tmp_path: Path) -> None:
    context = make_context(tmp_path, stage="transcode", span=(20.0, 60.0))
    for fraction in (-1, 0, 0.5, 1, 2):
        context.progress(fraction, "m")
    assert context.reporter.seen == [("transcode", percent, "m") for percent in (20.0, 20.0, 40.0, 60.0, 60.0)]  # type: ignore[attr-defined]


def test_a_cancel_kills_the_child_and_the_childs_children(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    script = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); input()"
    process = context.popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    context.reporter.cancelled = True  # type: ignore[attr-defined]
    with pytest.raises(JobCancelled):
        context.wait_process(process)
    assert process.returncode == -signal.SIGKILL
    until(lambda: not alive(grandchild), "the grandchild to be gone")
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.close()


def test_a_child_ends_with_its_code_in_its_folder(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    assert context.wait_process(context.popen(["sh", "-c", "pwd > here; exit 7"])) == 7
    assert (tmp_path / "here").read_text().strip() == str(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="PDEATHSIG is Linux's")
def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    script = (
        "from pathlib import Path; from tests.unit.test_context import make_context;"
        f"p = make_context(Path({str(tmp_path)!r})).popen(['sleep', '600']); print(p.pid, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    until(lambda: Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"sleep"), "the child to be the command")
    parent.kill()
    parent.communicate()
    until(lambda: not alive(child), "the child to be gone")
