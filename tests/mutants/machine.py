"""Makes a mutant in a copy of the tree and lets its tests run there. The tree itself is only read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.guards import Guard

ROOT = Path(__file__).resolve().parents[2]
#: What the tests of a mutant need of the tree.
PARTS = (
    "pipeline_jobs", "tests", "examples", "benchmarks", "clients", "deploy", "docs", "docker", "samples", "requirements", "typings", ".ci",
    "setup.cfg", "pyproject.toml", "mkdocs.yml", "Makefile", "celery_app.py", "flowerconfig.py", "wsgi.py",
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "NOTICE", "LICENSE", ".gitignore", ".dockerignore",
)  # fmt: skip
#: Longest run of one mutant's tests, in seconds (a guard without which they hang), and of one file without a mutant.
LIMIT_SECONDS = 600
#: Plugins of pytest whose import takes a third of a start, and the word that a file has which needs one.
PLUGINS = {"celery": "pytest_celery", "docker_tools": "pytest_celery", "schemathesis": "schemathesis"}
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
#: What a script says that was broken, not changed: such a mutant proves nothing.
_BROKEN = re.compile(r"Error compiling script|attempted to access nonexistent global|SyntaxError|IndentationError|NameError")


class Stale(Exception):
    """The text of a guard does not stand exactly once in its file: the guard was rewritten."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant."""

    #: `caught`, `survived`, `broken` (the edit made no program), or `hung` (killed after the limit).
    word: str
    #: The first test that failed.
    by: str = ""
    output: str = ""

    @property
    def caught(self) -> bool:
        return self.word == "caught"


@contextmanager
def copy_of_tree() -> Iterator[Path]:
    """A folder with the parts of the tree that the tests need."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        for part in PARTS:
            if (ROOT / part).is_dir():
                # With the compiled modules: they hold for files of the same time and size, so not for the one that is changed.
                shutil.copytree(ROOT / part, Path(folder, part))
            else:
                shutil.copy(ROOT / part, folder)
        yield Path(folder)


def remove(guard: Guard, tree: Path) -> None:
    """Take a guard out of a copy. :raises Stale:"""
    path = tree / guard.file
    text = path.read_text("utf-8")
    if (count := text.count(guard.old)) != 1:
        raise Stale(f"{guard.name}: its text stands {count} times in {guard.file}; name it anew in tests/mutants/guards.py")
    path.write_text(text.replace(guard.old, guard.new), "utf-8")


def run_tests(tree: Path, tests: tuple[str, ...]) -> Verdict:
    """Run tests of a copy up to the first that fails; `survived`: all passed."""
    # A package that is installed from the tree itself must not be found before the copy.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "ENABLE_PIPELINE_", "PYTEST_"))}
    env |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    texts = "".join((tree / test.partition("::")[0]).read_text("utf-8") for test in tests)
    without = [option for plugin, word in PLUGINS.items() if word not in texts for option in ("-p", f"no:{plugin}")]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *without, *tests]
    try:
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        return Verdict("hung", output=str(error))
    output = done.stdout + done.stderr
    if done.returncode == 0:
        return Verdict("survived", output=output)
    failed = _FAILED.search(output)
    if done.returncode != 1 or failed is None or _BROKEN.search(output):
        return Verdict("broken", output=output)
    return Verdict("caught", by=failed[1], output=output)


def try_guard(guard: Guard, first: str = "") -> Verdict:
    """Make the mutant and see whether a test of its list fails; `first` is the one that did before. :raises Stale:"""
    with copy_of_tree() as tree:
        remove(guard, tree)
        if first.partition("::")[0] in guard.tests and (verdict := run_tests(tree, (first,))).caught:
            return verdict
        return run_tests(tree, guard.tests)


def check_unchanged(guards: tuple[Guard, ...], jobs: int = 1) -> dict[str, Verdict]:
    """Run each test file of these guards on an unchanged copy. Returns the files that fail there: their failures prove nothing.

    A file that fails is tried once more by itself, since many run at a time.
    """
    files = sorted({test for guard in guards for test in guard.tests})
    with copy_of_tree() as tree, ThreadPoolExecutor(jobs) as pool:

        def run(file: str) -> Verdict:
            return run_tests(tree, (file,))

        failed = [file for file, verdict in zip(files, pool.map(run, files), strict=True) if verdict.word != "survived"]
        again = {file: run(file) for file in failed}
    return {file: verdict for file, verdict in again.items() if verdict.word != "survived"}
