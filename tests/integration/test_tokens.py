"""What a tenant's jobs may use of the operator's language model in a day."""

from __future__ import annotations

from pipeline_jobs.job import Job
from pipeline_jobs.jobs.model_tokens import spender
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell


def spend(cell: Cell, job: Job, tokens: int, most: int = 100) -> str:
    return spender(cell.store, cell.settings.model_copy(update={"llm_tokens_per_tenant": most}), job)(tokens)


def test_a_tenant_uses_what_it_may_and_takes_nothing_from_others(jobs: Cell) -> None:
    jobs.store.set_max_concurrent_jobs(50)
    greedy = [spend(jobs, jobs.running(tenant_id="greedy"), 40) for _ in range(4)]
    assert greedy == ["ok", "ok", "full", "full"]
    assert spend(jobs, jobs.running(tenant_id="other"), 100) == "ok"
    jobs.client.set_limits("greedy", TenantLimits(daily_llm_tokens=120))
    assert [spend(jobs, jobs.running(tenant_id="greedy"), tokens) for tokens in (41, 40, 1)] == ["full", "ok", "full"]


def test_a_run_is_charged_once_and_one_that_lost_its_job_not_at_all(jobs: Cell) -> None:
    run = jobs.running(tenant_id="acme")
    assert [spend(jobs, run, 90) for _ in range(3)] == ["ok"] * 3
    jobs.store.requeue(run.job_id, run.fence, "handback")
    assert spend(jobs, run, 1) == "fenced"
    assert spend(jobs, jobs.running(tenant_id="acme"), 10) == "ok"


def test_who_may_use_it(jobs: Cell) -> None:
    assert spend(jobs, jobs.running(tenant_id="acme"), 1, most=0) == "none"
    jobs.client.set_limits("acme", TenantLimits(daily_llm_tokens=50))
    assert spend(jobs, jobs.running(tenant_id="acme"), 1, most=0) == "ok"
    jobs.client.set_limits("acme", TenantLimits(daily_llm_tokens=0))
    assert spend(jobs, jobs.running(tenant_id="acme"), 1) == "none"
