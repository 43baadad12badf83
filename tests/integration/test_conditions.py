"""Which conditions of the installation a look finds, over a real store."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline_jobs.operation import conditions
from pipeline_jobs.operation import watch as watching
from pipeline_jobs.operation.conditions import CONDITIONS, look
from pipeline_jobs.operation.watch import Watch, build
from pipeline_jobs.settings import Settings
from pipeline_jobs.store import presence
from pipeline_jobs.store.presence import About
from pipeline_jobs.web import processes as api_processes
from pipeline_jobs.web.processes import Processes
from tests.integration.conftest import Cell, make_cell
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1000


def say(jobs: Cell, name: str, kind: str, *, began: int = -600, steady: int = -600, last: int = 0, **about: Any) -> None:
    """A process announced itself, so many seconds from now."""
    now = jobs.store.now()
    text = json.dumps(asdict(About(kind, about.pop("version", "1"), **about)))
    row = " ".join(str(now + seconds * SECONDS) for seconds in (began, steady, last))
    jobs.store.client.hset(jobs.store.keys("processes"), name, f"{row} {text}")


def time_passes(jobs: Cell, name: str, seconds: int) -> None:
    """For a process that says nothing meanwhile."""
    key = jobs.store.keys("processes")
    *times, rest = str(jobs.store.client.hget(key, name)).split(" ", 3)
    jobs.store.client.hset(key, name, " ".join([*(str(int(time) - seconds * SECONDS) for time in times), rest]))


def found(jobs: Cell, local: Mapping[str, str] | None = None) -> dict[str, str]:
    """What is wrong, with its detail; how the server of the tests is set up is not."""
    seen = look(jobs.store, jobs.settings, local or {})
    return {one.name: one.detail for one in seen.found if one.severity != conditions.ADVICE}


@pytest.fixture
def well(jobs: Cell) -> Cell:
    """An installation with one process of each kind, in which nothing is wrong."""
    for kind in ("api", "jobs", "maintenance", "beat"):
        say(jobs, f"{kind}@a/1", kind)
    jobs.slots(4, "jobs@a/1")
    jobs.store.beat("rescue")
    return jobs


def test_a_healthy_installation_has_none(well: Cell) -> None:
    assert found(well) == {}
    seen = look(well.store, well.settings, {})
    assert seen.worst == "ok"
    assert all(part["ok"] for part in conditions.parts(seen).values())


class TestLost:
    def test_a_process_that_says_nothing_any_more_is_named(self, well: Cell) -> None:
        say(well, "jobs@b/1", "jobs", last=-25)
        assert found(well) == {"process_lost": "jobs@b (jobs) has said nothing for 25 s"}

    def test_one_in_whose_place_another_has_begun_is_not(self, well: Cell) -> None:
        say(well, "jobs@b/1", "jobs", last=-25)
        say(well, "jobs@b/2", "jobs", began=-23)
        assert found(well) == {}
        say(well, "jobs@b/2", "jobs", began=-30)
        assert set(found(well)) == {"process_lost"}, "that one was there before it was lost"

    @pytest.mark.parametrize("last", [-3, -25])
    def test_one_that_was_started_again_and_then_stopped_is_not(self, well: Cell, last: int) -> None:
        say(well, "jobs@b/1", "jobs", last=last)
        presence.announce(well.store, "jobs@b/2", About("jobs", "1"))
        presence.leave(well.store, "jobs@b/2")
        time_passes(well, "jobs@b/1", 30)
        assert found(well) == {}

    def test_one_that_died_beside_the_next_of_its_node_is_not_after_that_one_was_stopped(self, well: Cell) -> None:
        say(well, "jobs@b/1", "jobs", last=-25)
        say(well, "jobs@b/2", "jobs", began=-100)
        assert set(found(well)) == {"process_lost"}
        presence.leave(well.store, "jobs@b/2")
        assert found(well) == {}

    def test_one_that_lived_on_beside_the_next_of_its_node_is_as_ever(self, well: Cell) -> None:
        """Two of a node live side by side for a while, and the later one ends first."""
        say(well, "jobs@b/1", "jobs")
        for name in ("jobs@b/2", "jobs@b/1"):
            presence.announce(well.store, name, About("jobs", "1"))
        presence.leave(well.store, "jobs@b/2")
        time_passes(well, "jobs@b/1", 30)
        assert set(found(well)) == {"process_lost"}

    def test_the_next_of_a_node_is_as_ever_when_the_former_one_stops_at_last(self, well: Cell) -> None:
        say(well, "jobs@b/1", "jobs")
        say(well, "jobs@b/2", "jobs", began=-100, last=-25)
        presence.leave(well.store, "jobs@b/1")
        assert set(found(well)) == {"process_lost"}

    def test_nobody_begins_or_ends_in_the_place_of_one_of_another_node(self, well: Cell) -> None:
        say(well, "jobs@bb/1", "jobs", last=-25)
        presence.announce(well.store, "jobs@b/1", About("jobs", "1"))
        presence.leave(well.store, "jobs@b/1")
        assert found(well) == {"process_lost": "jobs@bb (jobs) has said nothing for 25 s"}

    def test_nobody_is_lost_for_ever(self, well: Cell) -> None:
        """Rows are swept as a process begins: in an installation that goes on as it is, none does."""
        say(well, "jobs@b/1", "jobs", began=-9000, last=-3590)
        assert set(found(well)) == {"process_lost"}
        say(well, "jobs@b/1", "jobs", began=-9000, last=-3610)
        assert found(well) == {}

    def test_nobody_is_lost_while_nobody_could_say_anything(self, well: Cell) -> None:
        """The server was away: the first ones to come back must not call the others lost."""
        for kind in ("api", "jobs", "maintenance"):
            say(well, f"{kind}@a/1", kind, steady=-2)
        say(well, "beat@a/1", "beat", last=-100)
        assert found(well) == {}
        say(well, "api@a/1", "api", steady=-21)
        assert set(found(well)) == {"process_lost"}

    def test_one_that_ends_on_purpose_leaves_nothing(self, well: Cell) -> None:
        presence.leave(well.store, "jobs@a/1")
        assert "jobs@a/1" not in {one.name for one in presence.processes(well.store)}

    def test_a_gap_is_noticed_and_a_start_forgets_what_is_old(self, well: Cell) -> None:
        say(well, "jobs@a/1", "jobs", last=-60)
        say(well, "jobs@old/1", "jobs", last=-4000)
        presence.announce(well.store, "jobs@a/1", About("jobs", "1"))
        (one,) = [one for one in presence.processes(well.store) if one.name == "jobs@a/1"]
        assert (one.steady, one.last) == (one.last, one.last)
        assert one.began < one.last - 500 * SECONDS
        presence.announce(well.store, "jobs@a/1", About("jobs", "1"))
        (again,) = [one for one in presence.processes(well.store) if one.name == "jobs@a/1"]
        assert again.steady == one.steady
        presence.announce(well.store, "jobs@new/1", About("jobs", "1"))
        assert "jobs@old/1" not in {one.name for one in presence.processes(well.store)}


class TestDuties:
    @pytest.mark.parametrize(("missing", "names"), [
        ("beat", {"beat_away"}), ("maintenance", {"maintenance_away"}), (None, {"duties_late"}),
    ])  # fmt: skip
    def test_who_is_missing_is_named_when_duties_are_late(self, well: Cell, missing: str | None, names: set[str]) -> None:
        if missing:
            presence.leave(well.store, f"{missing}@a/1")
        assert found(well) == {}, "its work is not late yet: one of an earlier version does not announce itself"
        well.store.set_text(str(well.store.now() - 30 * SECONDS), "heartbeat", "rescue")
        assert set(found(well)) == names

    def test_a_canary_that_does_not_come_back_is_late_unless_all_slots_are_busy(self, well: Cell) -> None:
        well.store.set_text(str(well.store.now() - 3600 * SECONDS), "heartbeat", "canary")
        assert set(found(well)) == {"canary_late"}
        well.slots(1, "jobs@a/1")
        well.start(well.submit().job_id, worker="jobs@a/1")
        assert found(well) == {}


def test_workers_that_take_no_jobs(well: Cell) -> None:
    well.store.announce("jobs@b/1", 0, [], paused="the disk is full")
    say(well, "jobs@b/1", "jobs")
    assert found(well) == {"worker_paused": "jobs@b: the disk is full"}
    well.slots(0, "jobs@a/1")
    assert set(found(well)) == {"workers_away", "worker_paused", "worker_drained"}
    well.store.announce("jobs@a/1", 0, [], leaving=True)
    well.store.announce("jobs@b/1", 0, [], leaving=True)
    assert set(found(well)) == {"workers_away"}


@pytest.mark.parametrize(("skew", "names"), [(5000, {"clock_skew"}), (-5000, {"clock_skew"}), (1500, set()), (None, set())])
def test_a_clock_that_is_wrong(well: Cell, skew: int | None, names: set[str]) -> None:
    say(well, "jobs@a/1", "jobs", skew_ms=skew)
    assert set(found(well)) == names


class TestDrift:
    def test_versions(self, well: Cell) -> None:
        say(well, "jobs@a/1", "jobs", version="2")
        assert found(well) == {"versions_differ": "1: api@a, beat@a, maintenance@a; 2: jobs@a"}

    def test_a_worker_or_an_api_of_an_earlier_version_announces_no_version(self, well: Cell) -> None:
        well.slots(4, "jobs@old/1")
        assert found(well) == {"versions_differ": "1: api@a, beat@a, jobs@a, maintenance@a; earlier: jobs@old"}
        well.store.announce("jobs@old/1", 0, [], leaving=True)
        well.store.announce_api("0123456789abcdef", 10_000)
        assert "earlier: 0123456789abcdef" in found(well)["versions_differ"]

    def test_who_begins_or_ends_is_never_taken_for_one_of_an_earlier_version(self, well: Cell) -> None:
        """Looked at all the while: what a process is and that it is there are read at one moment, and it leaves both at once."""
        stop, shown = threading.Event(), set[str]()

        def watch() -> None:
            while not stop.is_set():
                shown.update(found(well))

        looking = threading.Thread(target=watch)
        looking.start()
        for number in range(100):
            api = f"api@b/{number}"
            presence.announce(well.store, api, About("api", "1"))
            well.store.announce_api(api, 10_000)
            presence.leave(well.store, api)
        stop.set()
        looking.join()
        assert "versions_differ" not in shown

    def test_an_api_that_was_announced_as_it_left_is_taken_back(self, well: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api_processes, "ANNOUNCE_SECONDS", 0.0)
        running = [True]
        processes = Processes(well.store, "api@b/1")
        watched = processes.announce

        def announce() -> None:
            presence.leave(well.store, "api@b/1")
            watched()
            running.clear()

        processes.announce = announce  # type: ignore[method-assign]
        processes.keep_announced(lambda: bool(running))
        assert found(well) == {}

    def test_settings_are_named_and_compared_where_they_act(self, well: Cell) -> None:
        say(well, "jobs@a/1", "jobs", settings={"lease_seconds": "aa", "ui": "bb"})
        for kind in ("api", "beat", "maintenance"):
            say(well, f"{kind}@a/1", kind, settings={"lease_seconds": "aa"})
        assert found(well) == {}, "what the API alone acts on may differ elsewhere"
        say(well, "jobs@a/1", "jobs")
        assert found(well) == {"settings_differ": "PIPELINE_LEASE_SECONDS (default: jobs@a; aa: api@a, beat@a, maintenance@a)"}


def test_what_a_process_finds_is_told_once(well: Cell) -> None:
    for name in ("api@a/1", "api@a/2", "jobs@a/1"):
        say(well, name, name.partition("@")[0], findings={"artifacts_unwritable": "no room", "of a newer version": "x"})
    assert found(well) == {"artifacts_unwritable": "no room (api@a, jobs@a)"}
    assert found(well, {"artifacts_unwritable": "here"}) == {"artifacts_unwritable": "here"}


def test_a_process_that_does_not_start_is_named_and_not_lost(well: Cell) -> None:
    Watch(well.store, well.settings, lambda: None, kind="jobs", node="jobs@b").refuse("PIPELINE_ARTIFACTS_URL cannot be used")
    assert found(well) == {"process_refused": "jobs@b (jobs): PIPELINE_ARTIFACTS_URL cannot be used"}
    (name,) = [one.name for one in presence.processes(well.store) if one.about.refused]
    say(well, name, "jobs", last=-100, refused="x")
    assert found(well) == {}


class TestStore:
    @pytest.fixture
    def configured(self, well: Cell) -> Iterator[Cell]:
        yield well
        well.store.client.config_set("maxmemory", "0")
        well.store.client.config_set("maxmemory-policy", "noeviction")

    def test_one_that_could_lose_jobs(self, configured: Cell) -> None:
        configured.store.client.config_set("maxmemory-policy", "allkeys-lru")
        assert set(found(configured)) == {"store_unsafe"}

    @pytest.mark.parametrize(("used", "name"), [(0.8, "store_memory_high"), (0.95, "store_memory_full")])
    def test_one_whose_memory_is_full(self, configured: Cell, used: float, name: str) -> None:
        memory = configured.store.info("memory")["used_memory"]
        configured.store.client.config_set("maxmemory", str(int(memory / used)))
        assert set(found(configured)) == {name}

    def test_one_without_a_limit_of_memory_is_advice(self, well: Cell) -> None:
        seen = look(well.store, well.settings, {})
        assert [one.name for one in seen.found] == ["store_memory_unbounded"]

    def test_one_that_is_away_is_named_and_so_is_what_this_process_knows(self, cell: Settings) -> None:
        away = make_cell(cell.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
        assert set(found(away, {"store_disk_full": "no room"})) == {"store_away", "store_disk_full"}
        away.cell.close()


class TestWatch:
    @pytest.fixture
    def watch(self, jobs: Cell) -> Iterator[Watch]:
        made = Watch(jobs.store, jobs.settings, lambda: None, kind="api", node="api@a")
        yield made
        made.leave()

    def test_says_what_the_process_is(self, jobs: Cell, watch: Watch) -> None:
        watch.announce()
        (one,) = presence.processes(jobs.store)
        assert (one.node, one.about.kind, one.about.version) == ("api@a", "api", build())
        assert re.fullmatch(r"[0-9.]+\+[0-9a-f]{8}", build())
        assert abs(one.about.skew_ms or 0) < 2000
        assert "artifacts_url" in one.about.settings
        assert "data_dir" not in one.about.settings
        assert all(re.fullmatch("[0-9a-f]{8}", text) for text in one.about.settings.values())

    def test_announces_itself_until_it_leaves(self, jobs: Cell, watch: Watch) -> None:
        watch.start()
        until(lambda: presence.processes(jobs.store), "the announcement")
        watch.leave()
        assert presence.processes(jobs.store) == []
        watch.announce()
        assert presence.processes(jobs.store) == [], "an announcement that was on its way is taken back"

    def test_finds_an_artifact_store_that_takes_no_files(self, jobs: Cell, watch: Watch) -> None:
        root = jobs.settings.data_dir / "artifacts"
        assert "artifacts_unwritable" not in watch.look_once()
        assert list(root.rglob("*")) == [], "it leaves nothing behind"
        root.rmdir()
        root.write_text("not a folder")
        assert "artifacts_unwritable" in watch.look_once()
        root.unlink()
        assert "artifacts_unwritable" not in watch.look_once()

    def test_one_process_of_the_installation_writes_to_it_until_it_is_gone(self, jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        writers: list[str] = []
        watches = [Watch(jobs.store, jobs.settings, lambda: None, kind="jobs", node=node) for node in ("a@a", "b@a")]
        for watch in watches:
            watch.announce()
            fault = watch._artifacts.fault
            monkeypatch.setattr(watch._artifacts, "fault", lambda fault=fault, name=watch.name: writers.append(name) or fault())
        for _ in range(2):
            for watch in watches:
                watch.try_all()
        assert writers == [watches[0].name] * 2
        # What needs no write each finds for itself: a folder may be wrong on one machine.
        root = jobs.settings.data_dir / "artifacts"
        root.rmdir()
        root.write_text("not a folder")
        watches[1].try_all()
        assert "artifacts_unwritable" in watches[1].findings()
        root.unlink()
        watches[0].leave()
        watches[1].try_all()
        assert writers[2:] == [watches[1].name], "one that has left writes no more"
        assert 0 < jobs.store.client.pttl(jobs.store.keys("artifacts_tried_by")) <= 30_000, "nor one that is lost"
        assert "artifacts_unwritable" not in watches[1].findings()

    def test_an_artifact_store_that_hangs_does_not_make_the_process_lost(
        self, jobs: Cell, watch: Watch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        goes_on = threading.Event()
        monkeypatch.setattr(watch, "_try_artifacts", lambda writes: goes_on.wait(60) and "")
        monkeypatch.setattr(watching, "HANGS_SECONDS", 0.0)
        watch.start()
        until(lambda: [one for one in presence.processes(jobs.store) if "artifacts_unwritable" in one.about.findings], "its word")
        goes_on.set()

    def test_finds_that_a_package_is_missing(self, jobs: Cell) -> None:
        wrong = jobs.settings.model_copy(update={"artifacts_url": "nope://x"})
        found = Watch(jobs.store, wrong, lambda: None, kind="api", node="api@a").look_once()
        assert "PIPELINE_ARTIFACTS_URL cannot be used" in found["artifacts_unwritable"]

    def test_finds_a_broker_that_is_away(self, jobs: Cell) -> None:
        other = jobs.settings.model_copy(update={"broker_url_setting": "amqp://127.0.0.1:1//"})
        watch = Watch(jobs.store, other, lambda: "the broker cannot be reached", kind="api", node="api@a")
        assert watch.look_once()["broker_away"] == "the broker cannot be reached"

    def test_finds_disks_that_are_nearly_full(self, jobs: Cell) -> None:
        full = jobs.settings.model_copy(update={"disk_reserve_bytes": 10**18})
        watch = Watch(jobs.store, full, lambda: None, kind="api", node="api@a")
        assert {"files_disk_full", "store_disk_full"} <= watch.findings().keys()

    def test_a_store_that_is_away_keeps_the_disk_that_it_was_on(self, jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server whose disk is full ends: then it can be asked no more, and its disk is what is wrong."""
        watch = Watch(jobs.store, jobs.settings, lambda: None, kind="api", node="api@a")
        watch.findings()
        monkeypatch.setattr(jobs.store, "client", None)
        watch._settings = jobs.settings.model_copy(update={"disk_reserve_bytes": 10**18})
        assert "store_disk_full" in watch.findings()


def test_the_metric_has_each_condition_with_its_severity(well: Cell) -> None:
    well.store.announce("jobs@a/1", 0, [], leaving=True)
    (family,) = text_string_to_metric_families(conditions.exposition(look(well.store, well.settings, {})))
    values = {sample.labels["condition"]: (sample.labels["severity"], sample.value) for sample in family.samples}
    assert values.keys() == CONDITIONS.keys()
    assert {name for name, (_, value) in values.items() if value} == {"workers_away", "store_memory_unbounded"}
    assert values["workers_away"] == ("error", 1)


def test_every_condition_is_described() -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \| (?:error|warning|advice) \|", page, re.MULTILINE)) == CONDITIONS.keys()
