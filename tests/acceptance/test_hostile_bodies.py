"""Hostile bodies against the API as a process: none is answered 5xx, ends it, or keeps another tenant from being served.
`tests/heavy/bar_hostile_bodies.py` is the long form."""

from __future__ import annotations

from collections import Counter

import requests

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from tests.hostile_bodies import Hostiles
from tests.living import children
from tests.stack import MakeStack, Stack

#: What a process may grow by, whatever is sent to it.
GROWTH_BYTES = 150 * 2**20


def besiege(stack: Stack, count: int, seed: int) -> Counter[int]:
    """Send so many as an admin, who is let in everywhere. :return: how often each status was answered."""
    api = stack.api()
    assert stack.api_process is not None
    (worker,) = children(stack.api_process.pid)
    _, text = KeyStore(stack.client.store).create(ALL, Role.ADMIN, actor="test")
    _, other = KeyStore(stack.client.store).create("b", Role.SUBMIT, actor="test")
    statuses = Counter[int]()
    before = worker.memory_info().rss
    hostiles = Hostiles(api.get("/openapi.json").json(), seed)
    assert len(hostiles.routes) >= 10
    for number, hostile in enumerate(hostiles.make(count)):
        headers = {"Authorization": f"Bearer {text}", **hostile.headers}
        try:
            answer = requests.request(hostile.method, api.url + hostile.path, data=hostile.body, headers=headers, timeout=90)
        except requests.ConnectionError:
            # Of a refused body the server reads so much, then it closes the connection, which may overtake the answer.
            assert len(hostile.body) > 64 * 1024, (seed, number, hostile.method, hostile.path, hostile.body[:500])
            continue
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (seed, number, hostile.method, hostile.path, hostile.body[:500], hostile.headers, answer.text)
    assert worker.is_running()
    assert worker.memory_info().rss - before < GROWTH_BYTES
    good = requests.post(f"{api.url}/pipeline/jobs", json={"pipeline": "sleep"}, headers={"Authorization": f"Bearer {other}"}, timeout=60)
    assert good.status_code == 201, good.text
    assert "Traceback" not in stack.log("api")
    return statuses


def test_no_hostile_body_is_answered_5xx(make_stack: MakeStack) -> None:
    statuses = besiege(make_stack(), 300, seed=1)
    print(dict(statuses))
    assert {400, 404, 413, 415, 422} <= statuses.keys(), "bodies are refused for one reason only: the generator makes too little"
