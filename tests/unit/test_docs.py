"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline_jobs.settings import Settings, env_names
from pipeline_jobs.settings_doc import render

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
NAMED = re.compile(r"`((?:docs|tests|examples|pipeline_jobs|benchmarks|requirements)/[\w/.-]*\w/?)(?:::\w+)?`")
LINK = re.compile(r"\]\(([^)#:\s]*)(#[^)\s]+)?\)")


def test_the_page_of_settings_is_up_to_date() -> None:
    assert (DOCS / "settings.md").read_text() == render(), "run `make docs`"


@pytest.mark.parametrize("name", sorted(env_names()))
def test_every_setting_says_what_it_is(name: str) -> None:
    purpose = Settings.model_fields[env_names()[name]].description
    assert purpose is not None
    assert purpose.endswith(".")
    assert len(purpose) > 15
    assert f"| `{name}` |" in render()


def test_a_setting_is_shown_with_its_default_and_limits() -> None:
    rows = {line.split("`")[1]: [cell.strip() for cell in line.split(" | ")] for line in render().splitlines() if line.startswith("| `")}
    assert rows["PIPELINE_HTTP_PORT"][1:3] == ["`8000`", "integer >= 0, <= 65535"]
    assert rows["ENABLE_PIPELINE_JOB_QUEUE"][1:3] == ["`0`", "0, 1"]
    assert rows["PIPELINE_LEASE_SECONDS"][1:3] == ["`60`", "number > 0"]
    assert rows["CELERY_BROKER_URL"][1] == "empty"


def test_the_readme_has_settings_that_there_are_with_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) > 3
    for name, default in rows:
        assert f"| `{name}` | `{default}` |" in render()


def test_the_readme_has_metrics_that_there_are() -> None:
    section = (ROOT / "README.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    code = (ROOT / "pipeline_jobs/operation/metrics.py").read_text()
    names = set(re.findall(r"`(pipeline_\w+?)(?:_total)?[`{]", section))
    assert {"pipeline_jobs_created", "pipeline_jobs_completed", "pipeline_job_duration_seconds"} < names
    assert not {name for name in names if f'"{name}"' not in code}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_pages_and_headings_that_there_are(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text("utf-8")):
        there = page.parent / path if path else page
        assert there.exists(), f"{path} of {page.name}"
        assert not anchor or anchor in anchors(there), f"{path}{anchor} of {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    for name in NAMED.findall(page.read_text("utf-8")):
        assert (ROOT / name).exists(), f"{name} of {page.name}"
