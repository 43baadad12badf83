"""The filters and cursor in the address of a list, checked as in the API; and the search box, whose words are such filters."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping

from flask import request

from pipeline_jobs.job import BATCH_ID, rfc3339
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.schedules.schedule import TAG
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.jobs import Filters, ListRequest

#: What the address of a list may have, by the API's names.
NAMES = ("tenant_id", "status", *(name for name in Filters.model_fields if name != "tenant_id"))
#: What it may have besides: a page, the search box, a choice of time, groups, an act (before it, and after it) and to how many it was done.
BESIDES = ("cursor", "find", "since", "group", "action", "done")
#: What a word of the search box begins with, and the filter that it sets. A schedule's jobs have a tag that names it.
WORDS: Mapping[str, str] = {
    "status": "status", "tag": "tag", "error": "error_code", "batch": "batch_id", "schedule": "tag", "pipeline": "pipeline",
    "workspace": "workspace_id", "tenant": "tenant_id", "since": "created_after", "until": "created_before",
}  # fmt: skip
#: What a list can be counted by, and the words for it.
GROUPS: Mapping[str, str] = {"error_code": "Error", "batch_id": "Batch", "tag": "Schedule"}
#: Choices of time, in seconds.
SINCE: Mapping[str, int] = {"1h": 3600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}

#: `name:"a value"`, `name:value`, or a free word; an address (`https://...`) is one of these, and no word with a value.
_WORD = re.compile(r'([a-z]+):(?!//)(?:"([^"]*)"|(\S*))|(\S+)')
_SPAN = re.compile(r"([0-9]{1,5})([mhd])", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
_SCHEDULE = re.compile(r"sch_[0-9]+_[0-9a-f]+")


def filters() -> dict[str, str]:
    """The filters that are set in the address.

    :raises Refused: 400, it has a parameter that there is not, or one twice: what is not understood is not passed over.
    """
    for name, values in request.args.lists():
        if name not in NAMES and name not in BESIDES:
            raise Refused(400, "unknown_parameter", f"there is no filter {name[:100]!r}", field=name[:100])
        if len(values) > 1:
            raise Refused(400, "repeated_parameter", f"{name} may be given only once", field=name)
    found = {name: request.args.get(name, "").strip() for name in NAMES}
    return {name: value for name, value in found.items() if value}


def read_query(found: Mapping[str, str], cursor: str | None = None) -> JobQuery:
    """:raises Refused: 422, names the field."""
    raw: dict[str, object] = {**found, "limit": "25"}
    if "status" in found:
        raw["status"] = found["status"].split(",")
    if cursor:
        raw["cursor"] = cursor
    return check(ListRequest, raw).to_query()


def read_box(text: str) -> dict[str, str]:
    """The filters that the words of the search box are: `status:failed tag:"a b" harbor`.

    :raises Refused: 422, it has a word that there is not, one without a value or one twice.
    """
    found: dict[str, str] = {}
    for name, value in _words(text):
        if name in found:
            raise _wrong(f"{called(name)}: can be given only once")
        found[name] = value
    return found


def write_box(found: Mapping[str, str]) -> str:
    """The words for the filters of an address. The tenant is shown elsewhere."""
    words = [_word(name, value) for name, value in found.items() if name not in ("tenant_id", "q")]
    return " ".join([*words, *filter(None, [found.get("q")])])


def since(choice: str) -> str | None:
    """The moment of a choice of time; None: it is none."""
    seconds = SINCE.get(choice)
    return None if seconds is None else _ago(seconds)


def _words(text: str) -> Iterator[tuple[str, str]]:
    free = []
    for name, quoted, plain, other in _WORD.findall(text):
        value = quoted or plain
        if not name:
            free.append(other)
        elif name not in WORDS:
            raise _wrong(f"there is no {name}: here; there are {', '.join(f'{word}:' for word in WORDS)}")
        elif not value:
            raise _wrong(f"{name}: needs a value right behind it")
        else:
            yield WORDS[name], _value(name, value)
    if free:
        yield _free(" ".join(free))


def _free(text: str) -> tuple[str, str]:
    if BATCH_ID.fullmatch(text):
        return "batch_id", text
    return ("tag", TAG.format(text)) if _SCHEDULE.fullmatch(text) else ("q", text)


def _value(name: str, value: str) -> str:
    if name == "schedule":
        return TAG.format(value)
    if WORDS[name] in ("created_after", "created_before"):
        return _moment(value)
    return value


def _moment(value: str) -> str:
    """`2h`, `3d`, a date or an RFC 3339 date-time, which the check of the filters judges."""
    if span := _SPAN.fullmatch(value):
        return _ago(int(span[1]) * _SECONDS[span[2]])
    return f"{value}T00:00:00Z" if _DATE.fullmatch(value) else value


def _ago(seconds: int) -> str:
    # Whole seconds: nobody types more.
    return f"{rfc3339(max(0, int(time.time()) - seconds) * 1000) or ''}"[:19] + "Z"


def _word(name: str, value: str) -> str:
    word, prefix = called(name), TAG.format("")
    if name == "tag" and value.startswith(prefix):
        word, value = "schedule", value.removeprefix(prefix)
    return f'{word}:"{value}"' if re.search(r"\s", value) else f"{word}:{value}"


def called(name: str) -> str:
    """What the search box calls a filter."""
    return next((word for word, filter_ in WORDS.items() if filter_ == name), name)


def _wrong(text: str) -> Refused:
    return Refused(422, "invalid_input", text, field="find")
