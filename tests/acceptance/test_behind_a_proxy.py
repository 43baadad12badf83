"""What a proxy on the same machine passes on comes from loopback and may look as if it came from here: it opens and moves nothing."""

from __future__ import annotations

from itertools import product

import pytest

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from tests.acceptance.test_slow_and_large import answer_to
from tests.stack import Api, MakeStack

NAMES = (b"SCRIPT_NAME", b"SCRIPT-NAME", b"Script_Name", b"PATH_INFO", b"REMOTE_USER", b"X-Forwarded-Prefix", b"X-Forwarded-Protocol")
#: What nginx's `proxy_pass http://127.0.0.1:8000;` sends of its own accord: its upstream's name as the host, and not who asked.
STOCK = b"GET %b HTTP/1.0\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n%b\r\n"


@pytest.fixture
def api(make_stack: MakeStack) -> Api:
    stack = make_stack()
    keys = KeyStore(stack.client.store)
    keys.create(ALL, Role.ADMIN, actor="test")
    keys.create("zebra", Role.ADMIN, actor="test")
    stack.submit(tenant_id="zebra")
    return stack.api()


def test_a_stock_proxy_pass_shows_no_metrics_and_names_no_tenant(api: Api) -> None:
    answers = {path: answer_to(api, STOCK % (path, b"")) for path in (b"/metrics", b"/health/ready", b"/pipeline/jobs", b"/pipeline/audit")}
    assert not [path for path, answer in answers.items() if b"zebra" in answer]
    for path in (b"/metrics", b"/pipeline/jobs", b"/pipeline/audit"):
        assert status(answers[path]) == 401, answers[path]


def test_no_header_moves_the_path_or_is_answered_5xx(api: Api) -> None:
    """gunicorn believes SCRIPT_NAME, PATH_INFO and the scheme of a peer on loopback by default."""
    for name, value in product(NAMES, (b"/health", b"/health/live", b"/nowhere", b"x" * 2000, b"")):
        header = name + b": " + value + b"\r\n"
        good, other = answer_to(api, STOCK % (b"/health/live", header)), answer_to(api, STOCK % (b"/pipeline/jobs", header))
        # It may be refused; it is never believed.
        assert status(good) in (200, 400), good
        assert status(other) in (401, 400), other


def status(answer: bytes) -> int:
    return int(answer[9:12])
