"""Each operation of each client is called once against a running stack, and its answer parses (`make clients-test`)."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from tests.clients.flaky import flaky
from tests.clients.steps import STEPS
from tests.clients.toolchain import PYTHON, PYTHON_CLIENT, ROOT, node
from tests.receiver import Receiver
from tests.stack import MakeStack, Stack
from tests.waiting import until

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
RUNNERS: dict[str, Callable[[], Sequence[str]]] = {
    "python": lambda: (str(PYTHON), "-W", "error", str(ROOT / "tests/clients/call_all.py")),
    "typescript": lambda: node(str(ROOT / "tests/clients/call_all.mjs")),
}

#: Seconds for what takes some twenty: a machine may be busy with other things.
PATIENCE = 1800


def signed(body: str) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg_1", now, body)
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(now.timestamp())), "Webhook-Signature": signature}


@pytest.fixture
def stack(make_stack: MakeStack, tmp_path: Path) -> Stack:
    return make_stack(
        enable_run_api=True,
        webhook_allow_private=True,
        webhook_seconds=0.5,
        history_url=f"sqlite:///{tmp_path}/history.db",
        modules="examples.demo_pipelines,examples.nightly_report",
    )


@pytest.mark.parametrize("language", sorted(RUNNERS))
def test_every_operation_is_called_and_its_answer_parses(stack: Stack, tmp_path: Path, language: str) -> None:
    stack.together(stack.maintenance, lambda: stack.worker("jobs", "--autoscale=2,1"))
    _, key = KeyStore(stack.client.store).create(ALL, Role.ADMIN, actor="test")
    api = stack.api()
    until(lambda: api.alive("/health/ready"), "beat's first duty")
    plan, body = tmp_path / "plan.json", json.dumps({"type": "job.completed"})
    with Receiver() as receiver:
        given = {"url": api.url, "key": key, "receiver": receiver.url(), "film": str(ROOT / "samples/welcome.mp4")}
        webhook = {"secret": SECRET, "headers": signed(body), "body": body}
        plan.write_text(json.dumps({**given, **webhook, "steps": [asdict(step) for step in STEPS]}))
        called = run(RUNNERS[language](), plan)
    operations = [told["operationId"] for item in api.get("/openapi.json").json()["paths"].values() for told in item.values()]
    assert len(operations) > 70
    assert set(called) == set(operations)
    print(f"{language}: {len(operations)} operations called, every answer parsed")


def run(command: Sequence[str], plan: Path) -> list[str]:
    done = subprocess.run(
        [*command, str(plan)], env={"PYTHONPATH": str(PYTHON_CLIENT)}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-5000:]
    called: list[str] = json.loads(done.stdout)
    return called


@pytest.mark.parametrize("language", sorted(RUNNERS))
def test_what_the_page_of_a_client_shows_works(stack: Stack, tmp_path: Path, language: str) -> None:
    stack.worker("jobs", "--autoscale=2,1")
    shown_works(stack.api().url, tmp_path, language)


@pytest.mark.parametrize("language", sorted(RUNNERS))
def test_it_works_behind_a_proxy_that_stumbles(stack: Stack, tmp_path: Path, language: str) -> None:
    stack.worker("jobs", "--autoscale=2,1")
    with flaky(stack.api().url) as (url, stumbled):
        shown_works(url, tmp_path, language)
    kinds = {"POST /pipeline/jobs", "GET /pipeline/jobs/JOB", "GET /pipeline/jobs/JOB/events", "PATCH /pipeline/uploads/", "prefer"}
    assert set(stumbled) == kinds


def shown_works(url: str, tmp_path: Path, language: str) -> None:
    page = (ROOT / "clients" / language / "README.md").read_text("utf-8")
    sample = re.findall(r"```(?:python|ts)\n(.*?)```", page, re.DOTALL)[0]
    sample = sample.replace("http://127.0.0.1:8000", url).replace('"talk.mp4"', json.dumps(str(ROOT / "samples/welcome.mp4")))
    file = tmp_path / ("sample.py" if language == "python" else "sample.ts")
    if language == "typescript":
        sample = sample.replace('"pipeline-jobs-client"', json.dumps(str(ROOT / "clients/typescript/dist/index.js")))
    file.write_text(sample)
    command = (str(PYTHON), "-W", "error") if language == "python" else node("--no-warnings")
    done = subprocess.run(
        [*command, str(file)], env={"PYTHONPATH": str(PYTHON_CLIENT)}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-5000:]
    assert "completed" in done.stdout
