"""A table of what the design says of each route, and a world in which each can be asked for things of one's own, of others and of nobody.

The table knows nothing of `web/access/policy.py`. A route that is not in it fails (`test_isolation.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count, product
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from pipeline_jobs.access.api_keys import ALL, ApiKey, KeyStore, Role
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import NewJob, new_batch_id, new_job_id
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.web.access.auth import Access
from pipeline_jobs.web.access.sessions import COOKIE
from pipeline_jobs.web.site import FOLDER
from pipeline_jobs.web.state import EXTENSION
from pipeline_jobs.worker.app import create_celery
from tests.declared import Declared

TARGETS = ("own", "foreign", "unknown", "malformed")
CALLERS = ("no key", "wrong key", "revoked", "expired", "read", "submit", "tenant admin", "global admin")
NOBODY = frozenset({"no key", "wrong key", "revoked", "expired"})
#: The tenant of each target: ours, another that exists, one that nobody has heard of, and what is no name.
TENANTS = {"own": "acme", "foreign": "other", "unknown": "ghost", "malformed": "-bad", "blog": "acme"}
#: Those there are, and the workspace of what is made for each. `blog`: ours, in a workspace that keys may be bound to.
WORKSPACES = {"own": "main", "foreign": "main", "blog": "blog"}

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
    #: `path` with `{job}`, `{ended}`, `{batch}`, `{workflow}`, `{schedule}`, `{tenant}`, `{key}`, `{file}`, `{link}`, `{upload}` for the
    #: target's.
    path: str
    body: dict[str, Any] = field(default_factory=dict)
    #: What those are answered who have no good key: the page sends them to its sign-in.
    nobody: int = 401
    headers: dict[str, str] = field(default_factory=dict)


#: Whether the documentation was made here (`make site`).
SITE = 200 if (FOLDER / "index.html").is_file() else 404


Statuses = tuple[int, int, int, int]


def same(status: int) -> tuple[Statuses, Statuses]:
    return (status,) * 4, (status,) * 4


def thing(status: int) -> tuple[Statuses, Statuses]:
    """Of a thing by its id: another tenant's is an unknown one."""
    return (status, 404, 404, 404), (status, status, 404, 404)


def named(status: int) -> tuple[Statuses, Statuses]:
    """Of the tenant that the query or the body names."""
    return (status, 403, 403, 422), (status, status, status, 422)


def in_path(status: int) -> tuple[Statuses, Statuses]:
    """Of the tenant in the path."""
    return (status, 403, 403, 403), (status, status, status, 422)


def across(*statuses: int) -> tuple[Statuses, Statuses]:
    """For callers of all tenants alone."""
    own, foreign, unknown, malformed = statuses
    return (403,) * 4, (own, foreign, unknown, malformed)


#: The page: asked with a session where the API is asked with a key.
UI = "/pipeline/ui"


def row(
    asked: str,
    needs: str,
    answers: tuple[Statuses, Statuses],
    *,
    path: str = "",
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    nobody: int = 0,
) -> tuple[tuple[str, str], Route]:
    """A route by its method and rule.

    :param path: what is asked, where that is not the rule with `{job}` in the place of `<job_id>` and so on; `?...`: that, and this query.
    :param nobody: where it is neither 401 nor, on the page, the way to the sign-in.
    """
    method, _, rule = asked.partition(" ")
    plain = re.sub(r"<(\w+?)(?:_id)?>", r"{\1}", rule).replace("{endpoint}", "{hook}")
    path = plain + path if path.startswith("?") else path or plain
    to_sign_in = rule.startswith(UI) and needs != "public"
    return (method, rule), Route(needs, *answers, path, body or {}, nobody or (303 if to_sign_in else 401), headers or {})


_HOURLY = {"cron": "0 * * * *", "job": {"pipeline": "sleep"}, "tenant_id": "{tenant}"}
_NEW = {"pipeline": "sleep", "tenant_id": "{tenant}"}
_MANY = {"jobs": [{"pipeline": "sleep"}], "tenant_id": "{tenant}"}
_GRAPH = {"jobs": [{"pipeline": "sleep", "name": "a"}], "tenant_id": "{tenant}"}
#: By method and rule. A new route needs a line here, and a policy.
ROUTES: dict[tuple[str, str], Route] = dict(
    (
        row("POST /pipeline/jobs", "submit", named(201), body=_NEW),
        row("GET /pipeline/jobs", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/jobs/<job_id>", "read", thing(200)),
        row("GET /pipeline/jobs/<job_id>/transcript/search", "read", thing(200), path="/pipeline/jobs/{ended}/transcript/search?q=x"),
        row("DELETE /pipeline/jobs/<job_id>", "submit", thing(200)),
        row("PATCH /pipeline/jobs/<job_id>", "submit", thing(200), body={"priority": 5}),
        row("POST /pipeline/jobs/<job_id>/cancel", "submit", thing(200)),
        row("POST /pipeline/jobs/<job_id>/retry", "submit", thing(201), path="/pipeline/jobs/{ended}/retry"),
        # Its pipeline waits for no such signal: that is told to those whose it is.
        row(
            "POST /pipeline/jobs/<job_id>/signals/<signal>",
            "submit",
            thing(422),
            path="/pipeline/jobs/{job}/signals/go",
            body={"payload": 1},
        ),
        row("POST /pipeline/jobs/cancel", "submit", named(200), body={"tenant_id": "{tenant}", "tag": "x"}),
        row("POST /pipeline/jobs/bulk", "submit", named(200), body={"action": "delete", "filter": {"tenant_id": "{tenant}", "tag": "x"}}),
        row("POST /pipeline/batches", "submit", named(201), body=_MANY),
        row("GET /pipeline/batches", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/batches/<batch_id>", "read", thing(200)),
        row("POST /pipeline/batches/<batch_id>/cancel", "submit", thing(200)),
        row("POST /pipeline/workflows", "submit", named(201), body=_GRAPH),
        row("GET /pipeline/workflows", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/workflows/<workflow_id>", "read", thing(200)),
        row("GET /pipeline/workflows/<workflow_id>.mmd", "read", thing(200)),
        row("GET /pipeline/workflows/<workflow_id>.svg", "read", thing(200)),
        row("GET /pipeline/workflows/<workflow_id>/events", "read", thing(200)),
        row("POST /pipeline/workflows/<workflow_id>/cancel", "submit", thing(200)),
        # It has not ended: that is told to those whose it is.
        row("POST /pipeline/workflows/<workflow_id>/retry", "submit", thing(409)),
        row("DELETE /pipeline/workflows/<workflow_id>", "submit", thing(200)),
        row("GET /pipeline/jobs/<job_id>/events", "read", thing(200)),
        row("GET /pipeline/jobs/<job_id>/logs", "read", thing(200)),
        # Whoever may is told that it is a WebSocket.
        row("GET /pipeline/jobs/<job_id>/ws", "read", thing(426)),
        row("GET /pipeline/events", "read", named(200), path="?tenant_id={tenant}"),
        row("POST /pipeline/events/token", "read", named(201), body={"tenant_id": "{tenant}"}),
        row("POST /pipeline/run", "submit", named(202), body={**_NEW, "timeout": 0}),
        row("GET /pipeline/pipelines", "read", same(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/artifacts", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/artifacts/<path:path>", "public", ((200, 200, 404, 404), (200, 200, 404, 404)), path="{link}"),
        row("POST /pipeline/uploads", "submit", named(201), path="?tenant_id={tenant}", headers={"Upload-Length": "3"}),
        row("GET /pipeline/uploads", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/uploads/<upload_id>", "read", thing(200)),
        row(
            "PATCH /pipeline/uploads/<upload_id>",
            "submit",
            thing(204),
            headers={"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        ),
        row("DELETE /pipeline/uploads/<upload_id>", "submit", thing(204)),
        row("POST /pipeline/schedules", "submit", named(201), body=_HOURLY),
        row("GET /pipeline/schedules", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/schedules/<schedule_id>", "read", thing(200)),
        row("PATCH /pipeline/schedules/<schedule_id>", "submit", thing(200), body={"name": "x"}),
        row("DELETE /pipeline/schedules/<schedule_id>", "submit", thing(200)),
        row("POST /pipeline/schedules/<schedule_id>/pause", "submit", thing(200)),
        row("POST /pipeline/schedules/<schedule_id>/resume", "submit", thing(200)),
        row("POST /pipeline/schedules/<schedule_id>/run", "submit", thing(201)),
        row("GET /pipeline/tenants/<tenant_id>/keys", "admin", in_path(200)),
        row("POST /pipeline/tenants/<tenant_id>/keys", "admin", in_path(201), body={"role": "read"}),
        row(
            "DELETE /pipeline/tenants/<tenant_id>/keys/<key_id>",
            "admin",
            ((200, 404, 404, 404), (200, 404, 404, 404)),
            path="/pipeline/tenants/acme/keys/{key}",
        ),
        row("GET /pipeline/tenants/<tenant_id>/audit", "admin", in_path(200)),
        row("GET /pipeline/tenants/<tenant_id>/limits", "admin", in_path(200)),
        row("PUT /pipeline/tenants/<tenant_id>/limits", "root", across(200, 200, 200, 422), body={"weight": 1}),
        row("GET /pipeline/tenants/<tenant_id>/usage", "admin", in_path(200)),
        row("DELETE /pipeline/tenants/<tenant_id>", "root", across(200, 200, 200, 422), path="?dry_run=true"),
        row("POST /pipeline/webhook-endpoints", "admin", named(201), body={"tenant_id": "{tenant}", "url": "https://hooks.example/x"}),
        row("GET /pipeline/webhook-endpoints", "admin", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/webhook-endpoints/<endpoint_id>", "admin", thing(200)),
        row("PATCH /pipeline/webhook-endpoints/<endpoint_id>", "admin", thing(200), body={"description": "x"}),
        row("DELETE /pipeline/webhook-endpoints/<endpoint_id>", "admin", thing(200)),
        row("POST /pipeline/webhook-endpoints/<endpoint_id>/rotate", "admin", thing(200)),
        row("POST /pipeline/webhook-endpoints/<endpoint_id>/test", "admin", thing(202)),
        row("GET /pipeline/tenants/<tenant_id>/webhook-secret", "admin", in_path(200)),
        row("POST /pipeline/tenants/<tenant_id>/webhook-secret/rotate", "admin", in_path(200)),
        row("GET /pipeline/jobs/<job_id>/deliveries", "read", thing(200)),
        row("GET /pipeline/deliveries", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/deliveries/<delivery_id>", "read", thing(200)),
        row("POST /pipeline/deliveries/<delivery_id>/redeliver", "submit", thing(202)),
        row("GET /pipeline/pipelines/<pipeline>/limits", "root", across(200, 404, 404, 422)),
        row("PUT /pipeline/pipelines/<pipeline>/limits", "root", across(200, 404, 404, 422), body={"max_concurrent": 7}),
        row("GET /pipeline/analytics", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/analytics/export", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/audit", "root", across(200, 400, 400, 400), path="/pipeline/audit{odd}"),
        row("GET /pipeline/ui", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/ui/jobs", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/ui/jobs/<job_id>", "read", thing(200)),
        row("POST /pipeline/ui/jobs/<job_id>/cancel", "submit", thing(303)),
        row("POST /pipeline/ui/jobs/<job_id>/retry", "submit", thing(303), path="/pipeline/ui/jobs/{ended}/retry"),
        row(
            "POST /pipeline/ui/jobs/<job_id>/signals/<signal>",
            "submit",
            thing(422),
            path="/pipeline/ui/jobs/{job}/signals/go",
            body={"approved": "yes"},
        ),
        # What is proved by a signature: this one is none.
        row("GET /pipeline/ui/signal", "public", same(404), path="?link=x", nobody=404),
        row("POST /pipeline/ui/signal", "public", same(404), path="?link=x", nobody=404),
        # It has not ended: that is told to those whose it is.
        row("POST /pipeline/ui/jobs/<job_id>/delete", "submit", thing(409)),
        row("GET /pipeline/ui/workflows/<workflow_id>", "read", thing(200)),
        row("POST /pipeline/ui/workflows/<workflow_id>/cancel", "submit", thing(303)),
        row("POST /pipeline/ui/workflows/<workflow_id>/retry", "submit", thing(409)),
        row("GET /pipeline/ui/submit", "submit", same(200), path="?pipeline=sleep"),
        row("POST /pipeline/ui/submit", "submit", named(303), body=_NEW),
        row("GET /pipeline/ui/tenants/<tenant_id>", "admin", in_path(200)),
        row("POST /pipeline/ui/tenants/<tenant_id>/limits", "root", across(303, 303, 303, 422), body={"weight": "1"}),
        row("GET /pipeline/ui/bulk", "submit", named(200), path="?action=delete&tag=x&tenant_id={tenant}"),
        row("POST /pipeline/ui/bulk", "submit", named(303), path="?action=delete&tag=x&tenant_id={tenant}"),
        row("POST /pipeline/ui/deliveries/<delivery_id>/redeliver", "submit", thing(303)),
        row("GET /pipeline/ui/tenants/<tenant_id>/audit", "admin", in_path(200)),
        row("GET /pipeline/ui/tenants/<tenant_id>/keys", "admin", in_path(200)),
        row("POST /pipeline/ui/tenants/<tenant_id>/keys", "admin", in_path(200), body={"role": "read"}),
        row("POST /pipeline/ui/tenants/<tenant_id>/keys/<key_id>/revoke", "admin", ((303, 403, 403, 403), (303, 303, 404, 422))),
        row("GET /pipeline/ui/batches", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/ui/batches/<batch_id>", "read", thing(200)),
        row("GET /pipeline/ui/schedules", "read", named(200), path="?tenant_id={tenant}"),
        row("GET /pipeline/ui/schedules/new", "submit", same(200)),
        row(
            "POST /pipeline/ui/schedules/new",
            "submit",
            named(303),
            body={"cron": "0 * * * *", "job": '{"pipeline": "sleep"}', "tenant_id": "{tenant}"},
        ),
        row("GET /pipeline/ui/schedules/<schedule_id>", "read", thing(200)),
        row("POST /pipeline/ui/schedules/<schedule_id>", "submit", thing(303), body={"act": "pause"}),
        row("GET /pipeline/ui/tenants/<tenant_id>/webhooks", "admin", in_path(200)),
        row("POST /pipeline/ui/tenants/<tenant_id>/webhooks", "admin", in_path(200), body={"url": "https://hooks.example/x"}),
        row("GET /pipeline/ui/webhooks/<endpoint_id>", "admin", thing(200)),
        row("POST /pipeline/ui/webhooks/<endpoint_id>", "admin", thing(303), body={"act": "disable"}),
        row("GET /pipeline/ui/deliveries/<delivery_id>", "read", thing(200)),
        row("GET /pipeline/ui/audit", "root", across(200, 200, 200, 200)),
        row("GET /pipeline/ui/submit/many", "submit", same(200)),
        row("POST /pipeline/ui/submit/many", "submit", named(303), body={"urls": "https://media.example/1.mp4", "tenant_id": "{tenant}"}),
        row("GET /pipeline/ui/uploads", "read", named(200), path="?tenant_id={tenant}"),
        row("POST /pipeline/ui/uploads", "submit", named(201), path="?tenant_id={tenant}", headers={"Upload-Length": "3"}),
        row("GET /pipeline/ui/uploads/<upload_id>", "read", thing(200)),
        row(
            "PATCH /pipeline/ui/uploads/<upload_id>",
            "submit",
            thing(204),
            headers={"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        ),
        row("POST /pipeline/ui/uploads/<upload_id>/delete", "submit", thing(303)),
        row("GET /pipeline/ui/jobs/<job_id>/change", "submit", thing(200)),
        row("POST /pipeline/ui/jobs/<job_id>/change", "submit", thing(303), body={"priority": "5"}),
        row("POST /pipeline/ui/jobs/<job_id>/share", "submit", thing(409), body={"ends": "1 day"}),
        row("GET /pipeline/ui/jobs/<job_id>/transcript", "read", same(404), path="?as=srt"),
        row("GET /pipeline/ui/jobs/chosen", "submit", same(200), path="?action=cancel&id={job}"),
        row("POST /pipeline/ui/jobs/chosen", "submit", same(200), path="?action=cancel&id={job}"),
        row("POST /pipeline/ui/jobs/views", "read", same(303), body={"name": "mine"}),
        row("POST /pipeline/ui/theme", "public", same(303), body={"theme": "dark"}),
        row("GET /pipeline/ui/oncall/pause", "root", across(200, 200, 200, 422), path="?of={tenant}"),
        row("POST /pipeline/ui/oncall/pause", "root", across(303, 303, 303, 422), path="?of={tenant}", body={"act": "resume"}),
        row("GET /pipeline/ui/shared", "public", same(404), path="?token=x"),
        row("GET /pipeline/ui/shared/<path:filename>", "public", same(404), path="/pipeline/ui/shared/video.mp4?token=x"),
        row("GET /pipeline/ui/fairness", "operator", across(200, 200, 200, 200)),
        row("GET /pipeline/ui/oncall", "operator", across(200, 200, 200, 200)),
        row("POST /pipeline/ui/oncall/pipelines/<pipeline>", "root", across(303, 404, 404, 422), body={"max_concurrent": "5"}),
        row("GET /pipeline/ui/sign-in", "public", same(200)),
        row("POST /pipeline/ui/sign-in", "public", same(401), body={"key": "pjk_x"}),
        row("POST /pipeline/ui/sign-out", "public", same(303)),
        row(
            "GET /pipeline/ui/static/<path:filename>",
            "public",
            ((200, 404, 404, 404), (200, 404, 404, 404)),
            path="/pipeline/ui/static/{asset}",
        ),
        row("GET /metrics", "operator", same(200), path="?scope=all"),
        row("GET /pipeline/scaling", "operator", same(200), path="?pool=default"),
        # Its workers are missing: whoever may know is told so.
        row("GET /health/ready", "operator", same(503), path="?tenant_id={tenant}"),
        row("GET /health/installation", "operator", same(200), path="?tenant_id={tenant}"),
        row("GET /health/accept", "public", same(200), path="?tenant_id={tenant}"),
        row("GET /health/live", "public", same(200), path="?tenant_id={tenant}"),
        row("GET /openapi.json", "public", same(200), path="?tenant_id={tenant}"),
        row("GET /docs", "public", same(200), path="?tenant_id={tenant}"),
        row("GET /docs/static/<path:filename>", "public", ((200, 404, 404, 404), (200, 404, 404, 404)), path="/docs/static/{file}"),
        row("GET /pipeline/docs/", "public", same(SITE)),
        row("GET /pipeline/docs/<path:filename>", "public", same(404), path="/pipeline/docs/none-{page}"),
        row("GET /docs/swagger/<path:filename>", "public", ((200, 404, 404, 404), (200, 404, 404, 404)), path="/docs/swagger/{page}"),
    )
)

CELLS = [(*route, target, caller) for route, target, caller in product(ROUTES, TARGETS, CALLERS)]


class World:
    """The app of a cell of its own, a key of each kind, and something of each target."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.client = app.test_client(use_cookies=False)
        self.declared = Declared(app)
        cell = create_celery(settings).cell
        self.jobs, self.batches, self.workflows, self.endpoints = cell.client, cell.batches, cell.workflows, cell.webhooks.endpoints
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
        self.links["blog"] = self.links["own"]
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

    def new(self, target: str) -> NewJob:
        return NewJob(pipeline="sleep", tenant_id=TENANTS[target], workspace_id=WORKSPACES[target])

    def job(self, target: str, *, ended: bool = False) -> str:
        if target in WORKSPACES:
            job_id = self.jobs.submit(self.new(target)).job_id
            return self.jobs.cancel(job_id).job_id if ended else job_id
        return new_job_id() if target == "unknown" else "-bad%20id%00"

    def upload(self, target: str) -> str:
        if target in WORKSPACES:
            return self.uploads.create(TENANTS[target], WORKSPACES[target], 3).upload_id
        return "0" * 24 if target == "unknown" else "-bad%20id%00"

    def batch(self, target: str) -> str:
        if target in WORKSPACES:
            return self.batches.create(NewBatch([NewJob(pipeline="sleep")], TENANTS[target], WORKSPACES[target])).batch.batch_id
        return new_batch_id() if target == "unknown" else "-bad%20id%00"

    def workflow(self, target: str) -> str:
        if target in WORKSPACES:
            new = NewWorkflow([NewNode("a", NewJob(pipeline="sleep"))], TENANTS[target], WORKSPACES[target])
            return self.workflows.create(new).batch.batch_id
        return new_batch_id() if target == "unknown" else "-bad%20id%00"

    def schedule(self, target: str) -> str:
        if target in WORKSPACES:
            return Scheduler(self.jobs).create(NewSchedule("0 * * * *", self.new(target))).schedule.schedule_id
        return "sch_1_00000000" if target == "unknown" else "-bad%20id%00"

    def key(self, target: str) -> str:
        if target in WORKSPACES:
            return self.keys.create(TENANTS[target], Role.READ, actor="test")[0].key_id
        return "f" * 16 if target == "unknown" else "-bad"

    def hook(self, target: str) -> str:
        if target not in WORKSPACES:
            return f"whep_{'f' * 16}" if target == "unknown" else "-bad%00"
        there = self.endpoints.list(TENANTS[target], None, 100).items
        if len(there) >= 40:
            # A tenant has only so many.
            for old in (one for one in there if one.url == "https://hooks.example/x"):
                self.endpoints.delete(old.endpoint_id)
        return self.endpoints.create(TENANTS[target], "https://hooks.example/x")[0].endpoint_id

    def delivery(self, target: str) -> str:
        if target in WORKSPACES:
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

    def filled(self, path: str, target: str) -> str:
        """The path of a row of the table, with things of this target."""
        words: dict[str, Callable[[], str]] = {
            "{job}": lambda: self.job(target),
            "{ended}": lambda: self.job(target, ended=True),
            "{batch}": lambda: self.batch(target),
            "{workflow}": lambda: self.workflow(target),
            "{schedule}": lambda: self.schedule(target),
            "{key}": lambda: self.key(target),
            "{hook}": lambda: self.hook(target),
            "{delivery}": lambda: self.delivery(target),
            "{tenant}": lambda: TENANTS[target],
            "{upload}": lambda: self.upload(target),
            "{link}": lambda: self.links[target],
            "{pipeline}": lambda: {"own": "sleep", "blog": "sleep", "foreign": "another", "unknown": "ghost", "malformed": "-bad"}[target],
            "{file}": lambda: {"own": "docs.js", "blog": "docs.js", "foreign": "../app.py", "unknown": "x.js", "malformed": "%00"}[target],
            "{page}": lambda: {
                "own": "css/swagger-ui.css",
                "blog": "css/swagger-ui.css",
                "foreign": "../x",
                "unknown": "x.js",
                "malformed": "%00",
            }[target],
            "{asset}": lambda: {"own": "ui.js", "blog": "ui.js", "foreign": "../app.py", "unknown": "x.js", "malformed": "%00"}[target],
            "{odd}": lambda: {"own": "", "blog": "", "foreign": "?tenant_id=other", "unknown": "?x=1", "malformed": "?limit=1&limit=2"}[
                target
            ],
        }
        for word, value in words.items():
            if word in path:
                path = path.replace(word, value())
        return path

    def cell(self, method: str, rule: str, target: str, caller: str) -> TestResponse:
        route = ROUTES[method, rule]
        path = self.filled(route.path, target)
        body = _filled(route.body, TENANTS[target])
        response = self.ask(method, path, caller, body, **route.headers)
        assert self.declared.problem_with(method, path, response) is None
        return response


def _filled(body: dict[str, Any], tenant: str) -> dict[str, Any]:
    """With the tenant in the place of its word, also in an object of it."""
    words = {name: _filled(value, tenant) if isinstance(value, dict) else value for name, value in body.items()}
    return {name: tenant if value == "{tenant}" else value for name, value in words.items()}


def open_world(url: str, folder: Path) -> World:
    """A world in the server at this address, which is emptied."""
    settings = load_settings(
        {
            "PIPELINE_REDIS_URL": url,
            "PIPELINE_DATA_DIR": str(folder),
            "ENABLE_PIPELINE_JOB_QUEUE": "1",
            "ENABLE_PIPELINE_RUN_API": "1",
            "PIPELINE_MODULES": "examples.demo_pipelines",
            "PIPELINE_SECRET_KEY": "test-key",
            # Its pretended workers live as long as the tests.
            "PIPELINE_ANNOUNCE_SECONDS": "1000",
            "PIPELINE_MAX_SCHEDULES_PER_TENANT": "1000",
            "PIPELINE_HISTORY_URL": f"sqlite:///{folder / 'history.db'}",
        }
    )
    return World(create_api(settings), settings)


def expected(method: str, rule: str, target: str, caller: str) -> int:
    route = ROUTES[method, rule]
    if route.needs != "public" and caller in NOBODY:
        return route.nobody
    if caller not in NEEDS[route.needs]:
        return 403
    return (route.everywhere if caller == "global admin" else route.bound)[TARGETS.index(target)]
