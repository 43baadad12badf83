"""Which times a cron expression names in a time zone. `cronsim` does the arithmetic; it keeps to Debian's cron, at clock changes too.

An expression with fixed hours and minutes names a time of day: one that the clocks jump over in spring is the moment after the gap, one
that comes twice in autumn is the first of the two. One with a `*` at the start of its minute or hour goes by elapsed time: an hour that is
left out has no slots, one that comes twice has them twice.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from pipeline_jobs.exceptions import InvalidInput

MAX_EXPRESSION = 200

_FIELDS = "minute hour day-of-month month day-of-week"
#: What each field takes, by cronsim's word for it.
_RANGES = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31 (a day that one of its months has), L (the last) or LW (the last weekday)",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 (0 and 7: Sunday), SUN-SAT, MON#2 (the second Monday) or 5L (the last Friday)",
}


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression and its zone; `parse` checks both."""

    expression: str
    #: IANA name, `Europe/Berlin`.
    timezone: str

    @classmethod
    def parse(cls, expression: str, timezone: str) -> Cron:
        """:raises InvalidInput: names `cron` or `timezone`."""
        if len(expression) > MAX_EXPRESSION:
            raise InvalidInput(f"cron has at most {MAX_EXPRESSION} characters", field="cron")
        if len(expression.split()) != 5:
            raise InvalidInput(f"cron has five fields, separated by spaces: {_FIELDS}", field="cron")
        _zone(timezone)
        try:
            first = next(iter(CronSim(expression, datetime.now(UTC))), None)
        except CronSimError as error:
            raise InvalidInput(_reason(str(error)), field="cron") from None
        if first is None:
            raise InvalidInput("cron matches no time within 50 years", field="cron")
        return cls(expression, timezone)

    def after(self, moment: int) -> Iterator[int]:
        """Its slots after a moment, in order. Both in Unix milliseconds.

        :raises InvalidInput: the zone is not known here (any more).
        """
        last = moment
        for found in CronSim(self.expression, datetime.fromtimestamp(moment / 1000, _zone(self.timezone))):
            slot = int(found.timestamp()) * 1000
            # In the second of two equal hours cronsim gives a moment of the first, which has passed.
            if slot > last:
                last = slot
                yield slot

    def next(self, moment: int) -> int | None:
        """The first slot after a moment; None: there is none within 50 years."""
        return next(self.after(moment), None)

    def upcoming(self, moment: int, n: int) -> list[int]:
        """The next n slots after a moment."""
        return list(islice(self.after(moment), n))


def _reason(told: str) -> str:
    """cronsim says `Bad hour`: say what is good."""
    field = told.removeprefix("Bad ")
    if field not in _RANGES:
        return f"cron cannot be read: its fields are {_FIELDS}"
    return f"cron: the {field} must be {_RANGES[field]}; or *, a list (1,5), a range (1-5), a step (*/2) of these"


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    if name not in _names():
        close = difflib.get_close_matches(name[:64], _names(), n=1)
        hint = f": did you mean {close[0]}?" if close else ", such as Europe/Berlin or UTC"
        raise InvalidInput(f"timezone must be an IANA name{hint}", field="timezone")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    # `localtime` is whatever the machine is set to: the next worker may be set otherwise.
    return frozenset(available_timezones() - {"localtime", "Factory"})
