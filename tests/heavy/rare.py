"""A pipeline that only some workers know (`PIPELINE_MODULES=...,tests.heavy.rare`): `rare` is `sleep` by another name."""

from __future__ import annotations

from dataclasses import replace

from examples.demo_pipelines import SLEEP
from pipeline_jobs.pipelines import register

MODULE = "tests.heavy.rare"
RARE = register(replace(SLEEP, name="rare"))
