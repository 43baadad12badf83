"""Limits act on the backlog at once, from the API and from the command line."""

from __future__ import annotations

import json

from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.stack import MakeStack, Stack
from tests.waiting import until


def running_of(stack: Stack, tenant: str) -> int:
    keys, client = stack.client.store.keys, stack.client.store.client
    return int(client.zcard(keys("tenant_status", tenant, JobStatus.RUNNING)))


def test_a_tenants_cap_is_raised_by_the_api_and_it_is_paused_by_the_command_line(make_stack: MakeStack) -> None:
    stack = make_stack(max_concurrent_jobs=8)
    api = stack.api()
    stack.client.set_limits("a", TenantLimits(max_concurrent=1))
    stack.worker("jobs", "--autoscale=4,4")
    for _ in range(8):
        stack.submit(tenant_id="a", params={"seconds": 600})
    stack.submit(tenant_id="b", params={"seconds": 600})
    until(lambda: (running_of(stack, "a"), running_of(stack, "b")) == (1, 1), "one of each")
    waiting = api.get("/pipeline/jobs?tenant_id=a&status=queued&limit=1").json()["jobs"][0]
    shown = api.get(f"/pipeline/jobs/{waiting['job_id']}").json()
    assert (shown["reason"], shown["queue"]["limit"], shown["queue"]["current"]) == ("tenant_concurrency", 1, 1)
    answer = api.put("/pipeline/tenants/a/limits", {"max_concurrent": 2})
    assert answer.status_code == 200, answer.text
    until(lambda: running_of(stack, "a") == 2, "the second")
    done = stack.control("tenant_limits", "a", '{"paused": true}')
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.client.limits("a") == TenantLimits(paused=True)
    assert running_of(stack, "a") == 2
    # A pipeline's cap: the tenant is let go again, the pipeline holds the rest back until its cap is raised.
    assert api.put("/pipeline/pipelines/sleep/limits", {"max_concurrent": 3}).json() == {
        "max_concurrent": 3,
        "declared": None,
        "current": 3,
    }
    assert api.put("/pipeline/tenants/a/limits", {}).ok
    shown = api.get(f"/pipeline/jobs/{waiting['job_id']}").json()
    assert (shown["reason"], shown["queue"]["limit"], shown["queue"]["current"]) == ("pipeline_concurrency", 3, 3)
    done = stack.control("pipeline_limit", "sleep", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: running_of(stack, "a") == 3, "the third")
    done = stack.celery("jobs", "pipeline", "sleep", "--declared")
    assert json.loads(done.stdout)["max_concurrent"] is None, done.stderr
    usage = api.get("/pipeline/tenants/a/usage?days=1").json()
    assert usage["days"][0]["created"] == 8
    actions = [row["action"] for row in api.get("/pipeline/audit").json()["rows"]]
    assert actions == [*["pipeline_limits.changed"] * 2, "limits.changed", "pipeline_limits.changed", *["limits.changed"] * 3]
