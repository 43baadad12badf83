"""The retry table, its jitter, `Retry-After`, and what each answer means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.webhooks.post import Answer, retry_after
from pipeline_jobs.webhooks.retries import MOST_RETRY_AFTER, Verdict, verdict
from tests.cases import each

TABLE = Settings().webhook_retry_table
NO_ANSWER = Answer(None, "timeout")


def middle() -> float:
    return 0.5


def test_there_are_ten_tries_over_about_75_hours() -> None:
    waits = []
    tries = 0
    while (found := verdict(NO_ANSWER, tries := tries + 1, TABLE, middle)).outcome == "retry":
        waits.append(found.delay)
    assert (tries, found.outcome) == (10, "dead")
    assert waits == list(TABLE)
    assert sum(waits) / 3600 == pytest.approx(75.5, abs=0.6)


def test_jitter_stretches_and_shortens_each_wait_by_a_tenth() -> None:
    for tries in range(1, 10):
        least, most = (verdict(NO_ANSWER, tries, TABLE, lambda value=value: value).delay for value in (0.0, 1.0))  # type: ignore[misc]
        assert [least, most] == pytest.approx([TABLE[tries - 1] * 0.9, TABLE[tries - 1] * 1.1])


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery(status: int) -> None:
    assert verdict(Answer(status, ""), 1, TABLE, middle) == Verdict("delivered")


@each("status", [301, 302, 307, 400, 401, 404, 409, 429, 500, 502, 503, 504, None])
def test_anything_else_is_tried_again_and_410_is_not(status: int | None) -> None:
    assert verdict(Answer(status, "x"), 3, TABLE, middle) == Verdict("retry", 1800)
    assert verdict(Answer(status, "x"), 10, TABLE, middle) == Verdict("dead")
    assert verdict(Answer(410, "http_410"), 1, TABLE, middle) == Verdict("gone")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_puts_the_next_try_off_never_forward_and_not_for_ever(status: int) -> None:
    assert verdict(Answer(status, "x", 60), 1, TABLE, lambda: 0.0).delay == 60
    assert verdict(Answer(status, "x", 60), 2, TABLE, middle).delay == 300
    assert verdict(Answer(status, "x", 10**9), 1, TABLE, lambda: 0.0).delay == MOST_RETRY_AFTER
    assert verdict(Answer(500, "x", 60), 1, TABLE, middle).delay == 5


def test_retry_after_is_read_as_a_number_and_as_a_date() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert retry_after("120") == 120
    assert retry_after(format_datetime(now + timedelta(seconds=90), usegmt=True), now.timestamp()) == 90
    assert retry_after(format_datetime(now - timedelta(seconds=90), usegmt=True), now.timestamp()) == 0
    for unreadable in (None, "", "soon", "-5", "1.5", "٣", "9" * 40, "Mon, 99 Foo 2026 00:00:00 GMT"):
        assert retry_after(unreadable) is None


def test_the_table_is_a_setting() -> None:
    assert load_settings({"PIPELINE_WEBHOOK_RETRY_SECONDS": "0.5,2"}).webhook_retry_table == (0.5, 2.0)
    for wrong in ("x", "1,,2", "1;2", "-1", ","):
        with pytest.raises(ConfigurationError, match="PIPELINE_WEBHOOK_RETRY_SECONDS"):
            load_settings({"PIPELINE_WEBHOOK_RETRY_SECONDS": wrong})
