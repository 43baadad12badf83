"""Plain Celery: Redis as broker and result backend, late acknowledgement, lost workers' tasks rejected back to the queue."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task

from tests.chaos.journal import BodyJournal
from tests.chaos.pipeline import POISON
from tests.deaths import deaf

VISIBILITY_SECONDS = 60

app = Celery("plain", broker=os.environ.get("PLAIN_REDIS_URL"), backend=os.environ.get("PLAIN_REDIS_URL"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_track_started=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
    broker_connection_retry_on_startup=True,
    result_expires=86_400,
)


class Failed(Exception):
    """Told to fail."""


@app.task(bind=True, max_retries=1)
def body(self: Task, params: dict[str, Any]) -> dict[str, Any]:
    """What a job of the chaos pipeline does, as a task."""
    # Nothing in a plain task tells one delivery of it from another: a number of our own.
    journal = BodyJournal(Path(os.environ["PLAIN_JOURNAL"]), f"{self.request.id}.{secrets.randbits(40)}")
    journal.write("start")
    try:
        _work(params)
        if params.get("fail") == "always" or (params.get("fail") == "once" and not self.request.retries):
            raise Failed
    except Failed as error:
        journal.write("Failed")
        if params["fail"] == "once":
            raise self.retry(exc=error, countdown=0.5) from error
        raise
    except BaseException as error:
        journal.write(type(error).__name__)
        raise
    journal.write("end")
    return {"token": params["token"]}


def _work(params: dict[str, Any]) -> None:
    seconds = params["seconds"]
    if params.get("poison"):
        time.sleep(seconds / 2)
        POISON[params["poison"]]()
    elif params.get("process"):
        subprocess.run(["sleep", f"{seconds:.3f}"], check=False)
    elif params.get("deaf"):
        deaf(seconds)
    else:
        time.sleep(seconds)
