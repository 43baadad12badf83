"""`python call_all.py PLAN` in the environment of the clients: what `tests.clients.steps` says, with the Python client.

Prints the operations whose answers were parsed, nothing of them lost."""

from __future__ import annotations

import inspect
import json
import re
import sys
import time
import typing
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from pipeline_jobs_client import PipelineJobs, Refused, generated, verify_webhook
from pipeline_jobs_client.generated.models import Problem
from pipeline_jobs_client.generated.types import File, Unset
from standardwebhooks.webhooks import WebhookVerificationError

PLAN = json.loads(Path(sys.argv[1]).read_text())
JOBS = PipelineJobs(PLAN["url"], PLAN["key"])
FOLDER = Path(generated.__file__).parent / "api"
MODULES = {file.stem: f"pipeline_jobs_client.generated.api.{file.parent.name}.{file.stem}" for file in FOLDER.glob("*/*.py")}
KEPT: dict[str, Any] = {"receiver": PLAN["receiver"]}


def filled(value: Any) -> Any:
    """With what was kept in the place of its `$NAME`."""
    if isinstance(value, dict):
        return {name: filled(one) for name, one in value.items()}
    return KEPT[value[1:]] if isinstance(value, str) and value.startswith("$") else value


def part(answer: Any, path: str) -> Any:
    for name in path.split("."):
        answer = answer[name]
    return answer


def call(step: dict[str, Any]) -> None:
    operation = import_module(MODULES[step["operation"]]).sync_detailed
    options = {**filled(step["path"]), **filled(step["query"])}
    options |= {name.lower().replace("-", "_"): value for name, value in step["headers"].items()}
    if step["content"] is not None:
        options["body"] = File(payload=BytesIO(step["content"].encode()))
    elif step["body"] is not None:
        asked = inspect.signature(operation).parameters["body"].annotation
        kind = next(one for one in typing.get_args(asked) or (asked,) if one is not Unset)
        options["body"] = kind.from_dict(filled(step["body"]))
    while True:
        answer = operation(client=JOBS.client, **options)
        if all(part(json.loads(answer.content), path) == value for path, value in step["until"].items()):
            break
        time.sleep(0.1)
    check(step, answer)
    KEPT.update({name: part(json.loads(answer.content), path) for name, path in step["keep"].items()})


def check(step: dict[str, Any], answer: Any) -> None:
    said = (step["operation"], answer.status_code, answer.content[:2000])
    if step["refused"]:
        assert (answer.status_code, isinstance(answer.parsed, Problem)) == (step["refused"], True), said
        return
    assert answer.status_code < 300, said
    if not answer.content:
        return
    assert answer.parsed is not None, said
    assert not isinstance(answer.parsed, Problem), said
    if hasattr(answer.parsed, "to_dict"):
        assert answer.parsed.to_dict() == json.loads(answer.content), (*said, answer.parsed)


def wrapped() -> None:
    """What the client does besides: upload, follow, wait, refuse, verify."""
    # First: it is good for five minutes.
    assert verify_webhook(PLAN["secret"], PLAN["headers"], PLAN["body"]) == {"type": "job.completed"}
    upload = JOBS.upload(PLAN["film"], tenant_id="acme", piece=100_000)
    assert upload.complete
    job = JOBS.create(url=upload.url, pipeline="media", quality="144p", tenant_id="acme")
    numbers, last = [], ""
    for event in JOBS.follow(job.job_id):
        numbers.append(event.seq)
        last = event.type_
    assert (numbers, str(last)) == (list(range(1, len(numbers) + 1)), "job.completed"), (numbers, last)
    ended = JOBS.wait(job.job_id, seconds=60)
    assert ended.status == "completed", ended
    link = re.search(r"/pipeline/artifacts/([^\"?]+)\?signature=([^\"&]+)", json.dumps(ended.to_dict()))
    assert link, ended
    KEPT.update(film=job.job_id, artifact=link[1], signature=link[2])
    slow = JOBS.create(pipeline="sleep", params={"seconds": 0}, run_at="2099-01-01T00:00:00Z", tenant_id="acme")
    for wrong, wanted in (
        (lambda: JOBS.create(pipeline="nope"), Refused),
        (lambda: list(JOBS.follow("job_none")), Refused),
        (lambda: JOBS.wait(slow.job_id, seconds=0.5), TimeoutError),
        (lambda: verify_webhook(PLAN["secret"], PLAN["headers"], PLAN["body"] + " "), WebhookVerificationError),
    ):
        try:
            wrong()
        except wanted:
            continue
        raise AssertionError(f"no {wanted.__name__}")


with JOBS:
    wrapped()
    for one in PLAN["steps"]:
        call(one)
print(json.dumps([step["operation"] for step in PLAN["steps"]]))
