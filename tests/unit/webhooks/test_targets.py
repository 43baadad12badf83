"""What may be given as a webhook's URL and events."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline_jobs.addresses import origin
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.webhooks.targets import EVENTS, check_own, check_target
from tests.cases import each


@pytest.mark.parametrize(
    "url", ["https://hooks.example/x", "https://hooks.example:8443/x?token=a#b", "https://xn--bcher-kva.example/", "https://93.184.216.34/"]
)
def test_a_public_https_url_is_taken(url: str) -> None:
    check_target(url, EVENTS, allow_private=False)


@each(
    ("url", "why"),
    [
        ("", "required"), (None, "required"), (5, "required"), ("https://x.example/" + "a" * 2048, "longer than 2048"),
        ("http://hooks.example/", "must begin with https://"), ("ftp://hooks.example/", "must begin with https://"),
        ("https://user:pass@hooks.example/", "user name"), ("https://user@hooks.example/", "user name"),
        ("https://hooks.example:22/", "usual port"),
        ("https://hooks.example:80/", "usual port"), ("https://127.0.0.1/", "public address"), ("https://bücher.example/", "xn--"),
        ("https://hooks.example/ x", "visible"), ("https://hooks.example\\@x/", "visible"), ("https://", "host"),
        ("https://[::1/", "not a valid"),
        ("https://hooks.example:x/", "not a valid"), ("https://a b/", "visible"), ("https://%31.example/", "host"),
    ],
)  # fmt: skip
def test_any_other_is_refused_with_the_reason(url: Any, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as error:
        check_target(url, (), allow_private=False)
    assert error.value.field == "url"


def test_the_setting_opens_loopback_any_port_and_http() -> None:
    check_target("http://127.0.0.1:9999/x", (), allow_private=True)
    check_target("http://[::1]:1/x", (), allow_private=True)
    with pytest.raises(InvalidInput, match="must begin with https:// or http://"):
        check_target("ftp://127.0.0.1/", (), allow_private=True)


def test_a_jobs_own_webhook_is_kept_with_its_events_once() -> None:
    assert check_own(None, allow_private=False) is None
    given = {"url": "https://hooks.example/", "events": ["job.failed", "job.failed"]}
    assert check_own(given, allow_private=False) == {"url": "https://hooks.example/", "events": ["job.failed"]}
    assert check_own({"url": "https://hooks.example/"}, allow_private=False) == {"url": "https://hooks.example/", "events": []}


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        ({}, "webhook.url"), ({"url": "x"}, "webhook.url"), ({"url": "https://a.example/", "events": ["x"]}, "webhook.events"),
        ({"url": "https://a.example/", "secret": "x"}, "webhook.secret"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_refused_by_the_field(webhook: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        check_own(webhook, allow_private=False)
    assert error.value.field == field


def test_of_a_url_the_ledger_says_no_more_than_where_it_is() -> None:
    assert origin("https://hooks.example:8443/services/T0/secret?x=1") == "https://hooks.example:8443"
