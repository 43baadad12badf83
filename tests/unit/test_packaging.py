"""What is installed: the lock files fit setup.cfg, name no index, and everything that is imported is asked for."""

from __future__ import annotations

import configparser
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("run", "test", "exporter")
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
    assert names(configured["options"]["install_requires"]) - pins("run").keys() == set()
    assert names(configured["options.extras_require"]["test"]) - pins("test").keys() == set()


def test_tests_use_the_versions_that_run() -> None:
    run, test = pins("run"), pins("test")
    assert {name: (versions, test.get(name)) for name, versions in run.items() if test.get(name) != versions} == {}


def test_the_built_in_pipeline_is_found_by_its_entry_point() -> None:
    found = {entry_point.name: entry_point.value for entry_point in entry_points(group="pipeline_jobs.pipelines")}
    assert found["media"] == "pipeline_jobs.media.pipeline"
