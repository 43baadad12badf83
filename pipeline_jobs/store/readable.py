"""Records as they are read, and pages of records of which some cannot be: those are left out and logged, the others are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import structlog

from pipeline_jobs.exceptions import StoreError, UnknownJob
from pipeline_jobs.job import Job
from pipeline_jobs.tenants import ANYBODYS, Whose

Found = TypeVar("Found")
Shown = TypeVar("Shown")

logger = structlog.get_logger(__name__)


class DamagedRecord(StoreError):
    """The record of this job is damaged and cannot be shown: DELETE ends the job, and sent again removes it."""

    code = "damaged_record"


def readable(found: Iterable[Found], read: Callable[[Found], Shown], *, kind: str) -> Iterator[Shown]:
    """What `read` makes of each. One that it cannot read (a damaged record, one of a later version) breaks no page.

    :param kind: what they are (`job`), for the log.
    """
    for one in found:
        try:
            shown = read(one)
        except Exception:
            logger.exception("a record cannot be shown and is left out of a list", kind=kind, record=_name(one, kind))
        else:
            yield shown


def _name(record: object, kind: str) -> str | None:
    """Its id, where it has one."""
    field = f"{kind}_id"
    name = record.get(field) if isinstance(record, Mapping) else getattr(record, field, None)
    return None if name is None else str(name)[:128]


def known(flat: Mapping[str, str], whose: Whose = ANYBODYS) -> Job:
    """The job of a record's fields. Whose it is, is asked before anything else, so that another's costs what an unknown one does.

    :raises UnknownJob: there are none, or it is not theirs. :raises DamagedRecord: one is missing, or cannot be read.
    """
    if not flat or not whose.has(flat.get("tenant_id"), flat.get("workspace_id")):
        raise UnknownJob
    try:
        return Job.from_mapping(flat)
    except Exception as error:
        logger.exception("a record cannot be shown", kind="job", record=_name(flat, "job"))
        raise DamagedRecord from error
