"""`celery -A celery_app jobs doctor|workers|explain|top|limits|watch|config`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from pipeline_jobs import cell as cells
from pipeline_jobs import cli
from pipeline_jobs.access import audit
from pipeline_jobs.operation.effective import masked
from pipeline_jobs.operation.waits import FREES, REASONS
from pipeline_jobs.operation.watch import build
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus, Reason
from pipeline_jobs.store import presence
from pipeline_jobs.store.presence import About
from tests.integration.conftest import TEMPLATE, Cell, make_cell
from tests.integration.test_conditions import say
from tests.waiting import until

Run = Callable[..., Result]


def runner(jobs: Cell) -> Run:
    cell = cells.Cell.of(jobs.settings, template=TEMPLATE, pipelines=jobs.cell.pipelines)
    return lambda *arguments: CliRunner().invoke(cli.jobs, arguments, obj=SimpleNamespace(app=SimpleNamespace(cell=cell)))


@pytest.fixture
def run(jobs: Cell) -> Run:
    return runner(jobs)


class TestDoctor:
    def test_with_nothing_wrong_it_exits_with_0(self, jobs: Cell, run: Run) -> None:
        jobs.slots(1, "jobs@a/1")
        say(jobs, "jobs@a/1", "jobs")
        jobs.store.beat("rescue")
        done = run("doctor")
        assert done.exit_code == 0, done.output
        assert "Nothing is wrong; 1 processes announced." in done.output
        assert "ADVICE   store_memory_unbounded: The server has no memory limit" in done.output

    def test_it_says_what_is_wrong_and_what_to_do_and_exits_with_1(self, jobs: Cell, run: Run) -> None:
        done = run("doctor")
        assert done.exit_code == 1
        assert "ERROR    workers_away: No worker takes jobs." in done.output
        assert "To do: Start one, mend the machines" in done.output
        assert "3 things are wrong" in done.output
        found = json.loads(run("doctor", "--json").output)
        assert found["status"] == "error"
        assert {"workers_away", "beat_away", "maintenance_away"} <= {one["condition"] for one in found["conditions"]}

    def test_with_the_store_away_it_says_so(self, cell: Settings) -> None:
        away = make_cell(cell.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
        done = runner(away)("doctor")
        assert done.exit_code == 1
        assert "ERROR    store_away: The store cannot be reached." in done.output

    def test_other_commands_say_where_they_looked_for_it_and_no_password(self, cell: Settings) -> None:
        away = make_cell(cell.model_copy(update={"redis_url": "redis://:s3cret@127.0.0.1:1/0"}))
        done = runner(away)("list")
        assert (done.exit_code, "s3cret" in done.output) == (1, False)
        assert "the store cannot be reached: is it running at redis://:" in done.output
        assert "@127.0.0.1:1/0? PIPELINE_REDIS_URL names another address." in done.output

    def test_a_wrong_artifact_url_is_found_by_the_command_itself(self, jobs: Cell) -> None:
        found = runner(jobs.with_settings(artifacts_url="nope://x"))("doctor", "--json").output
        detail = next(one["detail"] for one in json.loads(found)["conditions"] if one["condition"] == "artifacts_unwritable")
        assert detail == "PIPELINE_ARTIFACTS_URL cannot be used (ValueError): Protocol not known: nope"


def test_workers_says_who_runs_what_since_when(jobs: Cell, run: Run) -> None:
    for name in ("jobs@a/1", "jobs@b/1"):
        say(jobs, name, "jobs", version="1.2")
    say(jobs, "api@a/1", "api", version="1.2")
    say(jobs, "jobs@gone/1", "jobs", last=-30)
    jobs.slots(2, "jobs@a/1")
    jobs.slots(2, "jobs@b/1")
    jobs.slots(1, "jobs@old/1")
    job = jobs.start(jobs.submit(tenant_id="acme").job_id, worker="jobs@a/1")
    jobs.slots(0, "jobs@b/1")
    rows = {row["name"]: row for row in json.loads(run("workers", "--json").output)}
    assert [run_["job_id"] for run_ in rows["jobs@a/1"]["jobs"]] == [job.job_id]
    assert rows["jobs@a/1"]["jobs"][0]["since"].endswith("Z")
    assert {name: row["state"] for name, row in rows.items()} == {
        "api@a/1": "live", "jobs@a/1": "live", "jobs@b/1": "drained", "jobs@gone/1": "lost", "jobs@old/1": "live",
    }  # fmt: skip
    assert (rows["jobs@old/1"]["version"], rows["jobs@old/1"]["since"]) == ("earlier", None)
    table = run("workers").output
    assert job.job_id in table
    assert "drained" in table


def test_explain_tells_of_each_status(jobs: Cell, run: Run) -> None:
    waiting = jobs.submit()
    said = run("explain", waiting.job_id).output
    assert said.startswith(f"{waiting.job_id} is queued. {REASONS['no_worker']}")
    assert f"It is freed by {FREES['no_worker']}. jobs doctor says more." in said
    assert json.loads(run("explain", waiting.job_id, "--json").output)["freed_by"] == FREES["no_worker"]
    depends = jobs.submit(depends_on=(waiting.job_id,))
    assert f"It waits for {waiting.job_id}." in run("explain", depends.job_id).output
    jobs.slots(1)
    jobs.start(waiting.job_id)
    assert f"{waiting.job_id} is running. w1 runs it since " in run("explain", waiting.job_id).output
    # What an error says acts on no terminal: this would set its title.
    error, fence = "it \x1b]0;broke\x07", jobs.client.get(waiting.job_id).fence
    jobs.store.finish(waiting.job_id, fence, JobStatus.FAILED, error=error, error_detail={"code": "stage_failed"})
    assert run("explain", waiting.job_id).output == f"{waiting.job_id} is failed. it \\x1b]0;broke\\x07 (code stage_failed)\n"
    assert "\x1b" not in run("watch", waiting.job_id).output
    failed = json.loads(run("explain", waiting.job_id, "--json").output)
    assert (failed["status"], failed["freed_by"]) == ("failed", None)
    assert run("explain", jobs.client.cancel(jobs.submit().job_id).job_id).output.endswith(" is cancelled. Somebody cancelled it.\n")
    assert run("explain", "job_1_00000000").exit_code == 1
    # Its name of before.
    assert run("why", waiting.job_id).output == run("explain", waiting.job_id).output
    assert "\n  why " not in run("--help").output


def test_every_reason_has_what_frees_it() -> None:
    assert set(REASONS) == set(FREES) == set(Reason)


def test_top_shows_who_has_the_slots_and_why_the_others_wait(jobs: Cell, run: Run) -> None:
    jobs.slots(1, "jobs@a/1")
    running = jobs.start(jobs.submit(tenant_id="acme").job_id, worker="jobs@a/1")
    waiting = jobs.submit(tenant_id="other")
    seen = json.loads(run("top", "--json").output)
    assert (seen["slots"], seen["running"], seen["queued"]) == (1, 1, 1)
    assert seen["workers"] == [{"worker": "jobs@a/1", "slots": 1, "running": 1}]
    assert seen["reasons"] == {"fair_share": 1}
    tenants = {one["tenant_id"]: one for one in seen["tenants"]}
    assert (tenants["acme"]["running"], tenants["acme"]["next"]) == (1, None)
    assert tenants["other"]["next"]["job_id"] == waiting.job_id
    # Where there is no terminal it looks once.
    said = run("top").output
    assert said.startswith("1 of 1 slots busy, 1 queued, the oldest waits ")
    assert [word for word in ("jobs@a", REASONS["fair_share"], FREES["fair_share"], waiting.job_id) if word not in said] == []
    jobs.store.finish(running.job_id, running.fence, JobStatus.COMPLETED, result={})
    jobs.client.cancel(waiting.job_id)
    assert run("top", "--once").output.startswith("0 of 1 slots busy, 0 queued, nothing waits\n")


def test_limits_are_shown_and_set_one_by_one(jobs: Cell, run: Run) -> None:
    assert json.loads(run("limits", "acme").output)["weight"] is None
    run("limits", "acme", "--weight", "2", "--max-concurrent", "3")
    now = json.loads(run("limits", "acme", "--paused", "--unset", "weight").output)
    assert (now["weight"], now["max_concurrent"], now["paused"]) == (None, 3, True)
    assert jobs.client.limits("acme").max_concurrent == 3
    assert json.loads(run("limits", "acme", "--resumed").output)["paused"] is False
    row = audit.page(jobs.store).items[0]
    assert (row.action, row.target, row.actor.partition(":")[0]) == ("limits.changed", "acme", "cli")
    assert run("limits", "acme", "--weight", "0").output == "Error: weight must be 0.001..1000\n"
    assert "were given" in run("limits", "acme", "--weight", "1", "--unset", "weight").output


def test_watch_follows_a_job_to_its_end(jobs: Cell, run: Run) -> None:
    job = jobs.running()
    ended: list[Result] = []
    following = threading.Thread(target=lambda: ended.append(run("watch", job.job_id)))
    following.start()
    until(lambda: jobs.store.client.execute_command("PUBSUB", "NUMSUB", f"celery-task-meta-{job.job_id}")[1], "the command to follow it")
    jobs.store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={})
    following.join(60)
    (done,) = ended
    assert done.exit_code == 0
    first, *_, last = done.output.splitlines()
    assert ("running" in first, "completed" in last) == (True, True)
    failed = jobs.submit()
    jobs.client.cancel(failed.job_id)
    done = run("watch", failed.job_id, "--json")
    assert (done.exit_code, json.loads(done.output)["status"]) == (1, "cancelled")


class TestConfig:
    def test_says_where_each_setting_is_from_and_no_secret(self, jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIPELINE_SECRET_KEY", "a-secret-of-the-test")
        other = jobs.with_settings(secret_key="a-secret-of-the-test", broker_url_setting="amqp://me:hidden@mq:5672//")
        jobs.store.set_max_concurrent_jobs(7)
        done = runner(other)("config", "--json")
        rows = {row["variable"]: (row["value"], row["source"]) for row in json.loads(done.output)["settings"]}
        assert rows["PIPELINE_SECRET_KEY"] == ("***", "environment")
        assert rows["PIPELINE_FLOWER_PASSWORD"] == ("", "default")
        assert rows["CELERY_BROKER_URL"][0] == "amqp://me:***@mq:5672//"
        assert rows["PIPELINE_LEASE_SECONDS"] == ("60.0", "default")
        assert rows["PIPELINE_MAX_CONCURRENT_JOBS"] == ("7", "store")
        assert "a-secret-of-the-test" not in done.output + runner(other)("config").output

    @pytest.mark.parametrize(("text", "shown"), [
        ("redis://:hidden@host:1/0", "redis://:***@host:1/0"), ("s3://bucket/x?token=hidden", "s3://bucket/x?***"),
        ("5,300", "5,300"), ("http://[", "http://["), ("file:///a/b", "file:///a/b"),
    ])  # fmt: skip
    def test_passwords_in_urls_are_masked(self, text: str, shown: str) -> None:
        assert masked(text) == shown

    def test_shows_what_differs_between_processes(self, jobs: Cell, run: Run) -> None:
        from_here = json.loads(run("config", "--json").output)
        assert from_here["drift"] == {}
        presence.announce(jobs.store, "jobs@a/1", About("jobs", build(), {"lease_seconds": "0123abcd"}))
        drift = json.loads(run("config", "--json").output)["drift"]
        assert drift["PIPELINE_LEASE_SECONDS"] == {"default": ["this command"], "0123abcd": ["jobs@a"]}
        assert "PIPELINE_LEASE_SECONDS differs" in run("config").output
