"""The documents say what the code does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from pipeline_jobs.settings import Settings, env_names
from tests.cases import each
from tests.settings_page import render

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
PAGES = [name for name in FILES if name.endswith(".md")]
#: In code, what may name a file of ours: a comment, or a text between backticks.
SAYS = re.compile(r"`([^`]*)`|(?:#|--) (.*)")
#: A link of a page: its path, its anchor.
LINK = re.compile(r"\]\(([^)#:\s]*)(#[^)\s]+)?\)")
#: A file that a text names.
NAMED = re.compile(r"(?<![\w/.-])[\w./-]*\w\.(?:py|lua|md|yaml|cfg|lock|sh|mjs)\b")
#: Files that a page has its reader write.
WRITTEN = {"my_pipelines.py", "shop.py"}


def test_the_page_of_settings_is_up_to_date() -> None:
    assert (DOCS / "settings.md").read_text() == render(), "run `make docs`"


@each("name", sorted(env_names()))
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


@each("name", [name for name in FILES if name.endswith((".md", ".py", ".lua"))])
def test_every_file_that_a_text_names_is_there(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    if name == "docs/evidence/first_guess.md":
        # A table of guesses keeps the names that its readers saw.
        lines = [line for line in lines if not line.startswith("|")]
    said = lines if name in PAGES else ["".join(found) for line in lines for found in SAYS.findall(line)]
    named = {found[0] for line in said for found in NAMED.finditer(line)} - WRITTEN
    ends = {"/" + file for file in FILES}
    assert {one for one in named if not any(end.endswith("/" + re.sub(r"^(\.\.?/)+", "", one)) for end in ends)} == set()


@each("page", PAGES)
def test_every_setting_and_target_that_a_page_names_is_one(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    elsewhere = {"PIPELINE_API_KEY", "PIPELINE_FAILPOINTS"}
    assert set(re.findall(r"\b(?:ENABLE_)?PIPELINE_[A-Z_]*[A-Z]\b(?!_)", text)) <= {*env_names(), *elsewhere}


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


@each("name", PAGES)
def test_links_lead_to_pages_and_headings_that_there_are(name: str) -> None:
    page = ROOT / name
    for path, anchor in LINK.findall(page.read_text("utf-8")):
        there = page.parent / path if path else page
        assert there.exists(), f"{path} of {page.name}"
        assert not anchor or anchor in anchors(there), f"{path}{anchor} of {page.name}"


def test_every_page_is_in_the_contents_of_the_site() -> None:
    """`make site` would say it, minutes later."""
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = {found[0] for found in re.finditer(r"\S+\.md$", site, re.MULTILINE)}
    there = {name.removeprefix("docs/") for name in PAGES if name.startswith("docs/")}
    assert there - listed - {"evidence/first_guess.md"} == set()
