"""The search by words, which every transcript has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline_jobs.meaning.searching import by_words

SAID = [
    {"start": 0.0, "end": 2.0, "text": "The harbour opens at six."},
    {"start": 2.0, "end": 4.0, "text": "Ships come into the harbour."},
    {"start": 4.0, "end": 6.0, "text": "The gulls are loud."},
]


def texts(query: str) -> list[str]:
    return [passage["text"] for _, passage in by_words(SAID, query)]


def test_passages_with_more_and_rarer_words_of_the_query_come_first() -> None:
    assert texts("SIX harbour!") == ["The harbour opens at six.", "Ships come into the harbour."]
    assert texts("the gulls")[0] == "The gulls are loud."
    assert by_words(SAID, "gulls")[0][0] == 1.0


def test_what_has_none_of_the_words_is_no_match() -> None:
    assert texts("submarine") == texts("?!") == texts("har") == []
    assert by_words([], "x") == []


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_model_of_meaning_starts_no_thread_that_tells_others_where_it_runs() -> None:
    """ONNX Runtime's own import starts one."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    told = "import os, pipeline_jobs.meaning.embedder; print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run(
        [sys.executable, "-c", told], env={**environment, "OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == 1
