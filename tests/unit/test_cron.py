"""Which moments a cron expression names: at clock changes, and what is said of one that cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.schedules.cron import Cron
from tests.cases import each


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def utc(moments: list[int]) -> list[str]:
    return [datetime.fromtimestamp(moment / 1000, UTC).strftime("%m-%d %H:%M") for moment in moments]


#: Expression, zone, from when on (UTC), and the next slots in UTC.
SLOTS = [
    # Berlin: on 2026-03-29 there is no 02:00-03:00, at 01:00 UTC; on 2026-10-25 it comes twice, the second time from 01:00 UTC on.
    ("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
    ("15,45 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["03-29 01:00", "03-30 00:15", "03-30 00:45"]),
    ("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["03-29 01:00", "03-30 01:00"]),
    ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["03-29 01:00", "03-29 01:30", "03-30 00:00"]),
    ("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:01Z", ["03-29 00:30", "03-29 01:00", "03-29 01:30"]),
    ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["03-30 00:00", "03-30 00:30"]),
    ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["10-25 00:30", "10-26 01:30"]),
    ("0,30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["10-25 00:00", "10-25 00:30", "10-26 01:00"]),
    ("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:01Z", ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00"]),
    ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30Z", ["10-25 00:00", "10-25 01:00", "10-25 02:00"]),
    # Asked from within the second 02:00-03:00: the first one is past, its slot does not come again.
    ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15Z", ["10-26 01:30"]),
    # New York changes at another time; Lord Howe by half an hour; Kathmandu is at +05:45; Apia left out a whole day.
    ("30 2 * * *", "America/New_York", "2026-03-07T12:00Z", ["03-08 07:00", "03-09 06:30"]),
    ("30 1 * * *", "America/New_York", "2026-10-31T12:00Z", ["11-01 05:30", "11-02 06:30"]),
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T16:00Z", ["10-03 15:30", "10-04 15:15"]),
    ("0 12 * * *", "Asia/Kathmandu", "2026-01-01T00:00Z", ["01-01 06:15"]),
    ("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00Z", ["12-29 22:00", "12-30 10:00", "12-30 22:00"]),
    # Calendar.
    ("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", ["02-29 00:00"]),
    ("0 0 L * *", "UTC", "2026-02-01T00:00Z", ["02-28 00:00", "03-31 00:00", "04-30 00:00"]),
    ("0 9 * * MON#1", "UTC", "2026-11-01T00:00Z", ["11-02 09:00", "12-07 09:00"]),
    ("0 9 * * 1-5", "UTC", "2026-11-27T10:00Z", ["11-30 09:00"]),
    # A day of the month and a day of the week: either will do.
    ("0 0 13 * FRI", "UTC", "2026-11-10T00:00Z", ["11-13 00:00", "11-20 00:00"]),
]  # fmt: skip


@each(("expression", "zone", "start", "expected"), SLOTS)
def test_the_slots_are_those_of_the_table(expression: str, zone: str, start: str, expected: list[str]) -> None:
    assert utc(Cron.parse(expression, zone).upcoming(ms(start), len(expected))) == expected


def test_a_moment_is_after_itself_only_by_the_next_slot() -> None:
    cron = Cron.parse("* * * * *", "UTC")
    noon = ms("2026-11-24T12:00Z")
    assert cron.next(noon - 1) == noon
    assert cron.next(noon) == cron.next(noon + 59_999) == noon + 60_000


@each(
    ("expression", "zone", "field", "says"),
    [
        ("* * * *", "UTC", "cron", "five fields"),
        ("0 * * * * *", "UTC", "cron", "five fields"),
        ("@daily", "UTC", "cron", "five fields"),
        ("", "UTC", "cron", "five fields"),
        ("60 * * * *", "UTC", "cron", "the minute must be 0-59"),
        ("* 24 * * *", "UTC", "cron", "the hour must be 0-23"),
        ("* * 32 * *", "UTC", "cron", "the day-of-month must be 1-31"),
        ("* * 31 2 *", "UTC", "cron", "a day that one of its months has"),
        ("* * * 13 *", "UTC", "cron", "the month must be 1-12"),
        ("* * * * 8", "UTC", "cron", "the day-of-week must be 0-7"),
        ("* * * * MON#6", "UTC", "cron", "the day-of-week must be"),
        ("5-1 * * * *", "UTC", "cron", "the minute must be"),
        ("*/0 * * * *", "UTC", "cron", "the minute must be"),
        ("1" * 201, "UTC", "cron", "at most 200 characters"),
        ("* * * * *", "Europe/Berln", "timezone", "did you mean Europe/Berlin?"),
        ("* * * * *", "../etc/passwd", "timezone", "IANA name"),
        ("* * * * *", "localtime", "timezone", "IANA name"),
        ("* * * * *", "America", "timezone", "IANA name"),
        ("* * * * *", "+02:00", "timezone", "IANA name"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_can(expression: str, zone: str, field: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Cron.parse(expression, zone)
    assert caught.value.field == field
    assert says in caught.value.message


PARTS = st.text("0123456789*/,-#LWMONSUJA \x00é", max_size=8)


@given(st.lists(PARTS, min_size=5, max_size=5).map(" ".join))
@settings(max_examples=500, deadline=None)
def test_any_text_is_either_read_or_refused(expression: str) -> None:
    try:
        cron = Cron.parse(expression, "Europe/Berlin")
    except InvalidInput:
        return
    assert len(cron.upcoming(ms("2026-11-24T12:00Z"), 2)) > 0


def field_of(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high).map(str)
    step = st.integers(1, high).map(lambda n: f"*/{n}")
    return st.one_of(st.just("*"), number, step, st.lists(number, min_size=1, max_size=3).map(",".join))


@given(
    expression=st.tuples(field_of(0, 59), field_of(0, 23), field_of(1, 28), field_of(1, 12), field_of(0, 7)).map(" ".join),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Tehran", "America/St_Johns"]),
    start=st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
)
@settings(max_examples=200, deadline=None)
def test_slots_rise_and_are_the_same_from_wherever_one_starts(expression: str, zone: str, start: datetime) -> None:
    cron = Cron.parse(expression, zone)
    begin = int(start.timestamp() * 1000)
    slots = list(islice(cron.after(begin), 8))
    assert all(begin < a < b for a, b in pairwise(slots))
    # A duty that goes on from any slot comes to the same ones: none is lost or doubled.
    for i, slot in enumerate(slots[:-1]):
        assert cron.next(slot) == cron.next(slot + 1) == cron.next(slots[i + 1] - 1) == slots[i + 1]
    for slot in slots:
        assert datetime.fromtimestamp(slot / 1000, ZoneInfo(zone)).second == 0
