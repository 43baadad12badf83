"""Who may what, over the real app and store: every route x whose thing is asked for x who asks. And over real processes: the life of a key.

The table says for each route what the design says; it knows nothing of `web/access/policy.py`. A route that is not in it fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count, product
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import ALL, ApiKey, KeyStore, Role
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import NewJob, new_batch_id, new_job_id
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.web.access.auth import Access
from pipeline_jobs.web.access.sessions import COOKIE
from pipeline_jobs.web.state import EXTENSION
from pipeline_jobs.worker.app import create_celery
from tests.declared import Declared
from tests.servers import Server
from tests.stack import Stack
from tests.waiting import until

TARGETS = ("own", "foreign", "unknown", "malformed")
CALLERS = ("no key", "wrong key", "revoked", "expired", "read", "submit", "tenant admin", "global admin")
NOBODY = frozenset({"no key", "wrong key", "revoked", "expired"})
#: The tenant of each target: ours, another that exists, one that nobody has heard of, and what is no name.
TENANTS = {"own": "acme", "foreign": "other", "unknown": "ghost", "malformed": "-bad"}

#: Who passes the policy of a route.
NEEDS = {
    "public": frozenset(CALLERS),
    "operator": frozenset({"global admin"}),
    "read": frozenset({"read", "submit", "tenant admin", "global admin"}),
    "submit": frozenset({"submit", "tenant admin", "global admin"}),
    "admin": frozenset({"tenant admin", "global admin"}),
    "root": frozenset({"global admin"}),
}


@dataclass(frozen=True)
class Route:
    """What the design says of a route: who may, and what they are answered for each target, in the order of `TARGETS`."""

    needs: str
    #: Callers that are bound to the tenant `acme`.
    bound: tuple[int, int, int, int]
    #: Callers of all tenants.
    everywhere: tuple[int, int, int, int]
    #: `path` with `{job}`, `{ended}`, `{batch}`, `{schedule}`, `{tenant}`, `{key}`, `{file}`, `{link}`, `{upload}` for the target's.
    path: str
    body: dict[str, Any] = field(default_factory=dict)
    #: What those are answered who have no good key: the page sends them to its sign-in.
    nobody: int = 401
    headers: dict[str, str] = field(default_factory=dict)


def same(status: int) -> tuple[int, int, int, int]:
    return (status, status, status, status)


#: The page: asked with a session where the API is asked with a key.
UI = "/pipeline/ui"
_JOB, _TENANT = "/pipeline/jobs/{job}", "/pipeline/tenants/{tenant}"
_SCHEDULE, _HOURLY = "/pipeline/schedules/{schedule}", {"cron": "0 * * * *", "job": {"pipeline": "sleep"}, "tenant_id": "{tenant}"}
_NEW = {"pipeline": "sleep", "tenant_id": "{tenant}"}
_MANY = {"jobs": [{"pipeline": "sleep"}], "tenant_id": "{tenant}"}
_HOOKS, _HOOK, _URL = "/pipeline/webhook-endpoints", "/pipeline/webhook-endpoints/{hook}", "https://hooks.example/x"
#: A thing by its id: own, foreign, unknown, malformed.
_OWN, _ANY = (200, 404, 404, 404), (200, 200, 404, 404)
_LATER, _LATER_ANY = (202, 404, 404, 404), (202, 202, 404, 404)
#: By method and rule. A new route needs a line here, and a policy.
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/pipeline/jobs"): Route("submit", (201, 403, 403, 422), (201, 201, 201, 422), "/pipeline/jobs", _NEW),
    ("GET", "/pipeline/jobs"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/jobs?tenant_id={tenant}"),
    ("GET", "/pipeline/jobs/<job_id>"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), _JOB),
    ("DELETE", "/pipeline/jobs/<job_id>"): Route("submit", (200, 404, 404, 404), (200, 200, 404, 404), _JOB),
    ("PATCH", "/pipeline/jobs/<job_id>"): Route("submit", (200, 404, 404, 404), (200, 200, 404, 404), _JOB, {"priority": 5}),
    ("POST", "/pipeline/jobs/<job_id>/cancel"): Route("submit", (200, 404, 404, 404), (200, 200, 404, 404), _JOB + "/cancel"),
    ("POST", "/pipeline/jobs/<job_id>/retry"): Route("submit", (201, 404, 404, 404), (201, 201, 404, 404), "/pipeline/jobs/{ended}/retry"),
    ("POST", "/pipeline/jobs/cancel"): Route(
        "submit", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/jobs/cancel", {"tenant_id": "{tenant}", "tag": "x"}
    ),
    ("POST", "/pipeline/batches"): Route("submit", (201, 403, 403, 422), (201, 201, 201, 422), "/pipeline/batches", _MANY),
    ("GET", "/pipeline/batches"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/batches?tenant_id={tenant}"),
    ("GET", "/pipeline/batches/<batch_id>"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), "/pipeline/batches/{batch}"),
    ("POST", "/pipeline/batches/<batch_id>/cancel"): Route(
        "submit", (200, 404, 404, 404), (200, 200, 404, 404), "/pipeline/batches/{batch}/cancel"
    ),
    ("GET", "/pipeline/jobs/<job_id>/events"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), _JOB + "/events"),
    # Whoever may is told that it is a WebSocket.
    ("GET", "/pipeline/jobs/<job_id>/ws"): Route("read", (426, 404, 404, 404), (426, 426, 404, 404), _JOB + "/ws"),
    ("GET", "/pipeline/events"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/events?tenant_id={tenant}"),
    ("POST", "/pipeline/events/token"): Route(
        "read", (201, 403, 403, 422), (201, 201, 201, 422), "/pipeline/events/token", {"tenant_id": "{tenant}"}
    ),
    ("POST", "/pipeline/run"): Route("submit", (202, 403, 403, 422), (202, 202, 202, 422), "/pipeline/run", {**_NEW, "timeout": 0}),
    ("GET", "/pipeline/pipelines"): Route("read", same(200), same(200), "/pipeline/pipelines?tenant_id={tenant}"),
    ("GET", "/pipeline/artifacts/<path:path>"): Route("public", (200, 200, 404, 404), (200, 200, 404, 404), "{link}"),
    ("POST", "/pipeline/uploads"): Route(
        "submit", (201, 403, 403, 422), (201, 201, 201, 422), "/pipeline/uploads?tenant_id={tenant}", headers={"Upload-Length": "3"}
    ),
    ("GET", "/pipeline/uploads"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/uploads?tenant_id={tenant}"),
    ("GET", "/pipeline/uploads/<upload_id>"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), "/pipeline/uploads/{upload}"),
    ("PATCH", "/pipeline/uploads/<upload_id>"): Route(
        "submit",
        (204, 404, 404, 404),
        (204, 204, 404, 404),
        "/pipeline/uploads/{upload}",
        headers={"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
    ),
    ("DELETE", "/pipeline/uploads/<upload_id>"): Route("submit", (204, 404, 404, 404), (204, 204, 404, 404), "/pipeline/uploads/{upload}"),
    ("POST", "/pipeline/schedules"): Route("submit", (201, 403, 403, 422), (201, 201, 201, 422), "/pipeline/schedules", _HOURLY),
    ("GET", "/pipeline/schedules"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/schedules?tenant_id={tenant}"),
    ("GET", "/pipeline/schedules/<schedule_id>"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), _SCHEDULE),
    ("PATCH", "/pipeline/schedules/<schedule_id>"): Route("submit", (200, 404, 404, 404), (200, 200, 404, 404), _SCHEDULE, {"name": "x"}),
    ("DELETE", "/pipeline/schedules/<schedule_id>"): Route("submit", (200, 404, 404, 404), (200, 200, 404, 404), _SCHEDULE),
    ("POST", "/pipeline/schedules/<schedule_id>/pause"): Route("submit", (200, 404, 404, 404), (200, 200, 404, 404), _SCHEDULE + "/pause"),
    ("POST", "/pipeline/schedules/<schedule_id>/resume"): Route(
        "submit", (200, 404, 404, 404), (200, 200, 404, 404), _SCHEDULE + "/resume"
    ),
    ("POST", "/pipeline/schedules/<schedule_id>/run"): Route("submit", (201, 404, 404, 404), (201, 201, 404, 404), _SCHEDULE + "/run"),
    ("GET", "/pipeline/tenants/<tenant_id>/keys"): Route("admin", (200, 403, 403, 403), (200, 200, 200, 422), _TENANT + "/keys"),
    ("POST", "/pipeline/tenants/<tenant_id>/keys"): Route(
        "admin", (201, 403, 403, 403), (201, 201, 201, 422), _TENANT + "/keys", {"role": "read"}
    ),
    ("DELETE", "/pipeline/tenants/<tenant_id>/keys/<key_id>"): Route(
        "admin", (200, 404, 404, 404), (200, 404, 404, 404), "/pipeline/tenants/acme/keys/{key}"
    ),
    ("GET", "/pipeline/tenants/<tenant_id>/limits"): Route("admin", (200, 403, 403, 403), (200, 200, 200, 422), _TENANT + "/limits"),
    ("PUT", "/pipeline/tenants/<tenant_id>/limits"): Route("root", same(403), (200, 200, 200, 422), _TENANT + "/limits", {"weight": 1}),
    ("GET", "/pipeline/tenants/<tenant_id>/usage"): Route("admin", (200, 403, 403, 403), (200, 200, 200, 422), _TENANT + "/usage"),
    ("DELETE", "/pipeline/tenants/<tenant_id>"): Route("root", same(403), (200, 200, 200, 422), _TENANT + "?dry_run=true"),
    ("POST", _HOOKS): Route("admin", (201, 403, 403, 422), (201, 201, 201, 422), _HOOKS, {"tenant_id": "{tenant}", "url": _URL}),
    ("GET", _HOOKS): Route("admin", (200, 403, 403, 422), (200, 200, 200, 422), _HOOKS + "?tenant_id={tenant}"),
    ("GET", _HOOKS + "/<endpoint_id>"): Route("admin", _OWN, _ANY, _HOOK),
    ("PATCH", _HOOKS + "/<endpoint_id>"): Route("admin", _OWN, _ANY, _HOOK, {"description": "x"}),
    ("DELETE", _HOOKS + "/<endpoint_id>"): Route("admin", _OWN, _ANY, _HOOK),
    ("POST", _HOOKS + "/<endpoint_id>/rotate"): Route("admin", _OWN, _ANY, _HOOK + "/rotate"),
    ("POST", _HOOKS + "/<endpoint_id>/test"): Route("admin", _LATER, _LATER_ANY, _HOOK + "/test"),
    ("GET", "/pipeline/tenants/<tenant_id>/webhook-secret"): Route(
        "admin", (200, 403, 403, 403), (200, 200, 200, 422), _TENANT + "/webhook-secret"
    ),
    ("POST", "/pipeline/tenants/<tenant_id>/webhook-secret/rotate"): Route(
        "admin", (200, 403, 403, 403), (200, 200, 200, 422), _TENANT + "/webhook-secret/rotate"
    ),
    ("GET", "/pipeline/jobs/<job_id>/deliveries"): Route("read", _OWN, _ANY, _JOB + "/deliveries"),
    ("GET", "/pipeline/deliveries"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/deliveries?tenant_id={tenant}"),
    ("GET", "/pipeline/deliveries/<delivery_id>"): Route("read", _OWN, _ANY, "/pipeline/deliveries/{delivery}"),
    ("POST", "/pipeline/deliveries/<delivery_id>/redeliver"): Route(
        "submit", _LATER, _LATER_ANY, "/pipeline/deliveries/{delivery}/redeliver"
    ),
    ("GET", "/pipeline/pipelines/<pipeline>/limits"): Route(
        "root", same(403), (200, 404, 404, 422), "/pipeline/pipelines/{pipeline}/limits"
    ),
    ("PUT", "/pipeline/pipelines/<pipeline>/limits"): Route(
        "root", same(403), (200, 404, 404, 422), "/pipeline/pipelines/{pipeline}/limits", {"max_concurrent": 7}
    ),
    ("GET", "/pipeline/audit"): Route("root", same(403), (200, 400, 400, 400), "/pipeline/audit{odd}"),
    ("GET", UI): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), UI + "?tenant_id={tenant}", nobody=303),
    ("GET", UI + "/jobs"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), UI + "/jobs?tenant_id={tenant}", nobody=303),
    ("GET", UI + "/jobs/<job_id>"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), UI + "/jobs/{job}", nobody=303),
    ("POST", UI + "/jobs/<job_id>/cancel"): Route(
        "submit", (303, 404, 404, 404), (303, 303, 404, 404), UI + "/jobs/{job}/cancel", nobody=303
    ),
    ("POST", UI + "/jobs/<job_id>/retry"): Route(
        "submit", (303, 404, 404, 404), (303, 303, 404, 404), UI + "/jobs/{ended}/retry", nobody=303
    ),
    # It has not ended: that is told to those whose it is.
    ("POST", UI + "/jobs/<job_id>/delete"): Route(
        "submit", (409, 404, 404, 404), (409, 409, 404, 404), UI + "/jobs/{job}/delete", nobody=303
    ),
    ("GET", UI + "/submit"): Route("submit", same(200), same(200), UI + "/submit?pipeline=sleep", nobody=303),
    ("POST", UI + "/submit"): Route("submit", (303, 403, 403, 422), (303, 303, 303, 422), UI + "/submit", _NEW, nobody=303),
    ("GET", UI + "/tenants/<tenant_id>"): Route("admin", (200, 403, 403, 403), (200, 200, 200, 422), UI + "/tenants/{tenant}", nobody=303),
    ("POST", UI + "/tenants/<tenant_id>/limits"): Route(
        "root", same(403), (303, 303, 303, 422), UI + "/tenants/{tenant}/limits", {"weight": "1"}, nobody=303
    ),
    ("GET", UI + "/sign-in"): Route("public", same(200), same(200), UI + "/sign-in"),
    ("POST", UI + "/sign-in"): Route("public", same(401), same(401), UI + "/sign-in", {"key": "pjk_x"}),
    ("POST", UI + "/sign-out"): Route("public", same(303), same(303), UI + "/sign-out"),
    ("GET", UI + "/static/<path:filename>"): Route("public", (200, 404, 404, 404), (200, 404, 404, 404), UI + "/static/{asset}"),
    ("GET", "/metrics"): Route("operator", same(200), same(200), "/metrics?tenant_id={tenant}"),
    # Its workers are missing: whoever may know is told so.
    ("GET", "/health/ready"): Route("operator", same(503), same(503), "/health/ready?tenant_id={tenant}"),
    ("GET", "/health/live"): Route("public", same(200), same(200), "/health/live?tenant_id={tenant}"),
    ("GET", "/openapi.json"): Route("public", same(200), same(200), "/openapi.json?tenant_id={tenant}"),
    ("GET", "/docs"): Route("public", same(200), same(200), "/docs?tenant_id={tenant}"),
    ("GET", "/docs/static/<path:filename>"): Route("public", (200, 404, 404, 404), (200, 404, 404, 404), "/docs/static/{file}"),
    ("GET", "/docs/swagger/<path:filename>"): Route("public", (200, 404, 404, 404), (200, 404, 404, 404), "/docs/swagger/{page}"),
}

CELLS = [(*route, target, caller) for route, target, caller in product(ROUTES, TARGETS, CALLERS)]


class World:
    """The app of a cell of its own, a key of each kind, and something of each target."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.client = app.test_client(use_cookies=False)
        self.declared = Declared(app)
        cell = create_celery(settings).cell
        self.jobs, self.endpoints = cell.client, cell.webhooks.endpoints
        self.store = self.jobs.store
        self.keys = KeyStore(self.store)
        self.artifacts = ArtifactStore(settings.artifacts_root, "", lambda: settings.secret_key)
        self.uploads = Uploads(self.store, settings, self.artifacts)
        self._addresses = count()
        self.texts: dict[str, str | None] = {"no key": None}
        self.sessions: dict[str, str] = {}
        made = {"revoked": Role.ADMIN, "expired": Role.ADMIN, "read": Role.READ, "submit": Role.SUBMIT, "tenant admin": Role.ADMIN}
        for name, role in made.items():
            key, self.texts[name] = self.keys.create("acme", role, actor="test")
            self.sessions[name] = self.session(key)
            if name == "revoked":
                self.keys.revoke("acme", key.key_id, actor="test")
            if name == "expired":
                self.store.client.hset(f"{settings.key_prefix}api_key:{key.key_id}", "expires_at", 1)
        key, self.texts["global admin"] = self.keys.create(ALL, Role.ADMIN, actor="test")
        self.sessions["global admin"] = self.session(key)
        self.sessions["wrong key"] = self.session(key, hash="0" * 64)
        # The id of a good key, and another secret.
        self.texts["wrong key"] = f"{str(self.texts['global admin'])[:21]}{'x' * 43}"
        self.store.announce("w", 100, [])
        self.links = {"own": self.link("acme"), "foreign": self.link("other")}
        self.links["unknown"] = self.artifacts.link("ghost/main/job_1_00000000/1/a.txt")
        self.links["malformed"] = self.links["own"][:-3] + "..."
        # From here on jobs stay queued.
        self.store.announce("w", 0, [])

    def link(self, tenant_id: str) -> str:
        """The link of a file that a completed job of this tenant published."""
        job = self.jobs.submit(NewJob(pipeline="sleep", tenant_id=tenant_id))
        claimed = self.store.claim(job.job_id, self.jobs.get(job.job_id).fence, worker="w", run="r")
        assert not isinstance(claimed, ClaimRefused)
        folder = f"{tenant_id}/main/{job.job_id}/{claimed.fence}"
        local = self.settings.data_dir / "a.txt"
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_text("hello")
        self.artifacts.put(local, f"{folder}/a.txt")
        self.store.finish(job.job_id, claimed.fence, JobStatus.COMPLETED, result={"success": True, "data": {}}, artifacts=folder)
        return self.artifacts.link(f"{folder}/a.txt")

    def session(self, key: ApiKey, **changes: Any) -> str:
        """The cookie of whoever signed in with this key while it was good."""
        stored = self.keys.get(key.key_id)
        assert stored is not None
        access: Access = self.app.extensions[EXTENSION].access
        return f"{COOKIE}={access.sessions.cookie(replace(stored, **changes))}"

    def job(self, target: str, *, ended: bool = False) -> str:
        if target in ("own", "foreign"):
            job_id = self.jobs.submit(NewJob(pipeline="sleep", tenant_id=TENANTS[target])).job_id
            return self.jobs.cancel(job_id).job_id if ended else job_id
        return new_job_id() if target == "unknown" else "-bad%20id%00"

    def upload(self, target: str) -> str:
        if target in ("own", "foreign"):
            return self.uploads.create(TENANTS[target], "main", 3).upload_id
        return "0" * 24 if target == "unknown" else "-bad%20id%00"

    def batch(self, target: str) -> str:
        if target in ("own", "foreign"):
            return Batches(self.jobs).create(NewBatch([NewJob(pipeline="sleep")], TENANTS[target])).batch.batch_id
        return new_batch_id() if target == "unknown" else "-bad%20id%00"

    def schedule(self, target: str) -> str:
        if target in ("own", "foreign"):
            job = NewJob(pipeline="sleep", tenant_id=TENANTS[target])
            return Scheduler(self.jobs).create(NewSchedule("0 * * * *", job)).schedule.schedule_id
        return "sch_1_00000000" if target == "unknown" else "-bad%20id%00"

    def key(self, target: str) -> str:
        if target in ("own", "foreign"):
            return self.keys.create(TENANTS[target], Role.READ, actor="test")[0].key_id
        return "f" * 16 if target == "unknown" else "-bad"

    def hook(self, target: str) -> str:
        if target not in ("own", "foreign"):
            return f"whep_{'f' * 16}" if target == "unknown" else "-bad%00"
        there = self.endpoints.list(TENANTS[target], None, 100).items
        if len(there) >= 40:
            # A tenant has only so many.
            for old in there:
                self.endpoints.delete(old.endpoint_id)
        return self.endpoints.create(TENANTS[target], "https://hooks.example/x")[0].endpoint_id

    def delivery(self, target: str) -> str:
        if target in ("own", "foreign"):
            return self.endpoints.test(self.hook(target))
        return f"msg_{'f' * 32}" if target == "unknown" else "-bad%00"

    def ask(self, method: str, path: str, caller: str, body: dict[str, Any] | None = None, /, **headers: str) -> TestResponse:
        """From an address of its own each time, elsewhere: the wrong keys of one cell must not shut out the next."""
        number = next(self._addresses)
        text = self.texts[caller]
        environ = {"REMOTE_ADDR": f"203.0.{number // 250}.{number % 250}"}
        if path.startswith(UI):
            headers = {**headers, "Origin": "http://localhost", "Cookie": self.sessions.get(caller, "")}
            return self.client.open(path, method=method, data=body or None, headers=headers, environ_overrides=environ)
        if text is not None:
            headers["Authorization"] = f"Bearer {text}"
        return self.client.open(path, method=method, json=body or None, headers=headers, environ_overrides=environ)

    def cell(self, method: str, rule: str, target: str, caller: str) -> TestResponse:
        route = ROUTES[method, rule]
        words: dict[str, Callable[[], str]] = {
            "{job}": lambda: self.job(target),
            "{ended}": lambda: self.job(target, ended=True),
            "{batch}": lambda: self.batch(target),
            "{schedule}": lambda: self.schedule(target),
            "{key}": lambda: self.key(target),
            "{hook}": lambda: self.hook(target),
            "{delivery}": lambda: self.delivery(target),
            "{tenant}": lambda: TENANTS[target],
            "{upload}": lambda: self.upload(target),
            "{link}": lambda: self.links[target],
            "{pipeline}": lambda: {"own": "sleep", "foreign": "another", "unknown": "ghost", "malformed": "-bad"}[target],
            "{file}": lambda: {"own": "docs.js", "foreign": "../app.py", "unknown": "x.js", "malformed": "%00"}[target],
            "{page}": lambda: {"own": "css/swagger-ui.css", "foreign": "../x", "unknown": "x.js", "malformed": "%00"}[target],
            "{asset}": lambda: {"own": "ui.js", "foreign": "../app.py", "unknown": "x.js", "malformed": "%00"}[target],
            "{odd}": lambda: {"own": "", "foreign": "?tenant_id=other", "unknown": "?x=1", "malformed": "?limit=1&limit=2"}[target],
        }
        path = route.path
        for word, value in words.items():
            if word in path:
                path = path.replace(word, value())
        body = {name: TENANTS[target] if value == "{tenant}" else value for name, value in route.body.items()}
        response = self.ask(method, path, caller, body, **route.headers)
        assert self.declared.problem_with(method, path, response) is None
        return response


@pytest.fixture(scope="module")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with server.client() as client:
        client.flushall()
    settings = load_settings(
        {
            "PIPELINE_REDIS_URL": server.url,
            "PIPELINE_DATA_DIR": str(tmp_path_factory.mktemp("isolation")),
            "ENABLE_PIPELINE_JOB_QUEUE": "1",
            "ENABLE_PIPELINE_RUN_API": "1",
            "PIPELINE_MODULES": "examples.demo_pipelines",
            "PIPELINE_SECRET_KEY": "test-key",
            "PIPELINE_MAX_SCHEDULES_PER_TENANT": "1000",
        }
    )
    made = World(create_api(settings), settings)
    yield made
    made.store.client.close()


def expected(method: str, rule: str, target: str, caller: str) -> int:
    route = ROUTES[method, rule]
    if route.needs != "public" and caller in NOBODY:
        return route.nobody
    if caller not in NEEDS[route.needs]:
        return 403
    return (route.everywhere if caller == "global admin" else route.bound)[TARGETS.index(target)]


def test_the_table_has_every_route_and_no_other(world: World) -> None:
    served = {(method, rule.rule) for rule in world.app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert served == set(ROUTES)
    assert len(CELLS) >= 300


@pytest.mark.parametrize(("method", "rule", "target", "caller"), CELLS)
def test_every_cell_is_as_specified(world: World, method: str, rule: str, target: str, caller: str) -> None:
    response = world.cell(method, rule, target, caller)
    try:
        assert response.status_code == expected(method, rule, target, caller), response.text
        if response.status_code >= 400:
            assert response.mimetype == ("text/html" if rule.startswith(UI) else "application/problem+json")
        for secret in (text.split("_", 2)[2] for text in world.texts.values() if text):
            assert secret not in response.text
        if caller != "global admin" and ROUTES[method, rule].needs != "public":
            # The path that was asked for is said again in a problem.
            assert "other" not in response.text.replace("another", "").replace("/tenants/other", ""), "told of another tenant"
    finally:
        response.close()


@pytest.mark.parametrize("path", sorted({rule for _, rule in ROUTES if "<" not in rule}))
def test_a_refused_method_tells_the_same_to_all(world: World, path: str) -> None:
    answers = {world.ask("PUT", path, caller, **{"X-Request-Id": "same"}).data for caller in CALLERS}
    assert len(answers) == 1


@pytest.mark.parametrize("caller", ["read", "submit", "tenant admin"])
@pytest.mark.parametrize(
    ("method", "tail"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/ws"), ("GET", "/deliveries")]
)
def test_a_foreign_job_is_an_unknown_one_byte_for_byte(world: World, caller: str, method: str, tail: str) -> None:
    job_id = world.job("foreign")
    before = world.store.client.hgetall(world.store.keys("job", job_id))
    headers = {"X-Request-Id": "same", "Prefer": "wait=5"}
    foreign = world.ask(method, f"/pipeline/jobs/{job_id}{tail}", caller, **headers)
    assert world.store.client.hgetall(world.store.keys("job", job_id)) == before
    world.jobs.cancel(job_id)
    world.jobs.delete(job_id)
    unknown = world.ask(method, f"/pipeline/jobs/{job_id}{tail}", caller, **headers)
    assert (foreign.status, foreign.data, sorted(foreign.headers)) == (unknown.status, unknown.data, sorted(unknown.headers))


@pytest.mark.parametrize("caller", ["submit", "tenant admin"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE"])
def test_a_foreign_upload_is_an_unknown_one_byte_for_byte(world: World, caller: str, method: str) -> None:
    upload_id = world.upload("foreign")
    headers = {"X-Request-Id": "same", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    foreign = world.ask(method, f"/pipeline/uploads/{upload_id}", caller, **headers)
    assert world.uploads.get(upload_id).offset == 0
    world.uploads.delete(upload_id)
    unknown = world.ask(method, f"/pipeline/uploads/{upload_id}", caller, **headers)
    assert (foreign.status_code, foreign.data, sorted(foreign.headers)) == (404, unknown.data, sorted(unknown.headers))
    job = world.ask("POST", "/pipeline/jobs", caller, {"url": f"upload://{world.upload('foreign')}"})
    other = world.ask("POST", "/pipeline/jobs", caller, {"url": "upload://" + "0" * 24})
    assert job.status_code == other.status_code == 422
    assert job.get_json()["errors"] == other.get_json()["errors"]


@pytest.mark.parametrize("caller", ["read", "submit", "tenant admin"])
@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("POST", "/cancel")])
def test_a_foreign_batch_is_an_unknown_one_byte_for_byte(world: World, caller: str, method: str, tail: str) -> None:
    batch_id = world.batch("foreign")
    job = world.jobs.get(world.jobs.list(JobQuery(batch_id=batch_id)).items[0].job_id)
    foreign = world.ask(method, f"/pipeline/batches/{batch_id}{tail}", caller, **{"X-Request-Id": "same"})
    assert world.jobs.get(job.job_id) == job
    world.jobs.cancel(job.job_id)
    world.jobs.delete(job.job_id)
    unknown = world.ask(method, f"/pipeline/batches/{batch_id}{tail}", caller, **{"X-Request-Id": "same"})
    assert (foreign.status, foreign.data, sorted(foreign.headers)) == (unknown.status, unknown.data, sorted(unknown.headers))


@pytest.mark.parametrize("many", [False, True], ids=["one job", "a batch"])
def test_a_foreign_job_cannot_be_depended_on_and_is_an_unknown_one(world: World, many: bool) -> None:
    _, text = world.keys.create("acme", Role.SUBMIT, actor="test", workspace_id="blog")
    world.texts["blog"] = text
    try:
        foreign, other_workspace = world.job("foreign"), world.job("own")
        answers = []
        for job_id in (foreign, other_workspace, new_job_id()):
            job = {"pipeline": "sleep", "depends_on": [job_id]}
            path, body = ("/pipeline/batches", {"jobs": [job]}) if many else ("/pipeline/jobs", job)
            response = world.ask("POST", path, "blog", body, **{"X-Request-Id": "same"})
            assert response.status_code == 422
            answers.append(response.data)
        assert len(set(answers)) == 1
        own = world.jobs.submit(NewJob(pipeline="sleep", tenant_id="acme", workspace_id="blog")).job_id
        assert world.ask("POST", "/pipeline/jobs", "blog", {"pipeline": "sleep", "depends_on": [own]}).status_code == 201
    finally:
        del world.texts["blog"]


def test_jobs_of_another_workspace_are_not_cancelled_by_filter(world: World) -> None:
    _, text = world.keys.create("acme", Role.SUBMIT, actor="test", workspace_id="blog")
    world.texts["blog"] = text
    try:
        other = world.jobs.submit(NewJob(pipeline="sleep", tenant_id="acme", tags=("trial",)))
        mine = world.jobs.submit(NewJob(pipeline="sleep", tenant_id="acme", workspace_id="blog", tags=("trial",)))
        answer = world.ask("POST", "/pipeline/jobs/cancel", "blog", {"tag": "trial"}).get_json()
        assert (answer["matched"], answer["cancelled"]) == (1, 1)
        assert [world.jobs.get(job.job_id).cancel_requested for job in (other, mine)] == [False, True]
    finally:
        del world.texts["blog"]


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/run")])
def test_a_foreign_schedule_is_an_unknown_one_byte_for_byte(world: World, method: str, tail: str) -> None:
    schedule_id = world.schedule("foreign")
    before = world.store.client.hgetall(world.store.keys("schedule", schedule_id))
    body = {"name": "x"} if method == "PATCH" else None

    def ask() -> TestResponse:
        return world.ask(method, f"/pipeline/schedules/{schedule_id}{tail}", "tenant admin", body, **{"X-Request-Id": "same"})

    foreign = ask()
    assert world.store.client.hgetall(world.store.keys("schedule", schedule_id)) == before
    Scheduler(world.jobs).delete(schedule_id)
    unknown = ask()
    assert (foreign.status, foreign.data, sorted(foreign.headers)) == (unknown.status, unknown.data, sorted(unknown.headers))


def test_a_key_of_a_workspace_sees_the_schedules_of_no_other(world: World) -> None:
    _, world.texts["workspace"] = world.keys.create("acme", Role.SUBMIT, actor="test", workspace_id="w1")
    job = NewJob(pipeline="sleep", tenant_id="acme", workspace_id="w2")
    other = Scheduler(world.jobs).create(NewSchedule("0 * * * *", job)).schedule
    mine = world.ask("POST", "/pipeline/schedules", "workspace", {"cron": "0 * * * *", "job": {"pipeline": "sleep"}}).get_json()
    assert (mine["tenant_id"], mine["workspace_id"]) == ("acme", "w1")
    listed = world.ask("GET", "/pipeline/schedules", "workspace").get_json()["schedules"]
    assert [one["schedule_id"] for one in listed] == [mine["schedule_id"]]
    assert world.ask("GET", f"/pipeline/schedules/{other.schedule_id}", "workspace").status_code == 404
    assert world.ask("GET", "/pipeline/schedules?workspace_id=w2", "workspace").status_code == 403
    del world.texts["workspace"]


def test_a_key_of_a_workspace_lists_the_uploads_of_no_other(world: World) -> None:
    _, world.texts["workspace"] = world.keys.create("acme", Role.READ, actor="test", workspace_id="w1")
    try:
        mine = [world.uploads.create("acme", "w1", 1).upload_id for _ in range(3)]
        world.uploads.create("acme", "w2", 1)
        world.uploads.create("other", "w1", 1)
        seen, cursor = [], ""
        while True:
            body = world.ask("GET", f"/pipeline/uploads?limit=2{cursor}", "workspace").get_json()
            seen += [upload["upload_id"] for upload in body["uploads"]]
            if body["next_cursor"] is None:
                break
            cursor = f"&cursor={body['next_cursor']}"
        assert seen == mine[::-1]
        assert world.ask("GET", "/pipeline/uploads?workspace_id=w2", "workspace").status_code == 403
        # A cursor says a place in time, not whose.
        theirs = world.ask("GET", "/pipeline/uploads?tenant_id=other&limit=1", "global admin").get_json()["next_cursor"]
        went_on = world.ask("GET", f"/pipeline/uploads?cursor={theirs}", "workspace").get_json()["uploads"] if theirs else []
        assert {upload["upload_id"] for upload in went_on} <= set(mine)
        assert {upload["tenant_id"] for upload in world.ask("GET", "/pipeline/uploads?limit=100", "read").get_json()["uploads"]} == {"acme"}
    finally:
        del world.texts["workspace"]


def test_an_idempotency_key_of_a_workspace_says_nothing_of_the_schedules_of_another(world: World) -> None:
    hourly, same = {"cron": "0 * * * *", "job": {"pipeline": "sleep"}}, {"Idempotency-Key": "of a workspace"}
    for name in ("blog1", "blog2"):
        _, world.texts[name] = world.keys.create("acme", Role.SUBMIT, actor="test", workspace_id=name)
    try:
        made = [world.ask("POST", "/pipeline/schedules", name, hourly, **same) for name in ("blog1", "blog2", "tenant admin", "blog1")]
        assert [answer.headers.get("Idempotent-Replayed") for answer in made] == [None, None, None, "true"]
        assert len({answer.get_json()["schedule_id"] for answer in made}) == 3
        # Another request with it is refused to those whose it is; to others it is a new key.
        assert world.ask("POST", "/pipeline/schedules", "blog2", {**hourly, "name": "x"}, **same).status_code == 422
        runs = [
            world.ask("POST", made[0].headers["Location"] + "/run", name, **same) for name in ("blog1", "tenant admin", "blog2", "blog1")
        ]
        assert [(answer.status_code, answer.headers.get("Idempotent-Replayed")) for answer in runs] == [
            (201, None), (201, None), (404, None), (201, "true"),
        ]  # fmt: skip
    finally:
        del world.texts["blog1"], world.texts["blog2"]


def test_the_feed_and_a_foreign_jobs_token_never_leave_the_tenant(world: World) -> None:
    own, foreign = world.job("own"), world.job("foreign")
    told = world.ask("GET", "/pipeline/events?limit=500", "read").get_json()["events"]
    assert own in {event["job_id"] for event in told}
    assert {event["tenant_id"] for event in told} == {"acme"}
    assert world.ask("POST", "/pipeline/events/token", "read", {"job_id": foreign}).status_code == 404
    token = world.ask("POST", "/pipeline/events/token", "global admin", {"job_id": foreign}).get_json()["token"]
    assert world.ask("GET", f"/pipeline/jobs/{foreign}/events?token={token}", "no key").status_code == 200
    # It opens what it was made for, whoever shows it, and nothing else.
    for path in (f"/pipeline/jobs/{own}/events", f"/pipeline/jobs/{own}/ws"):
        assert world.ask("GET", f"{path}?token={token}", "read").status_code == 404
    assert world.ask("GET", f"/pipeline/events?tenant_id=other&token={token}", "no key").status_code == 403
    assert world.ask("GET", f"/pipeline/jobs/{foreign}?token={token}", "no key").status_code == 401


def test_a_list_and_its_cursors_never_leave_the_tenant(world: World) -> None:
    for _ in range(3):
        for tenant in ("own", "foreign"):
            world.job(tenant)
    seen: set[str] = set()
    cursor = ""
    while True:
        body = world.ask("GET", f"/pipeline/jobs?limit=2{cursor}", "read").get_json()
        seen |= {job["tenant_id"] for job in body["jobs"]}
        if body["next_cursor"] is None:
            break
        cursor = f"&cursor={body['next_cursor']}"
    assert seen == {"acme"}
    # A page of another tenant's list continues as a page of one's own.
    theirs = world.ask("GET", "/pipeline/jobs?tenant_id=other&limit=1", "global admin").get_json()["next_cursor"]
    assert {job["tenant_id"] for job in world.ask("GET", f"/pipeline/jobs?cursor={theirs}", "read").get_json()["jobs"]} == {"acme"}


def test_a_key_of_a_workspace_lists_and_cancels_its_own_jobs_by_any_mix(world: World) -> None:
    _, world.texts["workspace"] = world.keys.create("acme", Role.SUBMIT, actor="test", workspace_id="w1")
    made = {
        place: world.jobs.submit(NewJob(pipeline="sleep", tenant_id=place[0], workspace_id=place[1], tags=("x",))).job_id
        for place in product(("acme", "other"), ("w1", "w2"))
    }
    own = made.pop(("acme", "w1"))
    filters = {"tag": "x", "pipeline": "sleep", "status": "queued", "tenant_id": "acme", "workspace_id": "w1"}
    for chosen in product((False, True), repeat=len(filters)):
        named = {name: value for (name, value), is_chosen in zip(filters.items(), chosen, strict=True) if is_chosen}
        answer = world.ask("GET", f"/pipeline/jobs?{urlencode(named)}", "workspace").get_json()
        assert [job["job_id"] for job in answer["jobs"]] == [own], named
        assert answer["next_cursor"] is None
    body = {"tag": "x", "pipeline": "sleep", "status": ["queued"]}
    for foreign in ({"tenant_id": "other"}, {"workspace_id": "w2"}):
        assert world.ask("GET", f"/pipeline/jobs?tag=x&{urlencode(foreign)}", "workspace").status_code == 403
        assert world.ask("POST", "/pipeline/jobs/cancel", "workspace", {**body, **foreign}).status_code == 403
    for dry_run in (True, False):
        assert world.ask("POST", "/pipeline/jobs/cancel", "workspace", {**body, "dry_run": dry_run}).get_json()["matched"] == 1
    assert world.jobs.get(own).cancel_requested
    assert not any(world.jobs.get(job_id).cancel_requested for job_id in made.values())
    del world.texts["workspace"]


def test_what_admins_did_is_in_the_audit_log_without_a_secret(world: World) -> None:
    made = world.ask("POST", "/pipeline/tenants/acme/keys", "tenant admin", {"role": "submit", "name": "ci"}).get_json()
    world.ask("DELETE", f"/pipeline/tenants/acme/keys/{made['key_id']}", "global admin")
    page = world.ask("GET", "/pipeline/audit?limit=2", "global admin")
    admin, root = (str(world.texts[name]).split("_")[1] for name in ("tenant admin", "global admin"))
    assert [(row["action"], row["target"], row["actor"]) for row in page.get_json()["rows"]] == [
        ("key.revoked", made["key_id"], f"key:{root}"), ("key.created", made["key_id"], f"key:{admin}"),
    ]  # fmt: skip
    assert page.get_json()["rows"][1]["detail"] == {"tenant_id": "acme", "name": "ci", "role": "submit"}
    older = world.ask("GET", f"/pipeline/audit?limit=1&cursor={page.get_json()['next_cursor']}", "global admin")
    assert older.status_code == 200
    secrets = [text.split("_", 2)[2] for text in [*world.texts.values(), made["key"]] if text]
    everything = str([row.to_dict() for row in audit.page(world.store, limit=10_000).items])
    assert not [secret for secret in secrets if secret in everything]


MakeStack = Callable[..., Stack]


def test_a_key_from_the_command_line_to_its_revocation_over_real_processes(make_stack: MakeStack) -> None:
    stack = make_stack()
    first, second = stack.api(), stack.api()
    assert first.get("/pipeline/jobs").status_code == 200
    until(lambda: "no_api_key_so_loopback_only" in stack.log("api"), "the API to say that it serves loopback only")
    assert "no API key has been created" in first.get("/health/ready").text

    done = stack.celery("jobs", "key", "create", "--all-tenants", "--role", "admin", "--name", "first")
    assert done.returncode == 0, done.stderr
    root = done.stdout.strip()
    assert re.fullmatch(r"pjk_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", root)
    for api in (first, second):
        until(lambda api=api: api.get("/pipeline/jobs").status_code == 401, "both processes to ask for a key")

    headers = {"Authorization": f"Bearer {root}"}
    made = first.post("/pipeline/tenants/acme/keys", {"role": "submit"}, headers=headers).json()
    mine = {"Authorization": f"Bearer {made['key']}"}
    # The other process takes it at once: a wrong key is not remembered.
    job = second.post("/pipeline/jobs", {"pipeline": "sleep"}, headers=mine)
    assert (job.status_code, job.json()["tenant_id"]) == (201, "acme")
    for api in (first, second):
        assert api.get(f"/pipeline/jobs/{job.json()['job_id']}", headers=mine).status_code == 200
    assert first.delete(f"/pipeline/tenants/acme/keys/{made['key_id']}", headers=headers).json()["revoked"] is True
    for api in (first, second):
        until(lambda api=api: api.get("/pipeline/jobs", headers=mine).status_code == 401, "both processes to refuse it")
    log = stack.celery("jobs", "audit").stdout
    assert ("key.created" in log, "key.revoked" in log) == (True, True)
    everything = log + stack.log("api") + first.get("/metrics").text
    assert not [text for text in (root, made["key"]) if text.split("_", 2)[2] in everything]


@pytest.mark.parametrize("command", [("jobs", "show", "job_1_00000000"), ("jobs", "key", "revoke", "x")])
def test_the_command_says_what_it_cannot_find(make_stack: MakeStack, command: tuple[str, ...], tmp_path: Path) -> None:
    done = make_stack().celery(*command)
    assert done.returncode == 1
    assert "there is no" in done.stderr.lower()
    assert "Traceback" not in done.stderr
