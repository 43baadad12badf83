"""A table of what the design says of each route, and a world in which each can be asked for things of one's own, of others and of nobody.

The table knows nothing of `web/access/policy.py`. A route that is not in it fails (`test_isolation.py`).
"""

from __future__ import annotations

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


def same(status: int) -> tuple[int, int, int, int]:
    return (status, status, status, status)


#: The page: asked with a session where the API is asked with a key.
UI = "/pipeline/ui"
_JOB, _TENANT = "/pipeline/jobs/{job}", "/pipeline/tenants/{tenant}"
_SCHEDULE, _HOURLY = "/pipeline/schedules/{schedule}", {"cron": "0 * * * *", "job": {"pipeline": "sleep"}, "tenant_id": "{tenant}"}
_NEW = {"pipeline": "sleep", "tenant_id": "{tenant}"}
_MANY = {"jobs": [{"pipeline": "sleep"}], "tenant_id": "{tenant}"}
_FLOWS, _FLOW = "/pipeline/workflows", "/pipeline/workflows/{workflow}"
_GRAPH = {"jobs": [{"pipeline": "sleep", "name": "a"}], "tenant_id": "{tenant}"}
_HOOKS, _HOOK, _URL = "/pipeline/webhook-endpoints", "/pipeline/webhook-endpoints/{hook}", "https://hooks.example/x"
#: A thing by its id: own, foreign, unknown, malformed.
_OWN, _ANY = (200, 404, 404, 404), (200, 200, 404, 404)
_LATER, _LATER_ANY = (202, 404, 404, 404), (202, 202, 404, 404)
#: By method and rule. A new route needs a line here, and a policy.
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/pipeline/jobs"): Route("submit", (201, 403, 403, 422), (201, 201, 201, 422), "/pipeline/jobs", _NEW),
    ("GET", "/pipeline/jobs"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/jobs?tenant_id={tenant}"),
    ("GET", "/pipeline/jobs/<job_id>"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), _JOB),
    ("GET", "/pipeline/jobs/<job_id>/transcript/search"): Route(
        "read", (200, 404, 404, 404), (200, 200, 404, 404), "/pipeline/jobs/{ended}/transcript/search?q=x"
    ),
    ("DELETE", "/pipeline/jobs/<job_id>"): Route("submit", (200, 404, 404, 404), (200, 200, 404, 404), _JOB),
    ("PATCH", "/pipeline/jobs/<job_id>"): Route("submit", (200, 404, 404, 404), (200, 200, 404, 404), _JOB, {"priority": 5}),
    ("POST", "/pipeline/jobs/<job_id>/cancel"): Route("submit", (200, 404, 404, 404), (200, 200, 404, 404), _JOB + "/cancel"),
    ("POST", "/pipeline/jobs/<job_id>/retry"): Route("submit", (201, 404, 404, 404), (201, 201, 404, 404), "/pipeline/jobs/{ended}/retry"),
    # Its pipeline waits for no such signal: that is told to those whose it is.
    ("POST", "/pipeline/jobs/<job_id>/signals/<signal>"): Route(
        "submit", (422, 404, 404, 404), (422, 422, 404, 404), _JOB + "/signals/go", {"payload": 1}
    ),
    ("POST", "/pipeline/jobs/cancel"): Route(
        "submit", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/jobs/cancel", {"tenant_id": "{tenant}", "tag": "x"}
    ),
    ("POST", "/pipeline/jobs/bulk"): Route(
        "submit",
        (200, 403, 403, 422),
        (200, 200, 200, 422),
        "/pipeline/jobs/bulk",
        {"action": "delete", "filter": {"tenant_id": "{tenant}", "tag": "x"}},
    ),
    ("POST", "/pipeline/batches"): Route("submit", (201, 403, 403, 422), (201, 201, 201, 422), "/pipeline/batches", _MANY),
    ("GET", "/pipeline/batches"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/batches?tenant_id={tenant}"),
    ("GET", "/pipeline/batches/<batch_id>"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), "/pipeline/batches/{batch}"),
    ("POST", "/pipeline/batches/<batch_id>/cancel"): Route(
        "submit", (200, 404, 404, 404), (200, 200, 404, 404), "/pipeline/batches/{batch}/cancel"
    ),
    ("POST", _FLOWS): Route("submit", (201, 403, 403, 422), (201, 201, 201, 422), _FLOWS, _GRAPH),
    ("GET", _FLOWS): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), _FLOWS + "?tenant_id={tenant}"),
    ("GET", _FLOWS + "/<workflow_id>"): Route("read", _OWN, _ANY, _FLOW),
    ("GET", _FLOWS + "/<workflow_id>.mmd"): Route("read", _OWN, _ANY, _FLOW + ".mmd"),
    ("GET", _FLOWS + "/<workflow_id>.svg"): Route("read", _OWN, _ANY, _FLOW + ".svg"),
    ("GET", _FLOWS + "/<workflow_id>/events"): Route("read", _OWN, _ANY, _FLOW + "/events"),
    ("POST", _FLOWS + "/<workflow_id>/cancel"): Route("submit", _OWN, _ANY, _FLOW + "/cancel"),
    # It has not ended: that is told to those whose it is.
    ("POST", _FLOWS + "/<workflow_id>/retry"): Route("submit", (409, 404, 404, 404), (409, 409, 404, 404), _FLOW + "/retry"),
    ("DELETE", _FLOWS + "/<workflow_id>"): Route("submit", _OWN, _ANY, _FLOW),
    ("GET", "/pipeline/jobs/<job_id>/events"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), _JOB + "/events"),
    ("GET", "/pipeline/jobs/<job_id>/logs"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), _JOB + "/logs"),
    # Whoever may is told that it is a WebSocket.
    ("GET", "/pipeline/jobs/<job_id>/ws"): Route("read", (426, 404, 404, 404), (426, 426, 404, 404), _JOB + "/ws"),
    ("GET", "/pipeline/events"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/events?tenant_id={tenant}"),
    ("POST", "/pipeline/events/token"): Route(
        "read", (201, 403, 403, 422), (201, 201, 201, 422), "/pipeline/events/token", {"tenant_id": "{tenant}"}
    ),
    ("POST", "/pipeline/run"): Route("submit", (202, 403, 403, 422), (202, 202, 202, 422), "/pipeline/run", {**_NEW, "timeout": 0}),
    ("GET", "/pipeline/pipelines"): Route("read", same(200), same(200), "/pipeline/pipelines?tenant_id={tenant}"),
    ("GET", "/pipeline/artifacts"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/artifacts?tenant_id={tenant}"),
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
    ("GET", "/pipeline/tenants/<tenant_id>/audit"): Route("admin", (200, 403, 403, 403), (200, 200, 200, 422), _TENANT + "/audit"),
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
    ("GET", "/pipeline/analytics"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/analytics?tenant_id={tenant}"),
    ("GET", "/pipeline/analytics/export"): Route(
        "read", (200, 403, 403, 422), (200, 200, 200, 422), "/pipeline/analytics/export?tenant_id={tenant}"
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
    ("POST", UI + "/jobs/<job_id>/signals/<signal>"): Route(
        "submit", (422, 404, 404, 404), (422, 422, 404, 404), UI + "/jobs/{job}/signals/go", {"approved": "yes"}, nobody=303
    ),
    # What is proved by a signature: this one is none.
    ("GET", UI + "/signal"): Route("public", same(404), same(404), UI + "/signal?link=x", nobody=404),
    ("POST", UI + "/signal"): Route("public", same(404), same(404), UI + "/signal?link=x", nobody=404),
    # It has not ended: that is told to those whose it is.
    ("POST", UI + "/jobs/<job_id>/delete"): Route(
        "submit", (409, 404, 404, 404), (409, 409, 404, 404), UI + "/jobs/{job}/delete", nobody=303
    ),
    ("GET", UI + "/workflows/<workflow_id>"): Route("read", _OWN, _ANY, UI + "/workflows/{workflow}", nobody=303),
    ("POST", UI + "/workflows/<workflow_id>/cancel"): Route(
        "submit", (303, 404, 404, 404), (303, 303, 404, 404), UI + "/workflows/{workflow}/cancel", nobody=303
    ),
    ("POST", UI + "/workflows/<workflow_id>/retry"): Route(
        "submit", (409, 404, 404, 404), (409, 409, 404, 404), UI + "/workflows/{workflow}/retry", nobody=303
    ),
    ("GET", UI + "/submit"): Route("submit", same(200), same(200), UI + "/submit?pipeline=sleep", nobody=303),
    ("POST", UI + "/submit"): Route("submit", (303, 403, 403, 422), (303, 303, 303, 422), UI + "/submit", _NEW, nobody=303),
    ("GET", UI + "/tenants/<tenant_id>"): Route("admin", (200, 403, 403, 403), (200, 200, 200, 422), UI + "/tenants/{tenant}", nobody=303),
    ("POST", UI + "/tenants/<tenant_id>/limits"): Route(
        "root", same(403), (303, 303, 303, 422), UI + "/tenants/{tenant}/limits", {"weight": "1"}, nobody=303
    ),
    ("GET", UI + "/bulk"): Route(
        "submit", (200, 403, 403, 422), (200, 200, 200, 422), UI + "/bulk?action=delete&tag=x&tenant_id={tenant}", nobody=303
    ),
    ("POST", UI + "/bulk"): Route(
        "submit", (303, 403, 403, 422), (303, 303, 303, 422), UI + "/bulk?action=delete&tag=x&tenant_id={tenant}", nobody=303
    ),
    ("POST", UI + "/deliveries/<delivery_id>/redeliver"): Route(
        "submit", (303, 404, 404, 404), (303, 303, 404, 404), UI + "/deliveries/{delivery}/redeliver", nobody=303
    ),
    ("GET", UI + "/tenants/<tenant_id>/audit"): Route(
        "admin", (200, 403, 403, 403), (200, 200, 200, 422), UI + "/tenants/{tenant}/audit", nobody=303
    ),
    ("GET", UI + "/tenants/<tenant_id>/keys"): Route(
        "admin", (200, 403, 403, 403), (200, 200, 200, 422), UI + "/tenants/{tenant}/keys", nobody=303
    ),
    ("POST", UI + "/tenants/<tenant_id>/keys"): Route(
        "admin", (200, 403, 403, 403), (200, 200, 200, 422), UI + "/tenants/{tenant}/keys", {"role": "read"}, nobody=303
    ),
    ("POST", UI + "/tenants/<tenant_id>/keys/<key_id>/revoke"): Route(
        "admin", (303, 403, 403, 403), (303, 303, 404, 422), UI + "/tenants/{tenant}/keys/{key}/revoke", nobody=303
    ),
    ("GET", UI + "/batches"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), UI + "/batches?tenant_id={tenant}", nobody=303),
    ("GET", UI + "/batches/<batch_id>"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), UI + "/batches/{batch}", nobody=303),
    ("GET", UI + "/schedules"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), UI + "/schedules?tenant_id={tenant}", nobody=303),
    ("GET", UI + "/schedules/new"): Route("submit", same(200), same(200), UI + "/schedules/new", nobody=303),
    ("POST", UI + "/schedules/new"): Route(
        "submit",
        (303, 403, 403, 422),
        (303, 303, 303, 422),
        UI + "/schedules/new",
        {"cron": "0 * * * *", "job": '{"pipeline": "sleep"}', "tenant_id": "{tenant}"},
        nobody=303,
    ),
    ("GET", UI + "/schedules/<schedule_id>"): Route(
        "read", (200, 404, 404, 404), (200, 200, 404, 404), UI + "/schedules/{schedule}", nobody=303
    ),
    ("POST", UI + "/schedules/<schedule_id>"): Route(
        "submit", (303, 404, 404, 404), (303, 303, 404, 404), UI + "/schedules/{schedule}", {"act": "pause"}, nobody=303
    ),
    ("GET", UI + "/tenants/<tenant_id>/webhooks"): Route(
        "admin", (200, 403, 403, 403), (200, 200, 200, 422), UI + "/tenants/{tenant}/webhooks", nobody=303
    ),
    ("POST", UI + "/tenants/<tenant_id>/webhooks"): Route(
        "admin", (200, 403, 403, 403), (200, 200, 200, 422), UI + "/tenants/{tenant}/webhooks", {"url": _URL}, nobody=303
    ),
    ("GET", UI + "/webhooks/<endpoint_id>"): Route(
        "admin", (200, 404, 404, 404), (200, 200, 404, 404), UI + "/webhooks/{hook}", nobody=303
    ),
    ("POST", UI + "/webhooks/<endpoint_id>"): Route(
        "admin", (303, 404, 404, 404), (303, 303, 404, 404), UI + "/webhooks/{hook}", {"act": "disable"}, nobody=303
    ),
    ("GET", UI + "/deliveries/<delivery_id>"): Route(
        "read", (200, 404, 404, 404), (200, 200, 404, 404), UI + "/deliveries/{delivery}", nobody=303
    ),
    ("GET", UI + "/audit"): Route("root", same(403), same(200), UI + "/audit", nobody=303),
    ("GET", UI + "/submit/many"): Route("submit", same(200), same(200), UI + "/submit/many", nobody=303),
    ("POST", UI + "/submit/many"): Route(
        "submit",
        (303, 403, 403, 422),
        (303, 303, 303, 422),
        UI + "/submit/many",
        {"urls": "https://media.example/1.mp4", "tenant_id": "{tenant}"},
        nobody=303,
    ),
    ("GET", UI + "/uploads"): Route("read", (200, 403, 403, 422), (200, 200, 200, 422), UI + "/uploads?tenant_id={tenant}", nobody=303),
    ("POST", UI + "/uploads"): Route(
        "submit", (201, 403, 403, 422), (201, 201, 201, 422), UI + "/uploads?tenant_id={tenant}", headers={"Upload-Length": "3"}, nobody=303
    ),
    ("GET", UI + "/uploads/<upload_id>"): Route("read", (200, 404, 404, 404), (200, 200, 404, 404), UI + "/uploads/{upload}", nobody=303),
    ("PATCH", UI + "/uploads/<upload_id>"): Route(
        "submit",
        (204, 404, 404, 404),
        (204, 204, 404, 404),
        UI + "/uploads/{upload}",
        headers={"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        nobody=303,
    ),
    ("POST", UI + "/uploads/<upload_id>/delete"): Route(
        "submit", (303, 404, 404, 404), (303, 303, 404, 404), UI + "/uploads/{upload}/delete", nobody=303
    ),
    ("GET", UI + "/jobs/<job_id>/change"): Route(
        "submit", (200, 404, 404, 404), (200, 200, 404, 404), UI + "/jobs/{job}/change", nobody=303
    ),
    ("POST", UI + "/jobs/<job_id>/change"): Route(
        "submit", (303, 404, 404, 404), (303, 303, 404, 404), UI + "/jobs/{job}/change", {"priority": "5"}, nobody=303
    ),
    ("POST", UI + "/jobs/<job_id>/share"): Route(
        "submit", (409, 404, 404, 404), (409, 409, 404, 404), UI + "/jobs/{job}/share", {"ends": "1 day"}, nobody=303
    ),
    ("GET", UI + "/jobs/<job_id>/transcript"): Route(
        "read", (404, 404, 404, 404), (404, 404, 404, 404), UI + "/jobs/{job}/transcript?as=srt", nobody=303
    ),
    ("GET", UI + "/jobs/chosen"): Route("submit", same(200), same(200), UI + "/jobs/chosen?action=cancel&id={job}", nobody=303),
    ("POST", UI + "/jobs/chosen"): Route("submit", same(200), same(200), UI + "/jobs/chosen?action=cancel&id={job}", nobody=303),
    ("POST", UI + "/jobs/views"): Route("read", same(303), same(303), UI + "/jobs/views", {"name": "mine"}, nobody=303),
    ("POST", UI + "/theme"): Route("public", same(303), same(303), UI + "/theme", {"theme": "dark"}),
    ("GET", UI + "/oncall/pause"): Route("root", same(403), (200, 200, 200, 422), UI + "/oncall/pause?of={tenant}", nobody=303),
    ("POST", UI + "/oncall/pause"): Route(
        "root", same(403), (303, 303, 303, 422), UI + "/oncall/pause?of={tenant}", {"act": "resume"}, nobody=303
    ),
    ("GET", UI + "/shared"): Route("public", same(404), same(404), UI + "/shared?token=x"),
    ("GET", UI + "/shared/<path:filename>"): Route("public", same(404), same(404), UI + "/shared/video.mp4?token=x"),
    ("GET", UI + "/fairness"): Route("operator", same(403), same(200), UI + "/fairness", nobody=303),
    ("GET", UI + "/oncall"): Route("operator", same(403), same(200), UI + "/oncall", nobody=303),
    ("POST", UI + "/oncall/pipelines/<pipeline>"): Route(
        "root", same(403), (303, 404, 404, 422), UI + "/oncall/pipelines/{pipeline}", {"max_concurrent": "5"}, nobody=303
    ),
    ("GET", UI + "/sign-in"): Route("public", same(200), same(200), UI + "/sign-in"),
    ("POST", UI + "/sign-in"): Route("public", same(401), same(401), UI + "/sign-in", {"key": "pjk_x"}),
    ("POST", UI + "/sign-out"): Route("public", same(303), same(303), UI + "/sign-out"),
    ("GET", UI + "/static/<path:filename>"): Route("public", (200, 404, 404, 404), (200, 404, 404, 404), UI + "/static/{asset}"),
    ("GET", "/metrics"): Route("operator", same(200), same(200), "/metrics?scope=all"),
    ("GET", "/pipeline/scaling"): Route("operator", same(200), same(200), "/pipeline/scaling?pool=default"),
    # Its workers are missing: whoever may know is told so.
    ("GET", "/health/ready"): Route("operator", same(503), same(503), "/health/ready?tenant_id={tenant}"),
    ("GET", "/health/installation"): Route("operator", same(200), same(200), "/health/installation?tenant_id={tenant}"),
    ("GET", "/health/accept"): Route("public", same(200), same(200), "/health/accept?tenant_id={tenant}"),
    ("GET", "/health/live"): Route("public", same(200), same(200), "/health/live?tenant_id={tenant}"),
    ("GET", "/openapi.json"): Route("public", same(200), same(200), "/openapi.json?tenant_id={tenant}"),
    ("GET", "/docs"): Route("public", same(200), same(200), "/docs?tenant_id={tenant}"),
    ("GET", "/docs/static/<path:filename>"): Route("public", (200, 404, 404, 404), (200, 404, 404, 404), "/docs/static/{file}"),
    ("GET", "/pipeline/docs/"): Route("public", same(SITE), same(SITE), "/pipeline/docs/"),
    ("GET", "/pipeline/docs/<path:filename>"): Route("public", same(404), same(404), "/pipeline/docs/none-{page}"),
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
