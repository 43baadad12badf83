"""The contract by schemathesis: requests from the OpenAPI document against the whole stack, keys on, all checks and phases, three seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from tests.stack import ROOT, MakeStack, Stack

SEEDS = (1, 2, 3)
#: In all; each seed has its third.
REQUESTS = int(os.environ.get("CONTRACT_REQUESTS", "20000"))
#: A seed's requests for each example that an operation may have: the other phases take theirs besides. Measured, with room.
REQUESTS_PER_EXAMPLE = 70

#: Of all seeds, for the sum at the end.
_generated: list[int] = []


def run(stack: Stack, url: str, key: str, seed: int, examples: int, folder: Path) -> dict[str, Any]:
    """schemathesis's own report of a run."""
    report = folder / f"report-{seed}.json"
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"), "--config-file", "tests/heavy/schemathesis.toml",
            "run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {key}",
            "--checks", "all", "--exclude-checks", "use_after_free,ignored_auth,allow_header_conformance",  # tests/contract.py has them
            "--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure",
            "--seed", str(seed), "--max-examples", str(examples), "--report", "json", "--report-json-path", str(report),
        ],
        cwd=ROOT, env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.contract", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=3600, check=False,
    )  # fmt: skip
    assert report.exists(), done.stdout[-5000:] + done.stderr[-5000:]
    found: dict[str, Any] = json.loads(report.read_text())
    assert done.returncode == 0, done.stdout[-20_000:]
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_every_answer_is_as_the_document_says(make_stack: MakeStack, tmp_path: Path, seed: int) -> None:
    stack = make_stack(run_timeout_seconds=0.2)
    stack.maintenance()
    stack.worker("jobs", "--autoscale=2,1")
    # Before the API asks for the first time whether there is one: it remembers a "no" for a second.
    _, key = KeyStore(stack.client.store).create(ALL, Role.ADMIN, actor="test")
    api = stack.api()
    report = run(stack, api.url, key, seed, max(5, REQUESTS // len(SEEDS) // REQUESTS_PER_EXAMPLE), tmp_path)
    cases = report["test_cases"]
    _generated.append(cases["generated"])
    print(json.dumps({"seed": seed, **cases, "operations": report["operations"]["tested"], "seconds": round(report["running_time"], 1)}))
    assert (report["failures"], report["errors"]) == ([], [])
    assert report["operations"]["tested"] == report["operations"]["total"]
    # A 500 is logged under this name, whoever looked at the answer.
    assert "request_failed" not in stack.log("api")


def test_there_were_enough_requests() -> None:
    print(json.dumps({"requests": sum(_generated)}))
    assert sum(_generated) >= REQUESTS
