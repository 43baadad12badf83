"""Hints: the Celery message that says "this job may start now", as the installed Celery and kombu write it.

The scripts push it themselves where the broker is the store's own server, so it is built once at start, by Celery's and
kombu's own code, with marks for what differs from job to job.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import Celery
from celery.app.task import Context
from celery.utils import uuid
from celery.utils.functional import maybe_list
from kombu import Connection, Exchange, Queue
from kombu.utils.json import dumps, loads

from pipeline_jobs.job import Job
from pipeline_jobs.store.store import Hint, HintTemplate
from pipeline_jobs.worker.prefixed import PREFIX_OPTION

JOB_TASK = "pipeline_jobs.run_job"
JOBS_QUEUE = "jobs"
MAINTENANCE_QUEUE = "maintenance"
FENCE_HEADER = "fence"

#: Header of a message with callbacks, a chain or a chord; the scripts look for the name (`lua/lib/ending.lua`).
CONTINUES_HEADER = "continues"

#: How long the queue of a class stays without a worker, in seconds.
QUEUE_SECONDS = 3600.0
#: Header `origin` of each hint.
ORIGIN = "pipeline_jobs"
#: What Flower shows for each job; no url, no params: those may hold secrets, and a message carries ids only.
KWARGS_REPR = "{'tenant': '@TENANT@', 'workspace': '@WORKSPACE@', 'pipeline': '@PIPELINE@'}"
_HEADERS = {"tenant": "@TENANT@", "workspace": "@WORKSPACE@", "pipeline": "@PIPELINE@", FENCE_HEADER: "@FENCE@"}

#: Marks of a hint, and the fields of the job whose values take their place.
_WHOLE = {"@ID@": "job_id", "@TENANT@": "tenant_id", "@WORKSPACE@": "workspace_id", "@PIPELINE@": "pipeline"}

#: Options of `apply_async` that say where a message belongs in a canvas; a job that has one gets a message of its own.
CANVAS_OPTIONS = ("group_id", "group_index", "chord", "root_id", "parent_id", "chain", "reply_to", "headers", "replaced_task_nesting")


def message(app: Celery, *, link: Any = None, link_error: Any = None, **canvas: Any) -> str:
    """The whole message as JSON, with @ID@, @FENCE@, @TAG@, @TENANT@, @WORKSPACE@ and @PIPELINE@ left to fill in.

    :param link: callbacks, as for `apply_async`; `link_error` likewise.
    :param canvas: any of `CANVAS_OPTIONS`.
    """
    headers = {**(canvas.pop("headers", None) or {}), **_HEADERS}
    if link or link_error or canvas.get("chain") or canvas.get("chord"):
        headers[CONTINUES_HEADER] = True
    task = app.amqp.as_task_v2(
        "@ID@",
        JOB_TASK,
        argsrepr="()",
        # Celery's default names this process, and each one's scripts would be others. So any process can take back what another one pushed.
        origin=ORIGIN,
        kwargsrepr=KWARGS_REPR,
        callbacks=maybe_list(link),
        errbacks=maybe_list(link_error),
        **canvas,
    )
    body = _written(app, JOB_TASK, task, JOBS_QUEUE, headers=headers)
    # kombu takes the tag from here: one constant tag would make messages overwrite each other.
    body["properties"]["delivery_tag"] = "@TAG@"
    return str(dumps(body)).replace('"@FENCE@"', "@FENCE@")


class RequestTemplate:
    """What a worker would make of the hints of jobs (`celery.app.task.Context`), without the messages."""

    def __init__(self, app: Celery, hostname: str) -> None:
        whole = loads(message(app).replace("@FENCE@", "0"))
        args, kwargs, embedded = loads(base64.b64decode(whole["body"]))
        properties = whole["properties"]
        self._common: dict[str, Any] = {
            **whole["headers"], **embedded, "args": args, "kwargs": kwargs, "hostname": hostname, "is_eager": False,
            "properties": properties, "reply_to": properties.get("reply_to"), "correlation_id": "@ID@",
            "delivery_info": {"exchange": "", "routing_key": jobs_queue(app), "priority": properties.get("priority"), "redelivered": False},
        }  # fmt: skip
        marked = {name: value for name, value in self._common.items() if isinstance(value, str) and "@" in value}
        #: Most are nothing but a mark.
        self._whole = [(name, _WHOLE[value]) for name, value in marked.items() if value in _WHOLE]
        self._others = [(name, value) for name, value in marked.items() if value not in _WHOLE]
        #: The headers that Celery does not know: it would look for them in each request anew.
        self._own = tuple(Context(self._common).headers or ())

    def of(self, job: Job) -> dict[str, Any]:
        made = {**self._common, FENCE_HEADER: job.fence}
        for name, field in self._whole:
            made[name] = getattr(job, field)
        hint = Hint(job.job_id, job.fence, job.tenant_id, job.workspace_id, job.pipeline)
        for name, text in self._others:
            made[name] = _marked(text, hint)
        made["headers"] = {name: made[name] for name in self._own}
        return made


def tick(app: Celery, name: str, expires: float | None) -> str:
    """The whole message of a tick of maintenance as JSON. :param expires: seconds after which it is of no use."""
    # Not to write its state: a full server would refuse that, and the duty with it.
    task = app.amqp.as_task_v2(uuid(), name, expires=expires, ignore_result=True)
    return str(dumps(_written(app, name, task, MAINTENANCE_QUEUE)))


def _written(app: Celery, name: str, task: Any, queue: str, **options: Any) -> dict[str, Any]:
    """What kombu would push to the queue's list."""
    written: list[dict[str, Any]] = []
    # Virtual transports share one way of writing; memory's `_put` is where Redis would push.
    with Connection("memory://") as connection, connection.channel() as channel:
        channel._put = lambda queue, body, **_: written.append(body)
        producer = app.amqp.Producer(channel, auto_declare=False)
        # By queue, which Celery makes exchange '' and the queue's name: an exchange whose binding is missing would drop the message.
        app.amqp.send_task_message(producer, name, task, queue=queue, declare=(), retry=False, serializer="json", **options)
    return written[0]


def template(app: Celery) -> HintTemplate:
    """How the scripts push a hint to the queue `jobs` of this app's broker."""
    return HintTemplate(list_of(app, JOBS_QUEUE), message(app))


def list_of(app: Celery, queue: str) -> str:
    """The Redis list that a queue is, for what the scripts push themselves: kombu's connections put the prefix there by themselves."""
    return str((app.conf.broker_transport_options or {}).get(PREFIX_OPTION, "")) + queue


def class_queue(app: Celery, name: str) -> Queue:
    """The queue of a pool (`gpu`) or of a class of workers (`1a2b3c4d`, `gpu.1a2b3c4d`); an empty name: `jobs` itself. Where the broker
    can, it goes an hour after the last of them has."""
    jobs = app.amqp.queues[JOBS_QUEUE]
    own = f"{JOBS_QUEUE}.{name}"
    return (
        Queue(own, Exchange(JOBS_QUEUE), routing_key=own, no_ack=jobs.no_ack, expires=QUEUE_SECONDS, queue_arguments=jobs.queue_arguments)
        if name
        else jobs
    )


def jobs_queue(app: Any) -> str:
    """The queue of the pool that this worker serves: `jobs`, `jobs.gpu`."""
    return f"{JOBS_QUEUE}.{app.serves}" if getattr(app, "serves", "") else JOBS_QUEUE


def takes_jobs(app: Any) -> bool:
    """This worker takes jobs: it consumes `jobs_queue`."""
    return jobs_queue(app) in app.amqp.queues.consume_from


def own_class_queue(app: Any) -> Queue:
    """The queue of this worker's class."""
    return class_queue(app, ".".join(filter(None, (getattr(app, "serves", ""), app.worker_class.name))))


def job_queues(app: Any) -> list[str]:
    """What a worker of jobs consumes: its pool's queue, and that of its class."""
    return list(dict.fromkeys((jobs_queue(app), own_class_queue(app).name)))


def publisher(app: Celery) -> Callable[[Sequence[Hint]], None]:
    """Sends hints by a kombu producer, for a broker that is not the store's server.

    A crash before it has sent them loses hints, never jobs: an unclaimed hint is dispatched again after `hint_seconds`.
    """
    common = message(app)

    def publish(hints: Sequence[Hint]) -> None:
        with app.producer_or_acquire() as producer:
            for hint in hints:
                whole, queue = _fill(hint.message or common, hint), class_queue(app, hint.worker_class)
                producer.publish(
                    base64.b64decode(whole["body"]),
                    exchange="",
                    routing_key=queue.name,
                    declare=[queue],
                    content_type=whole["content-type"],
                    content_encoding=whole["content-encoding"],
                    headers=whole["headers"],
                    correlation_id=hint.job_id,
                    delivery_mode=whole["properties"]["delivery_mode"],
                    retry=True,
                )

    return publish


def _fill(text: str, hint: Hint) -> Mapping[str, Any]:
    filled: Mapping[str, Any] = loads(_marked(text, hint))
    return filled


def _marked(text: str, hint: Hint) -> str:
    """The text, with the values of a hint in the place of the marks."""
    for mark, value in (
        ("@ID@", hint.job_id), ("@FENCE@", str(hint.fence)), ("@TAG@", f"{hint.job_id}.{hint.fence}"),
        ("@TENANT@", hint.tenant_id), ("@WORKSPACE@", hint.workspace_id), ("@PIPELINE@", hint.pipeline),
    ):  # fmt: skip
        text = text.replace(mark, value)
    return text
