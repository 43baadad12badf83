"""The window on fairness, for operators: who has the slots, what is due to whom, why the others wait, and what a change would do."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any, NamedTuple

from flask import Response, request

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.operation.due_shares import Standing, forecast, standings
from pipeline_jobs.operation.overview import now
from pipeline_jobs.operation.who_ran import MINUTES, OTHERS, Hour, last_hour
from pipeline_jobs.pools.pool_names import shown
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.figures import Workers, workers
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.schemas.tenants import LimitsRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, is_fragment, page
from pipeline_jobs.web.ui.forms import typed_number
from pipeline_jobs.web.ui.words import colour

#: Running jobs on the board, and tenants whose wait is explained.
MOST_RUNNING, MOST_EXPLAINED = 100, 15


@blueprint.get("/fairness")
def fairness() -> Response:
    cell = web().cell
    slots = now(cell.store, cell.settings).slots
    all_of = standings(cell.client, slots)
    fleet = workers(cell.store)
    board = _board(fleet)
    values: dict[str, Any] = {
        "slots": slots,
        "standings": [(one, _why(one) if number < MOST_EXPLAINED else None) for number, one in enumerate(all_of)],
        "board": board,
        "pools": _by_pool(board),
        # The bar of a tenant is of the widest of what it has and what is due.
        "widest": max([1.0, *(max(one.running, one.due) for one in all_of)]),
        "reasons": {reason: count for reason, count in sorted(fleet.reasons.items(), key=lambda one: -one[1]) if count},
    }
    if is_fragment():
        return page("fairness", **values)
    asked = {name: request.args.get(name, "").strip() for name in ("of", "weight", "max_concurrent")}
    try:
        then, error = _forecast(slots, all_of, asked), ""
    except Refused as refused:
        told = answer(refused)
        then, error = None, " ".join(f"{one['field']}: {one['message']}" for one in told.get_json()["errors"])
    hour = last_hour(cell.client, int(time.time() * 1000))
    return page("fairness", 422 if error else 200, hour=hour, drawn=_drawn(hour), asked=asked, forecast=then, error=error, **values)


def _drawn(hour: Hour) -> list[tuple[str, float, float, float, float]]:
    """The tenants' minutes on top of each other, as rectangles of a picture of 1000 by 100: the class, x, y, width and height of each."""
    wide, rects = 1000 / MINUTES, []
    below = [100.0] * MINUTES
    for one in hour.tenants:
        for minute, slots in enumerate(one.slots):
            if high := 100 * slots / (hour.top or 1):
                below[minute] -= high
                kind = "cancelled" if one.tenant_id == OTHERS else colour(one.tenant_id)
                rects.append((kind, round(wide * minute, 1), round(below[minute], 2), round(wide, 1), round(high, 2)))
    return rects


def _why(one: Standing) -> Job | None:
    """The next of its jobs that wait, as its own page explains it."""
    client = web().cell.client
    if not one.queued:
        return None
    found = client.list(JobQuery(tenant_id=one.tenant_id, statuses=(JobStatus.QUEUED,), limit=1)).items
    return client.describe(found[0].job_id) if found else None


class OnBoard(NamedTuple):
    """A worker and its slots."""

    name: str
    slots: int
    busy: int
    #: That it runs; of very many only the newest are known.
    jobs: list[Job]
    pool: str


def _board(fleet: Workers) -> list[OnBoard]:
    running = web().cell.client.list(JobQuery(statuses=(JobStatus.RUNNING,), limit=MOST_RUNNING)).items
    by_worker = defaultdict(list)
    for job in running:
        by_worker[(job.worker or "").partition("/")[0]].append(job)
    board = []
    for worker, slots in sorted(fleet.slots.items()):
        name = worker.partition("/")[0]
        jobs = by_worker.get(name, [])
        board.append(OnBoard(name, slots, max(fleet.running.get(worker, 0), len(jobs)), jobs, shown(fleet.pools[worker])))
    return board


def _by_pool(board: list[OnBoard]) -> list[tuple[str, int, int]]:
    """Each pool with its slots, and how many of them are busy."""
    found: dict[str, tuple[int, int]] = {}
    for one in board:
        slots, busy = found.get(one.pool, (0, 0))
        found[one.pool] = slots + one.slots, busy + one.busy
    return [(name, *both) for name, both in sorted(found.items())]


def _forecast(slots: int, all_of: list[Standing], asked: dict[str, str]) -> list[tuple[Standing, Standing]] | None:
    """Of each tenant what is due now and then; None: nothing was asked. :raises Refused: 422, names the field."""
    given = {name: value for name, value in asked.items() if name != "of" and value}
    if not asked["of"] or not given:
        return None
    if asked["of"] not in {one.tenant_id for one in all_of}:
        fault = {"field": "of", "message": "has nothing to do now", "code": "invalid_input"}
        raise Refused(422, "invalid_input", "this tenant has nothing to do now", field="of", errors=[fault])
    body = check(LimitsRequest, {name: typed_number(value, name == "max_concurrent") for name, value in given.items()})
    changed = {"weight": body.weight, "limit": body.max_concurrent}
    changes = {name: changed[name] for name, field in (("weight", "weight"), ("limit", "max_concurrent")) if field in given}
    return list(zip(all_of, forecast(slots, all_of, asked["of"], changes), strict=True))
