"""The metrics exporter: what it shows of the store, and to whom."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from wsgiref.simple_server import WSGIServer

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from pipeline_jobs.jobs.pipeline_limits import declare_max_concurrent_jobs
from pipeline_jobs.metrics_exporter import Exporter, main
from pipeline_jobs.operation.metrics import FIXED_SERIES, Counts, StoreMetrics, fold
from pipeline_jobs.operation.metrics_server import metrics_server
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.runner import SERIES_OF_A_WORKSPACE
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell
from tests.integration.test_metrics import Series, scrape


def waiting(jobs: Cell) -> dict[str, float]:
    return {reason: n for (reason,), n in scrape(jobs)["pipeline_jobs_waiting"].items() if n}


def value(jobs: Cell, name: str) -> float:
    return scrape(jobs)[name][()]


class TestWhyJobsWait:
    def test_each_reason_is_counted_and_what_limits_hold_is_not_the_queue(self, jobs: Cell) -> None:
        jobs.store.set_pipeline_cap("sleep", 7)
        jobs.client.set_limits("paused", TenantLimits(paused=True), actor="test")
        jobs.client.set_limits("capped", TenantLimits(max_concurrent=1), actor="test")
        for tenant, n in (("paused", 3), ("capped", 4), ("free", 2)):
            for workspace in range(n):
                jobs.submit(tenant_id=tenant, workspace_id=f"w{workspace % 2}")
        later = jobs.submit(run_at=2_900_000_000_000)
        jobs.submit(depends_on=(later.job_id,))
        assert waiting(jobs) == {"tenant_paused": 3, "no_worker": 6, "scheduled": 1, "dependency": 1}
        jobs.slots(2)
        assert waiting(jobs) == {
            "tenant_paused": 3,
            "tenant_concurrency": 3,
            "dispatched": 2,
            "fair_share": 1,
            "scheduled": 1,
            "dependency": 1,
        }
        assert (value(jobs, "pipeline_jobs_queued"), value(jobs, "pipeline_jobs_held")) == (3, 6)

    def test_a_full_pipeline_holds_its_jobs_back(self, jobs: Cell) -> None:
        jobs.store.set_pipeline_cap("sleep", 1)
        jobs.slots(10)
        for number in range(4):
            jobs.submit(workspace_id=f"w{number % 2}")
        assert waiting(jobs) == {"dispatched": 1, "pipeline_concurrency": 3}
        assert scrape(jobs)["pipeline_pipeline_max_concurrent"] == {("sleep",): 1}

    def test_the_age_is_of_jobs_that_a_worker_could_run(self, jobs: Cell) -> None:
        jobs.client.set_limits("paused", TenantLimits(paused=True), actor="test")
        held = [jobs.submit(tenant_id="paused") for _ in range(3)]
        ages = jobs.store.keys("ready_since")
        for job in held:
            jobs.store.client.zincrby(ages, -3_600_000, job.job_id)
        assert value(jobs, "pipeline_oldest_queued_age_seconds") == 0
        free = jobs.submit(tenant_id="free")
        jobs.store.client.zincrby(ages, -300_000, free.job_id)
        assert 300 <= value(jobs, "pipeline_oldest_queued_age_seconds") < 3600

    def test_behind_very_many_that_are_held_back_the_next_in_the_ring_are_asked(self, jobs: Cell) -> None:
        jobs.client.set_limits("paused", TenantLimits(paused=True), actor="test")
        for _ in range(201):
            jobs.submit(tenant_id="paused")
        free = jobs.submit(tenant_id="free")
        jobs.store.client.zincrby(jobs.store.keys("ready_since"), -1, free.job_id)
        for job_id in jobs.store.client.zrange(jobs.store.keys("tenant_status", "paused", JobStatus.QUEUED), 0, -1):
            jobs.store.client.zincrby(jobs.store.keys("ready_since"), -3_600_000, job_id)
        assert 0 < value(jobs, "pipeline_oldest_queued_age_seconds") < 3600


class TestWhatItShows:
    def test_slots_are_within_the_cap(self, jobs: Cell) -> None:
        declare_max_concurrent_jobs(jobs.store, jobs.settings.model_copy(update={"max_concurrent_jobs": 3}))
        jobs.slots(2, "a")
        jobs.slots(2, "b")
        assert value(jobs, "pipeline_slots") == value(jobs, "pipeline_max_concurrent_jobs") == 3
        assert value(jobs, "pipeline_workers") == 2

    def test_paused_and_warned_workers_and_classes(self, jobs: Cell) -> None:
        jobs.store.announce("a", 1, [])
        jobs.store.announce("b", 0, [], paused="its disk is full", warning="no media")
        assert (value(jobs, "pipeline_workers_paused"), value(jobs, "pipeline_workers_warned")) == (1, 1)
        assert scrape(jobs)["pipeline_workers_of_class"] == {("",): 2}

    def test_duties_have_ages_once_they_ran(self, jobs: Cell) -> None:
        assert "pipeline_beat_age_seconds" not in scrape(jobs)
        jobs.store.beat("rescue")
        jobs.store.client.set(jobs.store.keys("heartbeat", "purge"), int(jobs.store.now()) - 500_000)
        ages = scrape(jobs)["pipeline_duty_age_seconds"]
        assert set(ages) == {("rescue",), ("purge",)}
        assert ages[("purge",)] >= 500
        assert value(jobs, "pipeline_beat_age_seconds") < 500
        assert scrape(jobs)["pipeline_duty_interval_seconds"][("purge",)] == jobs.settings.cleanup_seconds

    def test_the_stores_memory_log_and_disk(self, jobs: Cell) -> None:
        jobs.store.client.config_set("maxmemory", "100mb")
        try:
            found = shown(Exporter(jobs.settings).text())
            assert found["pipeline_store_memory_max_bytes"] == {(): 100 * 1024**2}
            assert 0 < found["pipeline_store_memory_bytes"][()] < 100 * 1024**2
            assert found["pipeline_store_aof_ok"] == {(): 1}
            assert set(found["pipeline_disk_free_bytes"]) == {("artifacts",), ("store",)}
            jobs.store.client.config_set("appendonly", "no")
            assert shown(Exporter(jobs.settings).text())["pipeline_store_aof_ok"] == {(): 0}
        finally:
            jobs.store.client.config_set("maxmemory", "0")
            jobs.store.client.config_set("appendonly", "yes")

    def test_webhooks_that_wait_and_since_when(self, jobs: Cell) -> None:
        jobs = jobs.with_settings(webhook_allow_private=True)
        for number in range(3):
            jobs.client.cancel(jobs.submit(tenant_id=f"t{number}", webhook={"url": "http://127.0.0.1:9/hook"}).job_id)
        assert value(jobs, "pipeline_webhooks_waiting") == 3
        pending = jobs.store.keys("deliveries_in", "t0", "pending")
        [oldest] = jobs.store.client.zrange(pending, 0, -1)
        jobs.store.client.zincrby(pending, -50_000_000, oldest)
        assert value(jobs, "pipeline_oldest_webhook_age_seconds") >= 50

    def test_a_store_that_is_away_is_said_and_no_zero_is(self) -> None:
        found = shown(Exporter(Settings(redis_url="redis://127.0.0.1:1/0")).text())
        assert found["pipeline_store_up"] == {(): 0}
        assert "pipeline_jobs_queued" not in found
        assert "pipeline_build_info" in found

    def test_the_disk_of_a_store_that_is_away_is_shown_still(self, jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may be away because that disk is full: the alert that says so must not end with it."""
        exporter = Exporter(jobs.settings)
        before = shown(exporter.text())["pipeline_disk_free_bytes"]
        assert ("store",) in before
        monkeypatch.setattr(exporter._store, "client", Exporter(Settings(redis_url="redis://127.0.0.1:1/0"))._store.client)
        found = shown(exporter.text())
        assert found["pipeline_store_up"] == {(): 0}
        assert found["pipeline_disk_free_bytes"].keys() == before.keys()


def shown(text: bytes) -> dict[str, Series]:
    return {
        family.name: {tuple(label for _, label in sorted(sample.labels.items())): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text.decode())
    }


def count(text: bytes) -> int:
    return sum(len(family.samples) for family in text_string_to_metric_families(text.decode()))


class TestCeiling:
    def fill(self, jobs: Cell, tenants: int, workspaces: int) -> None:
        """As a version left it that had no ceiling: all are named. The later ones have more jobs."""
        client, keys = jobs.store.client, jobs.store.keys
        for tenant in range(tenants):
            places = [f"t{tenant:03}|w{workspace}" for workspace in range(workspaces)]
            client.hset(keys("counters"), mapping={f"created|{place}": tenant + 1 for place in places})
            client.hset(keys("counters"), mapping={f"completed|{place}|completed": tenant for place in places})
            client.sadd(keys("named"), f"t{tenant:03}", *places)

    def test_series_are_bounded_the_largest_are_kept_and_sums_hold(self, jobs: Cell) -> None:
        jobs = jobs.with_settings(metrics_series=2000)
        self.fill(jobs, 60, 2)
        jobs.store.client.config_set("maxmemory", "1")
        try:
            text = StoreMetrics(jobs.store, jobs.settings).text()
        finally:
            jobs.store.client.config_set("maxmemory", "0")
        assert 1000 < count(text) <= 2000
        found = scrape(jobs)
        created = found["pipeline_jobs_created_total"]
        assert sum(created.values()) == 2 * sum(range(1, 61))
        kept = {tenant for tenant, _ in created} - {"_other"}
        assert kept == {f"t{number:03}" for number in range(60 - len(kept), 60)}
        assert found["pipeline_tenants_folded"] == {(): 60 - len(kept)}
        assert sum(found["pipeline_jobs_completed_total"].values()) == 2 * sum(range(60))

    def test_no_counter_falls_whoever_is_asked(self, jobs: Cell) -> None:
        """Several processes show them, each asked first at some time: tenants come and grow, and get workspaces and schedules."""
        jobs = jobs.with_settings(metrics_series=1000)
        random, client, keys = Random(7), jobs.store.client, jobs.store.keys
        processes, before = [StoreMetrics(jobs.store, jobs.settings)], Series()
        self.fill(jobs, 8, 1)
        sizes = set()
        for step in range(60):
            tenant, workspace = f"t{random.randrange(8 + step // 3):03}", f"w{random.randrange(1 + step // 25)}"
            client.sadd(keys("named"), tenant, f"{tenant}|{workspace}")
            client.hincrby(keys("counters"), f"created|{tenant}|{workspace}", random.choice((1, 10, 1000)))
            if step % 3 == 0:
                client.hincrby(keys("counters"), f"schedule_slots|{tenant}|{workspace}|fired", 1)
            if step % 20 == 0:
                processes.append(StoreMetrics(jobs.store, jobs.settings))
            text = random.choice(processes).text()
            assert count(text) <= 1000
            after = {(name, *place): n for name, series in shown(text).items() if "jobs_created" in name for place, n in series.items()}
            assert [place for place, n in before.items() if after.get(place, n) < n] == []
            # Only what is no longer shown anywhere may be gone: whoever has series again begins where they ended.
            before |= after
            sizes.add(len(after))
        assert len(sizes) > 5, "it came to that"
        assert shown(processes[0].text())["pipeline_tenants_folded"][()] > 0

    def test_who_had_no_room_has_none_when_another_loses_its(self) -> None:
        half = 10

        def shown_where_the_second_costs(series: int, first: int = half) -> set[str]:
            counts: Counts = defaultdict(lambda: defaultdict(int))
            for tenant, jobs, cost in (("first", 30, first), ("second", 20, series), ("third", 10, 5)):
                counts["created"][tenant, "main"] = jobs
                counts["completed"] |= {(tenant, "main", str(number)): 1 for number in range(cost - 1)}
            fold(counts, FIXED_SERIES + 2 * half, list)
            return {tenant for tenant, _ in counts["created"]}

        assert shown_where_the_second_costs(half) == {"first", "second", "_other"}
        assert shown_where_the_second_costs(half + 1) == {"first", "_other"}
        # The first one may grow.
        assert shown_where_the_second_costs(half + 1, first=half - 3) == {"first", "_other"}

    def test_no_more_are_named_than_fit(self, jobs: Cell) -> None:
        jobs = jobs.with_settings(metrics_series=500)
        for tenant in range(20):
            jobs.submit(tenant_id=f"t{tenant}")
        created = scrape(jobs)["pipeline_jobs_created_total"]
        assert len(created) <= 500 // SERIES_OF_A_WORKSPACE + 1
        assert sum(created.values()) == 20
        # In the store too: what is counted there is kept for good, and read at each scrape.
        named = jobs.store.client.smembers(jobs.store.keys("named"))
        assert sum("|" in name for name in named) == 500 // SERIES_OF_A_WORKSPACE

    def test_what_a_workspace_has_and_what_there_is_besides_is_counted_right(self, jobs: Cell) -> None:
        few = count(StoreMetrics(jobs.store, jobs.settings).text())
        assert few <= FIXED_SERIES + SERIES_OF_A_WORKSPACE
        jobs.submit(tenant_id="acme")
        assert count(StoreMetrics(jobs.store, jobs.settings).text()) - few == SERIES_OF_A_WORKSPACE


def shown_created(metrics: StoreMetrics) -> Series:
    return shown(metrics.text())["pipeline_jobs_created"]


class TestServer:
    @pytest.fixture
    def address(self, jobs: Cell) -> Iterator[str]:
        jobs.submit(tenant_id="acme")
        server = metrics_server("127.0.0.1", 0, Exporter(jobs.settings).text)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()

    def test_it_serves_metrics_and_nothing_else(self, address: str) -> None:
        assert 'tenant="acme"' in requests.get(f"http://{address}/metrics", timeout=60).text
        assert requests.get(f"http://{address}/", timeout=60).status_code == 404

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:9809", "169.254.1.1"])
    def test_a_page_of_another_name_is_refused(self, address: str, host: str) -> None:
        answer = requests.get(f"http://{address}/metrics", headers={"Host": host}, timeout=60)
        assert (answer.status_code, "acme" in answer.text) == (403, False)

    def test_a_wrong_setting_is_one_line(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("PIPELINE_METRICS_PROT", "1")
        assert main() == 2
        assert capsys.readouterr().err == "Error: unknown setting PIPELINE_METRICS_PROT: did you mean PIPELINE_METRICS_PORT?\n"

    def test_it_logs_as_the_setting_says_and_so_do_libraries(
        self, jobs: Cell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def serve(server: object) -> None:
            logging.getLogger("a.library").warning("it says")
            raise KeyboardInterrupt

        monkeypatch.setattr(WSGIServer, "serve_forever", serve)
        monkeypatch.setattr(signal, "signal", lambda number, handler: None)
        for name, value in (
            ("PIPELINE_REDIS_URL", jobs.settings.redis_url),
            ("PIPELINE_LOG_FORMAT", "json"),
            ("PIPELINE_METRICS_PORT", "0"),
        ):
            monkeypatch.setenv(name, value)
        assert main() == 0
        lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
        assert [line["event"] for line in lines] == ["metrics are shown", "it says"]
