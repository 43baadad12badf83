"""Names that users write down and that stored messages hold: each leads to something."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pipeline_jobs
from pipeline_jobs import exceptions, pipelines
from pipeline_jobs.context import JobContext
from pipeline_jobs.settings import Settings
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.tasks import beat_schedule
from tests.cases import each

ROOT = Path(__file__).resolve().parents[2]
#: What users and stored messages hold, whatever our own texts say: an import, a Celery setting, the class of an error in a result's meta.
PROMISED = (
    "pipeline_jobs.context.JobContext", "pipeline_jobs.exceptions.StageError", "pipeline_jobs.job.NewJob", "pipeline_jobs.job.Job",
    "pipeline_jobs.pipelines.Pipeline", "pipeline_jobs.pipelines.Stage", "pipeline_jobs.pipelines.RetryPolicy",
    "pipeline_jobs.pipelines.register", "pipeline_jobs.cli:jobs", "pipeline_jobs.up", "pipeline_jobs.media.pipeline",
    "pipeline_jobs.worker.backend:JobBackend", "pipeline_jobs.worker.prefork:TaskPool", "pipeline_jobs.worker.autoscale:Autoscaler",
    "pipeline_jobs.worker.result.JobFailed", "pipeline_jobs.worker.app.create_celery", "pipeline_jobs.serve.create_api",
    "pipeline_jobs.web.gunicorn_conf",
)  # fmt: skip
PROMISED_TASKS = {"pipeline_jobs.run_job", *(f"pipeline_jobs.maintenance.{tick}" for tick in ("fire", "purge", "reconcile", "rescue"))}
TASKS = {name for name in create_celery(Settings()).tasks if name.startswith("pipeline_jobs.")}
#: Keys of a WSGI environment and names of loggers: they look like modules and are none.
LABELS = {"pipeline_jobs.caller", "pipeline_jobs.request_id", "pipeline_jobs.stage", "pipeline_jobs.web"}

FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
#: Where every mention counts; in code all but its imports.
PAGES = re.compile(r".*\.(md|cfg|toml|yaml|lua)|Makefile|docker/.*|examples/.*|[a-z]+\.py|celery_app\.py|\.ci/run")
CODE = re.compile(r"pipeline_jobs/.*\.py")
NAME = re.compile(r"""(?<![\w/.-])pipeline_jobs(?:\.[A-Za-z_]\w*)+(?::\w+)?(?![\w{]|\.[{*"])""")
#: Checked by being imported.
IMPORTS = re.compile(r"^\s*(?:from|import) .*$", re.MULTILINE)
IMPORTED = re.compile(r"^\s*from (pipeline_jobs[\w.]*) import ([\w, ]+)$", re.MULTILINE)


def mentioned() -> dict[str, str]:
    """Each name, and a file that mentions it."""
    found = {}
    for file in FILES:
        if PAGES.fullmatch(file):
            text = (ROOT / file).read_text()
            imported = [f"{module}.{name.split()[0]}" for module, names in IMPORTED.findall(text) for name in names.split(",")]
            found.update(dict.fromkeys([*NAME.findall(text), *imported], file))
        elif CODE.fullmatch(file):
            found.update(dict.fromkeys(NAME.findall(IMPORTS.sub("", (ROOT / file).read_text())), file))
    return found


#: The client for Python is half made from the OpenAPI document (`make clients-test` imports it).
MENTIONED = {name: file for name, file in mentioned().items() if not name.startswith("pipeline_jobs_client")}


def reached(name: str) -> object:
    """What a dotted name leads to: a module, or what stands in one (`a.b:c` likewise)."""
    module, _, rest = name.partition(":")
    attributes = rest.split(".") if rest else []
    while True:
        try:
            value: object = import_module(module)
            break
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}.") or "." not in module:
                raise
            module, _, last = module.rpartition(".")
            attributes.insert(0, last)
    for attribute in attributes:
        value = getattr(value, attribute)
    return value


def test_the_scan_finds_what_it_should() -> None:
    assert {"pipeline_jobs.cli:jobs", "pipeline_jobs.web.gunicorn_conf", "pipeline_jobs.run_job"} <= MENTIONED.keys()
    assert {"pipeline_jobs.worker.prefork:TaskPool", "pipeline_jobs.worker.result", "pipeline_jobs.pipelines.Stage"} <= MENTIONED.keys()
    with pytest.raises(AttributeError):
        reached("pipeline_jobs.job.NoSuchThing")
    with pytest.raises(ModuleNotFoundError):
        reached("no_such_package.thing")


@each("name", sorted(MENTIONED.keys() - TASKS - LABELS))
def test_a_name_that_a_text_mentions_leads_to_something(name: str) -> None:
    assert reached(name) is not None, MENTIONED[name]


@each("name", PROMISED)
def test_a_name_that_users_and_messages_hold_stays(name: str) -> None:
    assert reached(name) is not None


def test_the_tasks_keep_their_names_and_beat_sends_those_that_there_are() -> None:
    assert PROMISED_TASKS <= TASKS
    assert {entry["task"] for entry in beat_schedule(Settings()).values()} <= TASKS


def test_every_entry_point_can_be_loaded() -> None:
    ours = [point for group in entry_points().groups for point in entry_points(group=group) if point.value.startswith("pipeline_jobs.")]
    assert {point.group for point in ours} == {"console_scripts", "celery.commands", "pipeline_jobs.pipelines"}
    assert all(point.load() is not None for point in ours)


def test_the_package_gives_what_a_pipeline_of_ones_own_needs() -> None:
    for name in ("Pipeline", "RetryPolicy", "Stage", "register"):
        assert getattr(pipeline_jobs, name) is getattr(pipelines, name)
    assert pipeline_jobs.JobContext is JobContext
    for name, error in inspect.getmembers(exceptions, inspect.isclass):
        if issubclass(error, BaseException):
            assert getattr(pipeline_jobs, name) is error
    for name in ("Mapping", "NoSuchThing", "_HOME"):
        with pytest.raises(AttributeError):
            getattr(pipeline_jobs, name)


def test_the_package_alone_imports_nothing_else() -> None:
    program = "import sys, pipeline_jobs; print(sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    # Without site (-S): what an environment's own start-up files import is not ours.
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.strip() == "['__main__', 'pipeline_jobs']"
