"""A pipeline whose stage lets no other thread of its process run: no word of ours reaches it, only its process can be killed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.pipelines import Pipeline, Stage, register


def hog(context: JobContext) -> Mapping[str, Any]:
    """A pattern that takes twice as long for each letter: for these, years, with the GIL held."""
    return {"found": bool(re.fullmatch(r"(a+)+b", "a" * 60))}


HOG = register(Pipeline("hog", (Stage("hog", hog),), needs_url=False))
