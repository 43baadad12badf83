"""Whatever a request names of others, by whichever way, is answered as if there were no such thing, and changes nothing of theirs.

The matrix is made from the table of routes (which holds every route of the URL map, `test_isolation.py`) x the ways by which a request can
name a thing x who asks. A parameter or field of the OpenAPI document that is neither in `NAMES` nor in `HARMLESS` fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from html import escape
from itertools import product
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.jobs.workflows import NewNode, NewWorkflow
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from tests.acceptance.isolation import ROUTES, TENANTS, Route, World
from tests.cases import each

#: What names a thing of somebody, by the names that parameters and fields have. A kit has a value for each.
NAMES = frozenset(
    ("tenant_id", "workspace_id", "job_id", "batch_id", "schedule_id", "upload_id", "endpoint_id", "delivery_id", "key_id", "tag", "tags",
     "url", "depends_on", "cursor", "after", "workflow_id", "path", "Idempotency-Key", "If-None-Match", "Last-Event-ID")
)  # fmt: skip
#: What names nothing of anybody: values of the caller's own, and what is proved by a signature (a link, a stream's token).
HARMLESS = frozenset(
    ("limit", "pipeline", "created_after", "created_before", "status", "Prefer", "deadline_seconds", "max_attempts", "metadata",
     "on_dependency_failure", "params", "priority", "quality", "run_at", "ttl_seconds", "start_within_seconds", "retain_seconds",
     "webhook", "events", "include", "from_stage", "partial", "timeout", "dry_run", "action", "filter", "reuse",
     "max_concurrent", "max_queued", "max_parked", "payload", "signal",
     "max_run_seconds", "max_storage_bytes", "max_ended", "max_drive_bytes", "daily_llm_tokens", "paused", "format",
     "q", "error_code", "start_rate", "submit_rate", "weight", "Range", "signature",
     "token", "Tus-Resumable", "Upload-Checksum", "Upload-Length", "Upload-Metadata", "Upload-Offset", "expires_at", "name", "role",
     "days", "attempt", "level", "description", "enabled", "catch_up", "cron", "overlap", "timezone", "upcoming", "jobs", "job", "scope",
     "ended_after", "ended_before", "pool")
)  # fmt: skip
#: Headers that some server, proxy or framework takes for a tenant, a user or another address.
SPOOFED = ("X-Tenant-Id", "X-Workspace-Id", "X-Api-Key", "X-Forwarded-User", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override")
WAYS = ("path", "query", "body", "header")
#: Who asks x whose things they name. `blog` is a workspace of `acme`, and `neighbour` another one.
PAIRS = (
    *product(("read", "submit", "tenant admin"), ("foreign",)),
    *product(("blog read", "blog submit"), ("foreign", "neighbour")),
)
PLACES = {"foreign": ("rival", "hoard"), "neighbour": ("acme", "vault"), "blog": ("acme", "blog")}
#: By the variable of a route's path, the mark in the table's path.
MARKS = {
    "job_id": ("{job}", "{ended}"), "batch_id": ("{batch}",), "workflow_id": ("{workflow}",),
    "schedule_id": ("{schedule}",), "upload_id": ("{upload}",),
    "endpoint_id": ("{hook}",), "delivery_id": ("{delivery}",), "key_id": ("{key}",), "tenant_id": ("{tenant}",),
}  # fmt: skip
CELLS = [(*route, way, *pair) for route, way, pair in product(ROUTES, WAYS, PAIRS) if way != "path" or "_id>" in route[1]]


@dataclass(frozen=True)
class Kit:
    """One thing of each kind, all of one workspace."""

    #: By the names of `NAMES`; an ended job apart.
    values: dict[str, str]
    ended: str
    #: In each text that its owner wrote.
    secret: str
    #: By the path of a list, the cursor of its owner's second page.
    cursors: dict[str, str]
    keys: list[str] = field(default_factory=list)


UNKNOWN = Kit(
    {
        "tenant_id": "ghost", "workspace_id": "nowhere", "job_id": "job_1_00000000", "batch_id": "batch_1_00000000",
        "workflow_id": "batch_1_00000001",
        "schedule_id": "sch_1_00000000", "upload_id": "0" * 24, "endpoint_id": f"whep_{'f' * 16}", "delivery_id": f"msg_{'f' * 32}",
        "key_id": "f" * 16, "tag": "no-such-tag", "cursor": "A" * 11, "after": "1-0", "Idempotency-Key": "never sent",
        "If-None-Match": '"000000000000000000000000"', "Last-Event-ID": "1-0", "api key": f"pjk_{'0' * 16}_{'x' * 43}",
        "path": "ghost/main/job_1_00000000/1/a.txt",
    },
    "job_1_00000000", "no secret", {},
)  # fmt: skip


def kit_of(world: World, target: str) -> Kit:
    """Make one of each for this workspace, at whose owner nobody else may get."""
    tenant_id, workspace_id = PLACES[target]
    secret = f"zebra-{target}"
    new = NewJob(pipeline="sleep", tenant_id=tenant_id, workspace_id=workspace_id, tags=(secret,), metadata={"note": secret})
    jobs = [world.jobs.submit(new).job_id for _ in range(3)]
    ended = world.jobs.cancel(world.jobs.submit(new).job_id).job_id
    inside = replace(new, tenant_id="default", workspace_id="main")
    batches = [world.batches.create(NewBatch([inside], tenant_id, workspace_id)).batch.batch_id for _ in range(2)]
    node = NewNode("a", inside)
    flows = [world.workflows.create(NewWorkflow([node], tenant_id, workspace_id, {"note": secret})).batch.batch_id for _ in range(2)]
    timed = [Scheduler(world.jobs).create(NewSchedule("0 * * * *", new, name=secret)).schedule.schedule_id for _ in range(2)]
    uploads = [world.uploads.create(tenant_id, workspace_id, 3).upload_id for _ in range(2)]
    endpoint = world.endpoints.create(tenant_id, f"https://{secret}.example/x", description=secret)[0].endpoint_id
    world.endpoints.create(tenant_id, f"https://{secret}.example/y")
    key, text = world.keys.create(tenant_id, Role.SUBMIT, actor="test", workspace_id=workspace_id, name=secret)
    world.texts[secret], world.sessions[secret] = text, world.session(key)
    sent = world.ask("POST", "/pipeline/jobs", secret, {"pipeline": "sleep", "tags": [secret]}, **{"Idempotency-Key": f"{secret} 1"})
    cursors = {
        path: world.ask("GET", f"{path}?limit=1", secret).get_json()["next_cursor"]
        for path in ("/pipeline/jobs", "/pipeline/batches", "/pipeline/workflows", "/pipeline/schedules", "/pipeline/uploads")
    }
    feed = world.ask("GET", "/pipeline/events?limit=500", secret).get_json()["reached"]
    values = {
        "workspace_id": workspace_id, "job_id": jobs[0], "batch_id": batches[0], "workflow_id": flows[0],
        "schedule_id": timed[0], "upload_id": uploads[0],
        "delivery_id": world.endpoints.test(endpoint), "endpoint_id": endpoint, "key_id": key.key_id, "tag": secret, "after": feed,
        "cursor": cursors["/pipeline/jobs"], "Idempotency-Key": f"{secret} 1", "Last-Event-ID": feed,
        "If-None-Match": sent.headers["ETag"], "api key": str(text), "path": f"{tenant_id}/{workspace_id}/{jobs[0]}/1/a.txt",
    }  # fmt: skip
    if tenant_id != "acme":
        values["tenant_id"] = tenant_id
    kit = Kit(values, ended, secret, cursors)
    return replace(kit, keys=keys_of(world, kit))


@pytest.fixture(scope="module")
def kits(world: World) -> dict[str, Kit]:
    for caller, role in (("blog read", Role.READ), ("blog submit", Role.SUBMIT)):
        key, world.texts[caller] = world.keys.create("acme", role, actor="test", workspace_id="blog")
        world.sessions[caller] = world.session(key)
    return {target: kit_of(world, target) for target in ("foreign", "neighbour")}


def keys_of(world: World, kit: Kit) -> list[str]:
    """The keys of the store that have one of a kit's ids, its workspace or its tenant in their names."""
    ids = [kit.values[name] for name in MARKS if name in kit.values and name != "tenant_id"]
    theirs = re.compile("|".join((*ids, kit.ended, ":rival:" if "tenant_id" in kit.values else ":acme:vault")))
    return sorted(key for key in world.store.client.scan_iter(count=10_000) if theirs.search(key))


@pytest.fixture(scope="module")
def states(world: World, kits: dict[str, Kit]) -> dict[str, list[object]]:
    """What the store keeps of each kit, as the cell before has left it: between two cells nobody asks for anything."""
    return {target: state_of(world, kit.keys) for target, kit in kits.items()}


def state_of(world: World, keys: list[str]) -> list[object]:
    """What the store keeps under these keys."""
    pipe: Any = world.store.client.pipeline(transaction=False)
    for key in keys:
        pipe.dump(key)
    found: list[object] = pipe.execute()
    return found


@cache
def declared(world: World, method: str, rule: str) -> dict[str, set[str]]:
    """The names that the document has for a route, by way; fields of fields too. Each of thousands of cells asks twice."""
    document = world.declared.document
    template = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
    operation = document["paths"].get(template, {}).get(method.lower(), {})
    found: dict[str, set[str]] = {way: set() for way in WAYS}
    for parameter in operation.get("parameters", ()):
        found[parameter["in"]].add(parameter["name"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        found["body"] |= set(fields(document, content.get("schema", {})))
    return found


def fields(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ()), *schema.get("oneOf", ()), schema.get("items", {})):
        yield from fields(document, part) if part else ()
    for name, part in schema.get("properties", {}).items():
        yield name
        yield from fields(document, part)


def test_every_name_of_the_document_is_known_to_name_a_thing_or_none(world: World) -> None:
    found = {name for route in ROUTES for names in declared(world, *route).values() for name in names}
    assert found - NAMES - HARMLESS == set(), "a new parameter or field: what of others could it name?"
    assert (NAMES | HARMLESS) - found == set(), "these are gone"
    variables = {name for _, rule in ROUTES for name in re.findall(r"<(?:\w+:)?(\w+)>", rule)}
    assert variables - set(MARKS) == {"path", "filename", "pipeline", "signal"}


@dataclass(frozen=True)
class Ask:
    """A request that names something, and what it names."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    named: tuple[str, ...]
    #: They narrow a list to what is theirs.
    filters: bool = False


def own_target(caller: str) -> str:
    return "blog" if caller.startswith("blog") else "own"


def base(world: World, route: Route, caller: str, kit: Kit | None = None, variable: str = "") -> tuple[str, dict[str, Any]]:
    """The table's request for a thing of the caller's own, but for one variable of the path."""
    path = route.path
    for name, marks in MARKS.items():
        for mark in marks:
            if mark in path and kit is not None and name == variable:
                path = path.replace(mark, kit.ended if mark == "{ended}" else kit.values[name])
    target = own_target(caller)
    if target == "blog":
        path = path.replace("?tenant_id={tenant}", "")
    path = world.filled(path, target)
    body = {name: TENANTS[target] if value == "{tenant}" else value for name, value in route.body.items()}
    return path, body


def asks(world: World, method: str, rule: str, way: str, caller: str, kit: Kit) -> Iterator[Ask]:
    """The requests of a cell: each declared name by itself, and all others at once."""
    route, said = ROUTES[method, rule], declared(world, method, rule)
    values = {**kit.values, "tags": kit.values["tag"], "depends_on": kit.values["job_id"], "url": f"upload://{kit.values['upload_id']}"}
    values["cursor"] = kit.cursors.get(rule.replace("<job_id>", ""), kit.values["cursor"])
    if way == "path":
        for variable in re.findall(r"<(?:\w+:)?(\w+)>", rule):
            if variable in MARKS and variable in kit.values:
                path, body = base(world, route, caller, kit, variable)
                yield Ask(path, body, dict(route.headers), (kit.values[variable], kit.ended))
        return
    names = [name for name in sorted(said[way] & NAMES) if name in values]
    rest = tuple(sorted(({*MARKS, "tag", "cursor"} if way != "header" else set(SPOOFED)) - said[way]))
    for group in (*((name,) for name in names), rest):
        chosen = {name: values[name] for name in group if name in values}
        path, body = base(world, route, caller)
        headers = dict(route.headers)
        if way == "query":
            given = {name for name in chosen if f"{name}=" in path}
            for name in given:
                path = re.sub(rf"{name}=[^&]*", urlencode({name: chosen[name]}), path)
            more = urlencode({name: value for name, value in chosen.items() if name not in given})
            path += ("&" if "?" in path else "?") + more if more else ""
        elif way == "body":
            many = {name: [value] if name in ("tags", "depends_on") else value for name, value in chosen.items()}
            inner = body.get("job") or (body.get("jobs") or [None])[0]
            if inner and set(group) & {"tags", "depends_on", "url"}:
                key = "job" if "job" in body else "jobs"
                changed = {**inner, **many, **({"pipeline": "media"} if "url" in many else {})}
                body = {**body, key: changed if key == "job" else [changed]}
            else:
                body = {**body, **many, **({"pipeline": "media"} if "url" in many and "pipeline" in body else {})}
        else:
            api_key, tenant = values["api key"], values.get("tenant_id", values["workspace_id"])
            spoofed = dict.fromkeys(SPOOFED, tenant) | {
                "X-Api-Key": api_key,
                "X-Original-Url": f"/pipeline/jobs/{values['job_id']}",
                "X-Rewrite-Url": f"/pipeline/jobs/{values['job_id']}",
                "X-Http-Method-Override": "DELETE",
            }
            headers |= {name: values.get(name, spoofed.get(name, "")) for name in group}
        yield Ask(path, body, headers, tuple(str(value) for value in {**values, **chosen}.values()), set(group) <= {"tag", "batch_id"})


#: Ids of the caller's own things, which differ from request to request.
_IDS = re.compile(r"(job|batch|sch|whep|msg)_[0-9a-f_]+|[0-9a-f]{16,32}")


@dataclass(frozen=True)
class Answer:
    """What the answers to theirs and to an unknown one must have in common: all of a refusal, of others what shows how much there is."""

    status: int
    replayed: str | None
    shown: object
    text: str = field(compare=False)


@cache
def writings(value: str) -> tuple[str, ...]:
    """As which it may stand in an answer. Thousands of answers are asked for the same few values, and most are written in one way."""
    return tuple(dict.fromkeys((value, quote_plus(value), escape(value))))


def answered(world: World, method: str, caller: str, ask: Ask) -> Answer:
    with world.ask(method, ask.path, caller, ask.body, **{"X-Request-Id": "same", **ask.headers}) as response:
        # Without what the request itself named.
        text = re.sub(r'"instance":"[^"]*"', "", response.get_data(as_text=True))
        for value in sorted(ask.named, key=len, reverse=True):
            for written in writings(value):
                text = text.replace(written, "<named>")
        shown: object = None
        if response.status_code >= 400:
            shown = _IDS.sub("<id>", text)
        elif method == "GET" and response.mimetype == "application/json" and ask.filters:
            body = response.get_json()
            shown = (body.get("count"), body.get("next_cursor"))
        return Answer(response.status_code, response.headers.get("Idempotent-Replayed"), shown, text)


@each(("method", "rule", "way", "caller", "target"), CELLS)
def test_what_is_anothers_is_as_unknown_by_every_way(
    world: World,
    kits: dict[str, Kit],
    states: dict[str, list[object]],
    method: str,
    rule: str,
    way: str,
    caller: str,
    target: str,
) -> None:
    kit = kits[target]
    # For each target another, so that it was sent as often as theirs.
    never = {**UNKNOWN.values, "Idempotency-Key": f"never sent {target}", "tag": f"no-{target}"}
    unknown = replace(UNKNOWN, values={name: value for name, value in never.items() if name in kit.values})
    pairs = zip(asks(world, method, rule, way, caller, kit), asks(world, method, rule, way, caller, unknown), strict=True)
    for of_theirs, of_none in pairs:
        theirs, none = (answered(world, method, caller, ask) for ask in (of_theirs, of_none))
        assert theirs == none, of_theirs
        assert kit.secret not in theirs.text, of_theirs
    before, states[target] = states[target], state_of(world, kit.keys)
    assert states[target] == before, "something of theirs was changed"


def test_nothing_of_theirs_was_added(world: World, kits: dict[str, Kit]) -> None:
    """After all of the above."""
    for kit in kits.values():
        assert keys_of(world, kit) == kit.keys
