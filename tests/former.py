"""Trees of this version and of others, and processes from them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline_jobs.up.stack import WORKER
from tests.stack import ROOT, Stack
from tests.waiting import until

#: What a process needs of a tree; the bodies of jobs are among the tests.
PARTS = ("pipeline_jobs", "examples", "tests", "celery_app.py", "wsgi.py")
#: What of it is not copied. Compiled modules are: they hold for files of the same time and size.
UNUSED = shutil.ignore_patterns("*-pytest-*.pyc", "node_modules")


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder with the code of a version."""

    folder: Path

    def run(self, stack: Stack, name: str, *command: str, **env: str) -> subprocess.Popen[bytes]:
        """A process of a stack in this folder, whose Python has this tree in its path and no other."""
        here = {"PYTHONPATH": str(self.folder), "PYTHONSAFEPATH": "1"}
        return stack.run(name, "env", "-C", str(self.folder), *command, **here, **env)

    def worker(self, stack: Stack, name: str, *options: str) -> subprocess.Popen[bytes]:
        """A job worker, up."""
        process = self.run(
            stack, name, sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", f"{name}@test", *WORKER, *options
        )
        until(lambda: f"{name}@test ready" in stack.log(name) or process.poll() is not None, f"worker {name}")
        assert process.poll() is None, stack.log(name)
        return process


HERE = Tree(ROOT)


def other_version(folder: Path) -> Tree:
    """What this version is, but for a comment: processes tell versions apart by their code."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=UNUSED)
        else:
            shutil.copy(ROOT / part, folder / part)
    with (folder / "pipeline_jobs/__init__.py").open("a") as file:
        file.write("\n# Of another version.\n")
    return Tree(folder)
