"""What clients send stays between them and the store: it is in no log, metric, page of Flower or message, and forges no line of a log."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
import requests

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from pipeline_jobs.states import JobStatus
from tests.stack import Api, MakeStack, Stack
from tests.unit.media.fakes import FakeSite
from tests.waiting import until

FORGED = "2026-11-24 00:00:00 [critical ] forged"


@pytest.fixture
def site() -> Iterator[FakeSite]:
    site = FakeSite()
    yield site
    site.close()


def canary(field: str) -> str:
    return f"canary-{field}-7f3a"


def ends(stack: Stack, job_id: str) -> None:
    stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, seconds=90)


def flowers_pages(flower: Api, ids: list[str]) -> str:
    paths = [
        "/tasks",
        "/workers",
        "/broker",
        "/api/tasks?limit=100",
        "/api/workers",
        "/metrics",
        *(f"/api/task/info/{job_id}" for job_id in ids),
    ]
    paths += [f"/task/{job_id}" for job_id in ids]
    return "\n".join(flower.get(path).text for path in paths)


def test_canaries_in_every_field_are_found_nowhere(make_stack: MakeStack, site: FakeSite) -> None:
    stack = make_stack()
    _, key = KeyStore(stack.client.store).create(ALL, Role.ADMIN, actor="test")
    api, flower = stack.api(), stack.flower()
    headers = {"Authorization": f"Bearer {key}"}
    until(lambda: stack.client.store.client.pubsub_numpat(), "Flower to listen")

    def make(body: dict[str, Any], **more: str) -> str:
        answer = api.post("/pipeline/jobs", body, headers={**headers, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["job_id"])

    told = {"metadata": {"x": canary("metadata")}, "tags": [canary("tag")]}
    upload = requests.post(
        f"{api.url}/pipeline/uploads", data=canary("upload").encode(), timeout=60,
        headers={
            **headers, "Content-Type": "application/offset+octet-stream",
            "Upload-Metadata": f"filename {base64.b64encode(canary('filename').encode()).decode()}",
        },
    ).json()  # fmt: skip
    ids = [
        make(
            {"pipeline": "sleep", "params": {"echo": canary("param"), "steps": 3, "seconds": 0.3}, **told},
            **{"Idempotency-Key": canary("idem")},
        ),
        make({"pipeline": "sleep", "params": {"fail": f"{canary('error')}\n{FORGED}"}, **told}),
        make({"url": site.url(f"/a.mp4?token={canary('url')}"), "max_attempts": 1, **told}),
        make({"url": upload["url"], "max_attempts": 1, **told}),
    ]
    messages = json.dumps(stack.client.store.client.lrange("jobs", 0, -1))
    stack.worker("jobs", "-E", "--autoscale=2,1")
    waiting = json.dumps(stack.client.store.client.lrange("jobs", 0, -1))
    for job_id in ids:
        ends(stack, job_id)
    # What is refused is not said again in a log either.
    for text in (f"Bearer pjk_0123456789abcdef_{canary('wrongkey'):x<43}", f"Bearer {canary('nokey')}"):
        requests.get(f"{api.url}/pipeline/jobs", headers={"Authorization": text}, timeout=60)
    api.post("/pipeline/jobs", {"url": f"http://user:{canary('password')}@x/"}, headers=headers)
    api.post("/pipeline/jobs", {"pipeline": "sleep", canary("field"): 1}, headers=headers)
    api.get(f"/pipeline/jobs?{canary('query')}=1", headers=headers)
    until(
        lambda: (told := flower.get(f"/api/task/info/{ids[-1]}")).ok and told.json().get("state") in ("SUCCESS", "FAILURE"),
        "Flower to know the end",
    )
    places = {
        "messages": messages + waiting,
        "metrics": api.get("/metrics?scope=all", headers=headers).text,
        "Flower": flowers_pages(flower, ids),
        **{f"log of {name}": stack.log(name) for name in ("api", "jobs", "flower")},
        # A tag is an index of its tenant's.
        "names of keys": "\n".join(key for key in stack.client.store.client.scan_iter(count=1000) if canary("tag") not in key),
    }
    secret = key.split("_", 2)[2]
    found = {
        (place, word)
        for place, text in places.items()
        for word in {*re.findall(r"canary-[a-z]+-7f3a", text), *([secret] * (secret in text))}
    }
    # A failed job's error is told to operators too: what a pipeline says there is for them.
    assert found - {("Flower", canary("error")), ("log of jobs", canary("error")), ("log of flower", canary("error"))} == set()


def test_no_text_of_a_client_begins_a_line_of_a_log(make_stack: MakeStack) -> None:
    stack = make_stack()
    _, api = stack.together(partial(stack.worker, "jobs", "--autoscale=2,1"), stack.api)
    texts = (f"x\n{FORGED}", f"x\r{FORGED}", f"x\r\n{FORGED}", f"x\u2028{FORGED}", f"x\x1b[2J{FORGED}")
    for text in texts:
        ends(stack, api.post("/pipeline/jobs", {"pipeline": "sleep", "params": {"fail": text}, "metadata": {"m": text}}).json()["job_id"])
        assert api.post("/pipeline/jobs", {"pipeline": "sleep", "tenant_id": text}).status_code == 422
        assert api.post("/pipeline/jobs", {"pipeline": text}).status_code == 422
        api.get("/pipeline/jobs", params={"tenant_id": text, "tag": text})
        api.get(f"/pipeline/jobs/{quote(text)}")
    for name in ("api", "jobs"):
        lines = re.split(r"[\r\n\u2028]", stack.log(name))
        assert [line for line in lines if line.startswith((FORGED, "2026-11-24 00:00:00"))] == []
        assert "\x1b[2J" not in stack.log(name)
