"""Events of jobs that no worker tells of, on a real broker."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from pipeline_jobs.settings import Settings
from tests.heard import heard
from tests.integration.conftest import make_cell
from tests.stack import ROOT, environment

CANCELS = """
from celery_app import app
from pipeline_jobs.jobs.moved import Moved
for number in range(50):
    app.cell.say(Moved(str(number), "cancelled"))
"""


def events_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(base64.b64decode(json.loads(message["data"])["body"]))
    return found


def test_a_process_that_ends_at_once_has_sent_its_events_in_few_messages(cell: Settings) -> None:
    made = make_cell(cell)
    with heard(made.store.client, "*celeryev*") as since:
        done = subprocess.run([sys.executable, "-c", CANCELS], cwd=ROOT, env=environment(cell), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        messages = since()
    assert len(messages) < 25, "not one for each, however slow this machine is"
    events = [event for message in messages for event in events_of(message)]
    assert [(event["type"], event["uuid"]) for event in events] == [("task-revoked", str(number)) for number in range(50)]
    assert [event["clock"] for event in events] == sorted({event["clock"] for event in events})
    made.cell.close()
