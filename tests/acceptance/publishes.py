"""A pipeline that publishes a note, for tests: `PIPELINE_MODULES=tests.acceptance.publishes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.pipelines import Pipeline, Stage, register

MODULE = "tests.acceptance.publishes"
TEXT = "a note\n"


def publish(context: JobContext) -> Mapping[str, Any]:
    """Publish a note of one line."""
    note = context.workdir / "note.txt"
    note.write_text(TEXT)
    return {"link": context.publish(note, note.name)}


if __name__ == MODULE:
    register(Pipeline("note", stages=(Stage("publish", publish),), needs_url=False, description="Publishes a note."))
