"""`docs/howto/troubleshooting.md`: each code of an error has a row with its cause and what to do, and no row is of a code that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_api_doc import codes_in_code, table, why_jobs_fail

PAGE = (Path(__file__).resolve().parents[2] / "docs/howto/troubleshooting.md").read_text("utf-8")
REFUSED, FAILED, SAID = (f"\n{part}" for part in PAGE.split("\n## ")[1:])


def codes(part: str) -> list[str]:
    return [row[0].strip("`") for row in table(part, "code")]


def test_every_code_of_a_refused_request_has_its_row() -> None:
    assert codes(REFUSED) == sorted({code for _, code in codes_in_code()})


def test_every_code_of_a_failed_job_has_its_row() -> None:
    assert codes(FAILED) == sorted(why_jobs_fail())


@pytest.mark.parametrize(("part", "head"), [(REFUSED, "code"), (FAILED, "code"), (SAID, "message")], ids=["refused", "failed", "said"])
def test_a_row_says_the_cause_and_what_to_do(part: str, head: str) -> None:
    rows = table(part, head)
    assert len(rows) > 3
    for row in rows:
        assert len(row) == 3, row
        assert all(len(cell) > 15 and cell.endswith(".") for cell in row[1:]), row
