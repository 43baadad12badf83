"""What a scrape shows, over a real store: of whom, from zero on, and how much there is to read for it."""

from __future__ import annotations

import re
import time
from importlib.resources import files

from prometheus_client.parser import text_string_to_metric_families

from pipeline_jobs.job import NewJob
from pipeline_jobs.operation import canary, metrics, overview
from pipeline_jobs.operation.canary import Canary
from pipeline_jobs.operation.metrics import StoreMetrics
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import Cell

Series = dict[tuple[str, ...], float]


def scrape(cell: Cell) -> dict[str, Series]:
    """Of each sample name its values by their labels' values, in the order of the labels' names."""
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(StoreMetrics(cell.store, cell.settings).text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


class TestNames:
    def test_the_first_have_them_keep_them_and_the_sum_is_kept(self, jobs: Cell) -> None:
        jobs = jobs.with_settings(metrics_tenants=2, metrics_workspaces=2)
        for tenant, n in (("small", 1), ("big", 5), ("late", 3)):
            for _ in range(n):
                jobs.submit(tenant_id=tenant)
        first = scrape(jobs)["pipeline_jobs_created_total"]
        assert first == {("small", "main"): 1, ("big", "main"): 5, ("_other", "_other"): 3}
        for _ in range(50):
            jobs.submit(tenant_id="late")
        for workspace in ("a", "b", "c"):
            jobs.submit(tenant_id="big", workspace_id=workspace)
        second = scrape(jobs)["pipeline_jobs_created_total"]
        assert all(second[series] >= value for series, value in first.items())
        assert sum(second.values()) == 9 + 53
        assert set(second) == {("small", "main"), ("big", "main"), ("big", "a"), ("big", "_other"), ("_other", "_other")}

    def test_a_name_that_is_known_of_another_store_is_looked_up_in_this_one(self, jobs: Cell) -> None:
        jobs = jobs.with_settings(metrics_tenants=1)
        for _ in range(2):
            jobs.submit(tenant_id="acme")
        jobs.store.client.flushall()
        for tenant in ("first", "acme", "acme"):
            jobs.submit(tenant_id=tenant)
        assert scrape(jobs)["pipeline_jobs_created_total"] == {("first", "main"): 1, ("_other", "_other"): 2}
        assert jobs.store.client.hget(jobs.store.keys("counters"), "created|acme|main") is None

    def test_what_is_kept_and_read_grows_with_the_names_not_with_the_tenants(self, jobs: Cell) -> None:
        jobs = jobs.with_settings(metrics_tenants=2, metrics_workspaces=2)
        client, keys = jobs.store.client, jobs.store.keys

        def whole_lives(tenants: range) -> int:
            for tenant in tenants:
                for workspace in ("a", "b", "c"):
                    run = jobs.running(tenant_id=f"t{tenant}", workspace_id=workspace)
                    jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
            return len({(kind, *labels[:2]) for kind, *labels in (field.split("|") for field in client.hkeys(keys("counters")))})

        few = whole_lives(range(4))
        assert whole_lives(range(4, 12)) == few
        # And that these are all.
        assert client.scard(keys("named")) == 2 + 2 * 2 + 1
        assert set(overview.tenants(jobs.store, 20)) == {f"t{n}" for n in range(12)}

    def test_counters_and_names_of_versions_that_kept_all_apart_are_added_up(self, jobs: Cell) -> None:
        jobs = jobs.with_settings(metrics_tenants=2)
        client, keys = jobs.store.client, jobs.store.keys
        client.hset(keys("counters"), mapping={f"created|{tenant}|main": 7 for tenant in ("a", "b", "c", "d")})
        client.sadd(keys("named"), "a", "a|main", "b", "b|main")
        client.hset(keys("named_count"), mapping={"": 2, "a": 1, "b": 1})
        jobs.submit(tenant_id="c")
        jobs.submit(tenant_id="a")
        assert scrape(jobs)["pipeline_jobs_created_total"] == {("a", "main"): 8, ("b", "main"): 7, ("_other", "_other"): 15}

    def test_the_platforms_canary_has_none_and_is_measured_by_itself(self, jobs: Cell) -> None:
        jobs = jobs.with_settings(metrics_tenants=1)
        jobs.client.registry.register(canary.PIPELINE)
        jobs.slots(1)
        Canary(jobs.client, 3600).run_once()
        run = jobs.start(str(jobs.store.client.get(jobs.store.keys("canary"))))
        jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
        Canary(jobs.client, 3600).run_once()
        jobs.submit(tenant_id="acme")
        found = scrape(jobs)
        assert found["pipeline_jobs_created_total"] == {("acme", "main"): 1, ("_other", "_other"): 0}
        assert not any(canary.TENANT in labels for series in found.values() for labels in series)
        assert found["pipeline_canary_jobs_created_total"] == {(): 1}
        assert found["pipeline_canary_jobs_completed_total"] == {("completed",): 1, ("failed",): 0, ("cancelled",): 0}
        assert found["pipeline_canary_age_seconds"].keys() == {()}


class TestZero:
    def test_what_may_come_is_there_before_it_comes(self, jobs: Cell) -> None:
        found = scrape(jobs)
        assert found["pipeline_job_crashes_total"] == found["pipeline_leases_expired_total"] == {(): 0}
        assert found["pipeline_webhook_deliveries_total"] == dict.fromkeys([(word,) for word in metrics.WEBHOOK_OUTCOMES], 0)
        jobs.submit(tenant_id="acme")
        found = scrape(jobs)
        acme = {labels: value for labels, value in found["pipeline_jobs_completed_total"].items() if "acme" in labels}
        assert acme == {(status, "acme", "main"): 0 for status in ("completed", "failed", "cancelled")}
        for name in ("pipeline_job_wait_seconds_count", "pipeline_job_duration_seconds_count"):
            assert found[name] == {("acme", "main"): 0, ("_other", "_other"): 0}

    def test_a_schedules_slots_are_there_as_soon_as_it_is(self, jobs: Cell) -> None:
        Scheduler(jobs.client).create(NewSchedule("0 3 * * *", NewJob(pipeline="sleep", tenant_id="acme")))
        found = scrape(jobs)
        expected = {(outcome, "acme", "main"): 0.0 for outcome in metrics.SLOT_OUTCOMES}
        assert found["pipeline_schedule_slots_total"] == expected
        assert found["pipeline_schedule_lag_seconds_count"] == {("acme", "main"): 0}

    def test_the_series_of_a_tenants_other_workspaces_is_there_before_one_of_them(self, jobs: Cell) -> None:
        jobs = jobs.with_settings(metrics_workspaces=1)
        jobs.submit(tenant_id="acme")
        assert scrape(jobs)["pipeline_jobs_created_total"][("acme", "_other")] == 0


class TestWaiting:
    def values(self, jobs: Cell) -> tuple[float, float, float]:
        found = scrape(jobs)
        return tuple(found[f"pipeline_jobs_{name}"][()] for name in ("queued", "scheduled", "dependent"))  # type: ignore[return-value]

    def age_of(self, jobs: Cell) -> float:
        return scrape(jobs)["pipeline_oldest_queued_age_seconds"][()]

    def test_only_what_could_start_is_queued_and_has_an_age(self, jobs: Cell) -> None:
        tomorrow = int(time.time() * 1000) + 86_400_000
        scheduled = jobs.submit(run_at=tomorrow)
        needed = jobs.submit(run_at=tomorrow)
        jobs.submit(depends_on=(needed.job_id,))
        assert self.values(jobs) == (0, 2, 1)
        assert self.age_of(jobs) == 0
        # Its time has come a day after it was accepted: it waits since now.
        jobs.store.change(scheduled.job_id, run_at=0)
        assert self.values(jobs) == (1, 1, 1)
        jobs.store.client.zincrby(jobs.store.keys("ready_since"), -299_000, scheduled.job_id)
        assert 299 <= self.age_of(jobs) < 86_400

    def test_a_retry_waits_for_its_time_a_dispatched_job_for_its_worker(self, jobs: Cell) -> None:
        run = jobs.running()
        jobs.submit()
        assert self.values(jobs) == (1, 0, 0)
        jobs.store.requeue(run.job_id, run.fence, "retry", delay_seconds=3600)
        assert self.values(jobs) == (1, 1, 0)

    def test_a_hint_that_was_taken_back_leaves_the_age_as_it_was(self, jobs: Cell) -> None:
        jobs.slots(1)
        job = jobs.submit()
        since = jobs.store.client.zscore(jobs.store.keys("ready_since"), job.job_id)
        jobs.store.client.zadd(jobs.store.keys("ready_since"), {job.job_id: since - 60_000})
        jobs.let_leases_end()
        assert [one.became for one in jobs.store.rescue()] == ["hint"]
        assert jobs.store.client.zscore(jobs.store.keys("ready_since"), job.job_id) == since - 60_000

    def test_what_a_version_without_the_index_left_of_it_is_put_right(self, jobs: Cell) -> None:
        waiting, gone = jobs.submit(), jobs.submit()
        jobs.client.cancel(gone.job_id)
        index = jobs.store.keys("ready_since")
        jobs.store.client.delete(index)
        jobs.store.client.zadd(index, {gone.job_id: 1})
        assert (jobs.store.recount(), jobs.store.reconcile().jobs) == (0, 0)
        assert jobs.store.client.zrange(index, 0, -1) == [waiting.job_id]


def test_a_full_server_is_scraped(jobs: Cell) -> None:
    jobs.submit(tenant_id="acme")
    jobs.store.client.config_set("maxmemory", "1")
    try:
        assert scrape(jobs)["pipeline_jobs_created_total"][("acme", "main")] == 1
    finally:
        jobs.store.client.config_set("maxmemory", "0")


def test_lua_and_python_have_the_same_buckets_and_know_the_same_canary() -> None:
    base = (files("pipeline_jobs") / "lua" / "lib" / "base.lua").read_text("utf-8").replace(" ", "")
    assert f"BUCKETS={{{','.join(map(str, metrics.BUCKETS_MS))}}}" in base
    assert f"CANARY='{canary.TENANT}'" in base
    assert re.findall(r"found=(\{.*'.*'\})", base) == [f"{{'{metrics.OTHER}','{metrics.OTHER}'}}", f"{{tenant,'{metrics.OTHER}'}}"]
