"""Celery's own integration tests (canvas, tasks, inspect) on an app of `create_celery`, and on a stock app with the Redis backend.

`python -m tests.heavy.bar_celery_suite FOLDER`, where FOLDER is the unpacked source of the Celery that is installed
(`pip download --no-binary :all: --no-deps celery==5.7.0`). pytest-timeout and pytest-rerunfailures must be importable. It prints the tests
that pass on the stock app and not on ours, and exits with 1 if there are any. It takes about twenty minutes for each app.

Three things of their suite are changed in a copy: the worker consumes the queue `celery` only; the check that an app has no other queue is
left out, because ours has `jobs` as well; and where a test asks whether the backend's URL begins with `redis`, the answer is yes: ours is a
subclass of that one. Of our settings `task_track_started` is off, because one of their tests does not expect the state STARTED.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import celery.contrib.pytest
import celery.contrib.testing.app as test_app
import celery.contrib.testing.tasks  # registers celery.ping, as the app of their fixtures does

from pipeline_jobs.settings import load_settings
from pipeline_jobs.worker.app import create_celery
from tests.servers import Server

ROOT = Path(__file__).resolve().parents[2]
FILES = ("test_canvas.py", "test_tasks.py", "test_inspect.py")
#: Set for the run on our app, whose plugin this module is.
OURS = "CELERY_SUITE_ON_OURS"
_CHECK = "if configured != {'celery'}:"
_BACKEND = "manager.app.conf.result_backend.startswith"
_PARAMETERS = """

@pytest.fixture(scope="session")
def celery_worker_parameters():
    return {"queues": ["celery"]}
"""


@contextmanager
def our_app(**options: Any) -> Iterator[Any]:
    """In the place of the app that Celery's fixtures make."""
    url = os.environ["TEST_BROKER"]
    app = create_celery(
        load_settings({"PIPELINE_REDIS_URL": url, "PIPELINE_DATA_DIR": os.environ["PIPELINE_DATA_DIR"], "PIPELINE_SECRET_KEY": "key"})
    )
    ours = {name: value for name, value in options.items() if name not in ("enable_logging", "use_trap", "parameters", "result_backend")}
    app.conf.update({**test_app.DEFAULT_TEST_CONFIG, **ours, "result_backend": app.conf.result_backend})
    app.conf.update({"task_default_queue": "celery", "task_create_missing_queues": True, "worker_hijack_root_logger": False})
    for task in app.tasks.values():
        # Shared tasks took it from our settings as the app was made.
        task.track_started = False
    yield app


def pytest_configure() -> None:
    celery.contrib.pytest._create_app = our_app


def run(source: Path, ours: bool) -> dict[str, str]:
    """:return: of each test `passed`, `failed` or `skipped`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(source / "t", folder / "t")
        shutil.copy(source / "pyproject.toml", folder)
        conftest = folder / "t" / "integration" / "conftest.py"
        text = conftest.read_text("utf-8")
        assert _CHECK in text
        conftest.write_text(text.replace(_CHECK, "if False:") + _PARAMETERS, "utf-8")
        if ours:
            for file in FILES:
                path_of = folder / "t" / "integration" / file
                path_of.write_text(path_of.read_text("utf-8").replace(_BACKEND, '"redis://".startswith'), "utf-8")
        server = Server(folder / "server", appendfsync="everysec").start()
        report = folder / "report.xml"
        path = os.pathsep.join(filter(None, [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]))
        env = {
            **os.environ, "TEST_BROKER": server.url, "TEST_BACKEND": server.url, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port),
            "PYTHONPATH": path, "PIPELINE_DATA_DIR": str(folder / "data"),
        }  # fmt: skip
        plugin = ["-p", "tests.heavy.bar_celery_suite"] if ours else []
        command = [sys.executable, "-m", "pytest", *plugin, "-p", "no:cacheprovider", "-q", "--timeout=120", f"--junitxml={report}"]
        try:
            subprocess.run([*command, *(f"t/integration/{file}" for file in FILES)], cwd=folder, env=env, check=False)
        finally:
            server.stop()
        return {f"{case.get('classname')}::{case.get('name')}": _became(case) for case in ET.parse(report).iter("testcase")}


def _became(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def main(source: Path) -> None:
    ours, stock = run(source, ours=True), run(source, ours=False)
    worse = sorted(test for test, became in stock.items() if became == "passed" and ours.get(test) != "passed")
    for name, results in (("stock", stock), ("ours", ours)):
        counts = {word: list(results.values()).count(word) for word in ("passed", "failed", "skipped")}
        print(name, counts, flush=True)
    print("pass on the stock app and not on ours:", *worse or ["none"], sep="\n  ")
    sys.exit(bool(worse))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
