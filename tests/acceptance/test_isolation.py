"""Who may what, over the real app and store: every route x whose thing is asked for x who asks.

And over real processes: the life of a key.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from itertools import product
from pathlib import Path
from urllib.parse import urlencode

import pytest
from werkzeug.test import TestResponse

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.job import Job, NewJob, new_job_id
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from tests.acceptance.isolation import CALLERS, CELLS, ROUTES, UI, World, expected
from tests.cases import each
from tests.stack import MakeStack
from tests.waiting import until


def test_the_table_has_every_route_and_no_other(world: World) -> None:
    served = {(method, rule.rule) for rule in world.app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert served == set(ROUTES)
    assert len(CELLS) >= 300


@each(("method", "rule", "target", "caller"), CELLS)
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


@each("path", sorted({rule for _, rule in ROUTES if "<" not in rule}))
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
    # A cursor is sealed for whoever it was given to: to others it is none.
    theirs = world.ask("GET", "/pipeline/jobs?tenant_id=other&limit=1", "global admin").get_json()["next_cursor"]
    for path in ("/pipeline/jobs", "/pipeline/batches", "/pipeline/schedules", "/pipeline/uploads"):
        assert world.ask("GET", f"{path}?cursor={theirs}", "read").status_code == 422
    assert world.ask("POST", "/pipeline/jobs/cancel", "tenant admin", {"tag": "none", "cursor": theirs}).status_code == 422
    assert world.ask("GET", f"/pipeline/jobs?tenant_id=other&cursor={theirs}", "global admin").status_code == 200


@pytest.mark.parametrize(
    ("named", "theirs"), [("tag=shared", 30), ("tag=shared", 900), ("tag=shared&status=queued", 30), ("pipeline=sleep", 30), ("", 30)]
)
def test_no_page_tells_a_key_of_a_workspace_that_or_when_others_have_jobs(world: World, named: str, theirs: int) -> None:
    workspace_id, client, keys = f"w{theirs}{named[-4:].strip('=')}", world.store.client, world.store.keys
    names = {"beside others": "acme", "alone": "solo"}
    for name, tenant_id in names.items():
        _, world.texts[name] = world.keys.create(tenant_id, Role.SUBMIT, actor="test", workspace_id=workspace_id)

    def submit(tenant_id: str, workspace: str) -> Job:
        return world.jobs.submit(NewJob(pipeline="sleep", tenant_id=tenant_id, workspace_id=workspace, tags=("shared",)))

    orders = []
    for _ in range(2):
        orders.append(submit("acme", "neighbour").order)
        for tenant_id in names.values():
            submit(tenant_id, workspace_id)
    orders.append(submit("acme", "neighbour").order)
    # So many more of theirs have the tag, before and after; and of one's own, so that it is the tag's index that has the fewest.
    many = {f"job_1_{number:08x}": orders[0] + (number - theirs // 2) * 10_000_000 for number in range(theirs)}
    client.zadd(keys("tag", "acme", "shared"), many)
    for tenant_id in names.values():
        client.zadd(keys("workspace", tenant_id, workspace_id), {f"job_2_{number:08x}": 1 + number for number in range(theirs + 200)})
    try:
        shapes = []
        for name in names:
            cursor, pages = "", []
            while True:
                page = world.ask("GET", f"/pipeline/jobs?limit=1&{named}{cursor}", name).get_json()
                pages.append((page["count"], page["next_cursor"] is None))
                if page["next_cursor"] is None or len(pages) > 10:
                    break
                sealed = urlsafe_b64decode(page["next_cursor"] + "==")
                assert not [order for order in (*orders, *many.values()) if order.to_bytes(8, "big") in sealed]
                cursor = f"&cursor={page['next_cursor']}"
            shapes.append(pages)
        assert shapes[0] == shapes[1]
        assert sum(count for count, _ in shapes[0]) == 2
    finally:
        client.zrem(keys("tag", "acme", "shared"), *many)
        for name in names:
            del world.texts[name]


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
    everything = log + stack.log("api") + first.get("/metrics?scope=all", headers=headers).text
    assert not [text for text in (root, made["key"]) if text.split("_", 2)[2] in everything]


@pytest.mark.parametrize("command", [("jobs", "show", "job_1_00000000"), ("jobs", "key", "revoke", "x")])
def test_the_command_says_what_it_cannot_find(make_stack: MakeStack, command: tuple[str, ...], tmp_path: Path) -> None:
    done = make_stack().celery(*command)
    assert done.returncode == 1
    assert "there is no" in done.stderr.lower()
    assert "Traceback" not in done.stderr
