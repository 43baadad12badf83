"""Every bad request of the corpus over the real app and store: a problem that names what is wrong, of a status that is declared."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from pipeline_jobs.job import NewJob
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.web.schemas.problem import Problem
from pipeline_jobs.worker.app import create_celery
from tests.acceptance.bad_requests.table import HOURLY, Bad, corpus
from tests.cases import each
from tests.declared import PAGE, SITE, UNDOCUMENTED, Declared
from tests.servers import Server

CORPUS = corpus()
#: Routes that can hardly be asked wrongly, but by their method.
NOTHING_TO_SAY = {f"/health/{name}" for name in ("live", "accept", "ready", "installation")} | {"/pipeline/pipelines"} | UNDOCUMENTED


class World:
    """The app over a store that has a job and an upload of each kind."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.app = app
        self.client = app.test_client()
        self.declared = Declared(app)
        self.key = ""
        cell = create_celery(settings).cell
        self.jobs, self.store, uploads = cell.client, cell.store, cell.uploads
        whole = [uploads.create("default", "main", 1) for _ in range(2)]
        for upload in whole:
            uploads.write(upload, 0, io.BytesIO(b"x").read)
        _, self.key = KeyStore(self.store).create(ALL, Role.ADMIN, actor="test")
        self.store.announce("w", 2, [])
        ended, running = (self._started() for _ in range(2))
        self.store.finish(ended[0], ended[1], JobStatus.COMPLETED, result={"success": True, "data": {}})
        self.jobs.submit(NewJob(url=whole[0].url))
        self._make("/pipeline/jobs", {"pipeline": "sleep"}, "used before")
        other = self._make("/pipeline/schedules", {"cron": "1 * * * *", "job": {"pipeline": "sleep"}}, "used before")
        self._make(other + "/run", None, "used before")
        scheduler = Scheduler(self.jobs)
        scheduler.delete(self._make("/pipeline/schedules", json.loads(HOURLY), "its schedule is gone").rpartition("/")[2])
        schedule_id = scheduler.create(NewSchedule("0 * * * *", NewJob(pipeline="sleep"))).schedule.schedule_id
        gone = self._make(f"/pipeline/schedules/{schedule_id}/run", None, "its job is gone").rpartition("/")[2]
        self.jobs.cancel(gone)
        self.jobs.delete(gone)
        self.things = {
            "{job}": self.jobs.submit(NewJob(pipeline="sleep")).job_id,
            "{ended}": ended[0],
            "{running}": running[0],
            "{hook}": cell.webhooks.endpoints.create("acme", "https://hooks.example/x")[0].endpoint_id,
            "{schedule}": schedule_id,
            "{used}": whole[0].upload_id,
            "{upload}": uploads.create("default", "main", 10).upload_id,
            "{incomplete}": uploads.create("default", "main", 10).upload_id,
            "{foreign}": uploads.create("other", "main", 0).upload_id,
        }

    def _make(self, path: str, body: dict[str, Any] | None, key: str) -> str:
        """With this Idempotency-Key. :return: where it is."""
        made = self.client.post(path, json=body, headers={"Idempotency-Key": key, "Authorization": f"Bearer {self.key}"})
        assert made.status_code == 201, made.text
        return made.headers["Location"]

    def _started(self) -> tuple[str, int]:
        job = self.jobs.submit(NewJob(pipeline="sleep"))
        claimed = self.store.claim(job.job_id, self.jobs.get(job.job_id).fence, worker="w", run="r")
        assert not isinstance(claimed, ClaimRefused)
        return job.job_id, claimed.fence

    def send(self, bad: Bad) -> TestResponse:
        return self.client.open(
            self.fill(bad.path),
            method=bad.method,
            data=None if bad.body is None else self.fill(bad.body.decode("latin-1")).encode("latin-1"),
            headers={"Authorization": f"Bearer {self.key}", **bad.headers},
            environ_overrides=bad.environ,
        )

    def fill(self, text: str) -> str:
        for word, thing in self.things.items():
            text = text.replace(word, thing)
        return text

    def count(self) -> tuple[int, int]:
        jobs = sum(self.store.client.zcard(self.store.keys("status", status)) for status in JobStatus)
        return jobs, self.store.client.zcard(self.store.keys("uploads"))


@pytest.fixture(scope="module")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with server.client() as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("bad")
    settings = load_settings(
        {
            "PIPELINE_REDIS_URL": server.url,
            "PIPELINE_DATA_DIR": str(folder),
            "PIPELINE_HISTORY_URL": f"sqlite:///{folder / 'history.db'}",
            "ENABLE_PIPELINE_JOB_QUEUE": "1",
            "ENABLE_PIPELINE_RUN_API": "1",
            "PIPELINE_MODULES": "examples.demo_pipelines",
            "PIPELINE_SECRET_KEY": "test-key",
        }
    )
    made = World(create_api(settings), settings)
    yield made
    made.store.client.close()


def test_the_corpus_is_large_and_every_route_is_in_it(world: World) -> None:
    assert len({(bad.method, bad.path, bad.body, str(bad.headers), str(bad.environ)) for bad in CORPUS}) >= 500
    asked = Counter(world.declared.rule(bad.method, world.fill(bad.path)) for bad in CORPUS)
    # The page answers in HTML, with tests of its own, and the site of the documentation has files only.
    rules = {rule.rule for rule in world.app.url_map.iter_rules() if not rule.rule.startswith((PAGE, SITE))} - NOTHING_TO_SAY
    assert {rule for rule in rules if asked[rule] < 5} == set()


@each("bad", CORPUS, ids=str)
def test_it_is_refused_and_what_is_wrong_is_named(world: World, bad: Bad) -> None:
    before = world.count()
    answer = world.send(bad)
    assert answer.status_code == bad.status, answer.text
    assert answer.mimetype == "application/problem+json"
    body = answer.get_json()
    Problem.model_validate(body)
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert len(answer.data) < 8000
    assert "Traceback" not in answer.text
    assert "X-Injected" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    if bad.status == 405:
        assert answer.headers["Allow"]
    elif "field" in body:
        assert bad.names.startswith(body["field"][:100]) or body["field"].startswith(bad.names[:100]), body
    else:
        assert bad.names.lower() in body["detail"].lower(), body
    assert world.declared.problem_with(bad.method, world.fill(bad.path), answer) is None
    assert world.count() == before, "it did something"
