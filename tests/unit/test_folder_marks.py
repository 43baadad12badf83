"""What a stage gave comes back in another folder, whatever its texts say; and what releases before this one kept does, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.jobs.folder_marks import with_folder, without_folder

#: Of the run that keeps, and of the one that is given it: their own names look like marks.
HERE, THERE = Path('/w/@WORKDIR@/a"b.1'), Path("/w/@WORKDIR\x01/c.2")
pieces = st.sampled_from(["@WORKDIR@", "@WORKDIR", "@", "\x01", "\\u0001", "\\", '"', "/", "x", "é", str(HERE)])
texts = st.lists(pieces, max_size=8).map("".join)


@given(texts, texts)
def test_any_text_comes_back_with_the_folder_of_the_run(name: str, text: str) -> None:
    kept = without_folder({name: [text, {"n": 1}]}, HERE)
    assert with_folder(kept, THERE) == {name.replace(str(HERE), str(THERE)): [text.replace(str(HERE), str(THERE)), {"n": 1}]}


def test_what_was_kept_before_is_read() -> None:
    assert with_folder('{"path":"@WORKDIR@/film","n":"@WORKDIR"}', Path("/w/j.2")) == {"path": "/w/j.2/film", "n": "@WORKDIR"}


def test_what_is_no_json_is_not_kept() -> None:
    with pytest.raises(InvalidInput):
        without_folder({"x": {1, 2}}, HERE)
