"""The next version, for tests: with `PIPELINE_MODULES=tests.acceptance.newer` a process knows a schema that this version does not."""

from __future__ import annotations

from pipeline_jobs import pipelines
from pipeline_jobs.job import SCHEMA
from pipeline_jobs.store import store

MODULE = "tests.acceptance.newer"
NEXT_SCHEMA = SCHEMA + 1

if __name__ == MODULE:
    vars(store)["SCHEMA"] = vars(pipelines)["SCHEMA"] = NEXT_SCHEMA
