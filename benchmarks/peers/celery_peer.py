"""Plain Celery: the app, the Flask app of Celery's and Flask's tutorials, and the enqueuing side for the runner.

Settings from the environment: BENCH_BROKER, BENCH_RESULTS (URLs).
"""

import os
import time

from celery import Celery, Task, shared_task
from celery.app.task import Context
from celery.backends.redis import RedisBackend
from celery.result import AsyncResult
from flask import Flask, request
from talk import FIELDS, serve, timed

app = Celery("peer", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_RESULTS"])
# What one needs to see in Flower what ours shows by itself.
app.conf.update(task_track_started=True, result_extended=True, worker_send_task_events=True, broker_connection_retry_on_startup=True)
app.set_default()


@app.task(name="celery_peer.run")
def run(**fields):
    """No work. Gives the moment of its start."""
    return {"at": time.time()}


# -- the tutorial's Flask app (flask.palletsprojects.com/patterns/celery)


def celery_init_app(flask):
    class FlaskTask(Task):
        def __call__(self, *args, **kwargs):
            with flask.app_context():
                return self.run(*args, **kwargs)

    celery = Celery(flask.name, task_cls=FlaskTask)
    celery.config_from_object(flask.config["CELERY"])
    celery.set_default()
    flask.extensions["celery"] = celery
    return celery


@shared_task(ignore_result=False, name="celery_peer.tutorial")
def tutorial_task(**fields):
    return {"at": time.time()}


def tutorial():
    """`POST /jobs` -> the id, `GET /jobs/<id>` -> what AsyncResult knows."""
    flask = Flask(__name__)
    flask.config["CELERY"] = {
        "broker_url": os.environ["BENCH_BROKER"],
        "result_backend": os.environ["BENCH_RESULTS"],
        "task_ignore_result": True,
        "result_extended": True,
    }
    celery_init_app(flask)

    @flask.get("/hello")
    def hello():
        return {"hello": "world"}

    @flask.post("/jobs")
    def start():
        return {"result_id": tutorial_task.delay(**request.get_json()).id}

    @flask.get("/jobs/<id>")
    def result(id):
        found = AsyncResult(id)
        return {"ready": found.ready(), "successful": found.successful(), "value": found.result if found.ready() else None}

    return flask


# -- for the runner


def enqueue(n, ignore_result=False):
    return timed(n, lambda: run.apply_async(kwargs=FIELDS, ignore_result=ignore_result))


def publish(n):
    """kombu's publish of a prepared message: what apply_async could cost."""
    body, headers, properties = (
        '[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]',
        {"lang": "py", "task": run.name, "id": "x", "root_id": "x", "parent_id": None, "group": None, "kwargsrepr": repr(FIELDS)},
        {"correlation_id": "x", "reply_to": "x"},
    )
    with app.producer_or_acquire() as producer:
        publish = lambda: producer.publish(  # noqa: E731
            body, exchange="", routing_key="celery", headers=headers, serializer=None, content_type="application/json",
            content_encoding="utf-8", **properties,
        )  # fmt: skip
        return timed(n, publish)


def update_state(n):
    """Seconds for `n` calls of Task.update_state."""
    started = run.apply_async(kwargs=FIELDS)
    return timed(n, lambda: run.update_state(started.id, state="PROGRESS", meta={"current": 50, "total": 100, "message": "transcoding"}))


def request_of(id):
    """What a worker knows of a request when it stores the result of it."""
    return Context(
        id=id,
        task=run.name,
        args=[],
        kwargs=FIELDS,
        hostname="celery@host",
        retries=0,
        delivery_info={"routing_key": "celery"},
        children=[],
    )


def store_results(n, extended, result):
    """Store `n` results as a worker does after SUCCESS."""
    app.conf.result_extended = extended
    backend = RedisBackend(app=app, url=os.environ["BENCH_RESULTS"])
    for number in range(n):
        id = f"{number:08x}-{os.urandom(2).hex()}-4000-8000-{os.urandom(6).hex()}"
        backend.store_result(id, result, "SUCCESS", request=request_of(id))
    return n


def keep(result):
    """An ended task; its id."""
    done = run.apply_async(kwargs=FIELDS)
    app.backend.store_result(done.id, result, "SUCCESS", request=request_of(done.id))
    return done.id


def start_of(started):
    """Milliseconds from a moment just before apply_async to the task's start, `started` times one after another."""
    waits = []
    for _ in range(started):
        before = time.time()
        waits.append((run.apply_async(kwargs=FIELDS).get(timeout=60)["at"] - before) * 1000)
    return waits


if __name__ == "__main__":
    serve(enqueue=enqueue, publish=publish, update_state=update_state, store_results=store_results, keep=keep, start_of=start_of)
