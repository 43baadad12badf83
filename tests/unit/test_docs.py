"""The documents say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_jobs.settings import Settings, env_names
from pipeline_jobs.settings_doc import render

DOCS = Path(__file__).resolve().parents[2] / "docs"


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
