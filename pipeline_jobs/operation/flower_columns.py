"""What Flower shows of a job beside a task's own fields, for `flowerconfig.py`: tenant, workspace, pipeline and stage.

Each is a column of the tasks' page, a field of the task's own page and of the REST API, and can be searched for. The first three stand
in the text that a job's message gives for its keyword arguments (`worker.hints.KWARGS_REPR`). No event tells a stage: here Flower asks
the store for the stages of the jobs that it shows as live, and puts them into the same text, which it indexes, saves and loads.

Written against Flower 2.2.0: look again at every bump.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any

import flower.app
import flower.events
import flower.utils.broker
import flower.views.tasks
from tornado.ioloop import PeriodicCallback

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.connection import connect
from pipeline_jobs.store.reader import Reader

#: The columns and their headings.
COLUMNS = {"tenant": "Tenant", "workspace": "Workspace", "pipeline": "Pipeline", "stage": "Stage"}
#: What the message of a job says of it; a task whose text lacks one is no job.
_SAID = {"tenant", "workspace", "pipeline"}
#: States of tasks whose stage may change.
_LIVE = ("received", "started", "retry")
#: How often the store is asked for stages, in ms, and for how many jobs at once.
LOOK_MS, LOOK_JOBS = 2000, 1000

_Task = flower.events.EventsState.Task
_start, _queues = flower.app.Flower.start, flower.utils.broker.RabbitMQ.queues

#: Gives the stages of jobs, in their order; None: it has none, or is not there.
Stages = Callable[[Sequence[str]], Sequence[str | None]]


@lru_cache(maxsize=4096)
def about(kwargs: str | None) -> Mapping[str, str]:
    """What the text of a job's keyword arguments says; empty for other tasks, and for a text that was cut off."""
    try:
        values = ast.literal_eval(str(kwargs))
    except (SyntaxError, ValueError):
        return {}
    return values if isinstance(values, dict) and values.keys() >= _SAID else {}


def _said(name: str, task: Any) -> str | None:
    return about(task.kwargs).get(name)


def install(settings: Settings) -> None:
    """Give Flower the columns, and have it ask for stages once it runs; its page of queues on RabbitMQ shows those of the installation."""
    flower.views.tasks.TASK_COLUMNS.update(COLUMNS)
    _Task._fields = (*(name for name in _Task._fields if name not in COLUMNS), *COLUMNS)
    for name in COLUMNS:
        setattr(_Task, name, property(partial(_said, name)))

    @cache
    def reader() -> Reader:
        return Reader(connect(settings.redis_url), settings.key_prefix)

    def stages(ids: Sequence[str]) -> Sequence[str | None]:
        return [stage for (stage,) in reader().fields_of_each(("stage",), "job", ids)]

    def start(self: Any) -> None:
        look = Look(self, stages)
        PeriodicCallback(look.once, LOOK_MS).start()
        _start(self)

    async def queues(self: Any, names: set[str]) -> list[dict[str, Any]]:
        if self.vhost == "/":
            # Flower asks for `queues//`, to which RabbitMQ 4 answers 404.
            self.vhost, self.http_api = "%2F", self.http_api.replace("/api//", "/api/")
        found = await _queues(self, {settings.celery_prefix + name for name in names})
        return [{**queue, "name": queue["name"].removeprefix(settings.celery_prefix)} for queue in found]

    flower.app.Flower.start, flower.utils.broker.RabbitMQ.queues = start, queues


class Look:
    """Looks for the stages of live jobs; of one that ended since the last look, once more."""

    def __init__(self, app: Any, stages: Stages) -> None:
        self._app, self._stages, self._live = app, stages, set[str]()

    async def once(self) -> None:
        """Ask, and note what is new. While the store is away nothing is."""
        state = self._app.events.state
        live = {one for name in _LIVE for one in state.search_engine.exact_postings["state"].get(name, ())}
        asked = [one for one in (live | self._live) if one in state.tasks.data and about(state.tasks.data[one].kwargs)][:LOOK_JOBS]
        self._live = live
        if not asked:
            return
        try:
            stages = await self._app.io_loop.run_in_executor(None, self._stages, asked)
        except StoreUnavailable:
            return
        for task_id, stage in zip(asked, stages, strict=True):
            note(state, task_id, stage)


def note(state: Any, task_id: str, stage: str | None) -> None:
    """Put a job's stage into what Flower knows of it; a job that Flower has dropped meanwhile is left alone."""
    task = state.tasks.data.get(task_id)
    said = about(task.kwargs) if task is not None else {}
    if said and stage and said.get("stage") != stage:
        task.kwargs = repr({**said, "stage": stage})
        state.search_engine.upsert(task)
