"""What is installed: the lock files fit setup.cfg, name no index, and everything that is imported is asked for."""

from __future__ import annotations

import configparser
import re
from importlib.metadata import entry_points, packages_distributions, requires
from pathlib import Path

import pytest

from pipeline_jobs.media.pipeline import MEDIA
from tests.unit.test_layers import begins, table

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("run", "test", "exporter", "image", "build", "chart")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)( ; [^\\]+)? \\$")


def configuration() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def names(requirements: str) -> set[str]:
    """Normalised names of the projects that a field of setup.cfg asks for."""
    lines = [line.strip() for line in requirements.splitlines()]
    return {re.split(r"[\[<>=;!~ ]", line)[0].lower().replace("_", "-") for line in lines if line and not line.startswith("#")}


def pins(lock: str) -> dict[str, set[str]]:
    """Versions by project; more than one where they depend on the Python version."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements" / f"{lock}.lock").read_text().splitlines():
        if match := PIN.match(line):
            found.setdefault(match[1].lower().replace("_", "-"), set()).add(match[2])
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_holds_pins_with_hashes_and_names_no_index(lock: str) -> None:
    lines = (ROOT / "requirements" / f"{lock}.lock").read_text().splitlines()
    odd = [line for line in lines if not (PIN.match(line) or re.match(r"^    (--hash=sha256:[0-9a-f]{64}|#)", line))]
    assert odd == []
    assert "://" not in "\n".join(lines)


def test_the_lock_files_have_everything_that_is_asked_for() -> None:
    configured = configuration()
    extras = configured["options.extras_require"]
    run = names("".join((configured["options"]["install_requires"], extras["media"], extras["local"], extras["history"])))
    # An extra may bring another one.
    assert run - {"pipeline-jobs"} - pins("run").keys() == set()
    assert names(extras["test"]) - pins("test").keys() == set()


def test_tests_use_the_versions_that_run() -> None:
    run, test = pins("run"), pins("test")
    assert {name: (versions, test.get(name)) for name, versions in run.items() if test.get(name) != versions} == {}


def test_the_built_in_pipeline_is_found_by_its_entry_point() -> None:
    found = {entry_point.name: entry_point.value for entry_point in entry_points(group="pipeline_jobs.pipelines")}
    assert found["media"] == "pipeline_jobs.media.pipeline"


#: Where modules may import what an extra brings.
PLACES_OF_EXTRAS = {
    "media": ("media",),
    "whisper": ("media",),
    "local": ("up", "operation.flower_columns", "operation.flower_guard"),
    "otel": ("tracing.otel",),
    "gdrive": ("files.google_client",),
    "meaning": ("meaning",),
    "history": ("history",),
}


def test_only_the_built_in_pipeline_and_the_local_stack_import_what_an_extra_brings() -> None:
    configured = configuration()
    base, extras = configured["options"]["install_requires"], configured["options.extras_require"]
    installed = with_what_they_need(names(base))
    for name, (_, libraries) in table().items():
        allowed = set(installed)
        for extra, places in PLACES_OF_EXTRAS.items():
            if any(begins(name, place) for place in places):
                allowed |= with_what_they_need(names(extras[extra]))
        assert {library for library in libraries if not projects(library) & allowed} == set(), name


def projects(module: str) -> set[str]:
    """What brings a module: a project of its name, where it is not installed."""
    return {project.lower().replace("_", "-") for project in BRINGS.get(module, (module,))}


def with_what_they_need(asked: set[str]) -> set[str]:
    """These projects, and all that come with them."""
    found: set[str] = set()
    while asked:
        found |= asked
        asked = {name for project in asked if project in INSTALLED for name in names("\n".join(needs(project)))} - found
    return found


#: By a module's name. To find it out reads the folders of all that is installed.
BRINGS = packages_distributions()
INSTALLED = {name.lower().replace("_", "-") for all_of in BRINGS.values() for name in all_of}


def needs(project: str) -> list[str]:
    return [one for one in requires(project) or () if "extra ==" not in one]


def test_the_media_pipeline_looks_for_what_its_stages_import() -> None:
    extras = configuration()["options.extras_require"]
    imported = {library for name, (_, libraries) in table().items() if begins(name, "media") for library in libraries}
    brought = {library for library in imported if projects(library) & names(extras["media"])}
    # Either speech model will do; lxml_html_clean is what sumy's parser imports.
    assert set(MEDIA.requires) == brought - {"moonshine_voice"} | {"lxml_html_clean"}
