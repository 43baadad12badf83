"""`celery -A celery_app jobs list|cancel|retry|batch ...`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from click.testing import CliRunner, Result

from pipeline_jobs import cell as cells
from pipeline_jobs import cli, logs
from pipeline_jobs.access import audit
from pipeline_jobs.cli import console
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs import bulk_ended, listing
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.pipelines import Pipeline, Wait
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import TEMPLATE, Cell

Run = Callable[..., Result]


@pytest.fixture
def said() -> list[str]:
    """Jobs that Flower was told of as revoked."""
    return []


@pytest.fixture
def run(jobs: Cell, said: list[str]) -> Run:
    cell = cells.Cell.of(jobs.settings, template=TEMPLATE, say=lambda moved: said.append(moved.job_id), pipelines=jobs.cell.pipelines)
    app = SimpleNamespace(cell=cell)
    return lambda *arguments: CliRunner().invoke(cli.jobs, arguments, obj=SimpleNamespace(app=app))


def test_a_list_takes_the_filters_of_the_api(jobs: Cell, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jobs.submit(tenant_id="acme", tags=("x",))
    jobs.submit(tenant_id="acme")
    done = run("list", "--tenant", "acme", "--tag", "x", "--json")
    assert [one["job_id"] for one in json.loads(done.output)] == [job.job_id]
    # What no page holds in one go is read on.
    monkeypatch.setattr(listing, "BUDGET", 1)
    others = [jobs.submit(tenant_id="acme", workspace_id="w2", tags=("x",)).job_id for _ in range(3)]
    mixed = run("list", "--tenant", "acme", "--tag", "x", "--pipeline", "sleep", "--workspace", "main", "--json")
    assert [one["job_id"] for one in json.loads(mixed.output)] == [job.job_id]
    newest = run("list", "--tenant", "acme", "--tag", "x", "--limit", "2", "--json")
    assert [one["job_id"] for one in json.loads(newest.output)] == others[:0:-1]


def test_cancel_by_filter_says_how_many_and_is_in_the_audit_log(jobs: Cell, run: Run) -> None:
    ids = [jobs.submit(tenant_id="acme", tags=("x",)).job_id for _ in range(3)]
    assert run("cancel", "--tenant", "acme", "--tag", "x", "--dry-run").output == "3 matched: 3 would be cancelled, 0 would be stopped.\n"
    # Nobody can be asked here.
    asked = run("cancel", "--tenant", "acme", "--tag", "x")
    assert (asked.exit_code, asked.output.count("\n")) == (1, 1)
    assert asked.output.startswith("Error: 3 jobs will be cancelled and 0 stopped. Nobody can be asked here")
    assert {jobs.client.get(job_id).status for job_id in ids} == {JobStatus.QUEUED}
    assert run("cancel", "--tenant", "acme", "--tag", "x", "--yes").output == "3 matched: 3 cancelled, 0 stopped.\n"
    assert {jobs.client.get(job_id).status for job_id in ids} == {JobStatus.CANCELLED}
    row = audit.page(jobs.store).items[0]
    assert (row.action, row.target, row.detail) == ("jobs.cancelled", "acme", {"matched": 3, "tenant_id": "acme", "tag": "x"})


def test_cancel_of_one_job(jobs: Cell, run: Run, said: list[str]) -> None:
    job = jobs.submit()
    assert run("cancel", job.job_id).output == f"{job.job_id} is cancelled.\n"
    running = jobs.running()
    assert run("cancel", running.job_id).output == f"{running.job_id} is being stopped.\n"
    assert run("cancel", job.job_id, "--dry-run").output == run("cancel", job.job_id).output, "it has ended: nothing more to cancel"
    rows = audit.page(jobs.store).items
    assert [(row.action, row.target, row.actor.partition(":")[0]) for row in rows] == [
        ("job.cancelled", running.job_id, "cli"), ("job.cancelled", job.job_id, "cli"),
    ]  # fmt: skip
    # The worker of the running one tells of its end itself.
    assert said == [job.job_id]
    for wrong in (("cancel",), ("cancel", job.job_id, "--tenant", "x")):
        assert "either a JOB_ID or filters" in run(*wrong).output


def test_retry_prints_the_new_job(jobs: Cell, run: Run) -> None:
    job = jobs.submit()
    assert "has not ended" in run("retry", job.job_id).output
    jobs.client.cancel(job.job_id)
    made = run("retry", job.job_id, "--from-stage", "answer").stdout.strip()
    assert jobs.client.get(made).retry_of == job.job_id
    (row,) = audit.page(jobs.store).items
    assert (row.action, row.target, row.detail) == ("job.retried", job.job_id, {"tenant_id": job.tenant_id, "job_id": made})
    assert jobs.store.client.xlen(jobs.store.keys("tenant_audit", "work", job.tenant_id)) == 1


def test_a_dry_run_of_one_job_changes_nothing(jobs: Cell, run: Run) -> None:
    ended, waiting = jobs.client.cancel(jobs.submit().job_id), jobs.submit()
    before = jobs.client.list(JobQuery()).items
    for command, job_id in (("retry", ended.job_id), ("delete", ended.job_id), ("cancel", waiting.job_id)):
        assert job_id in run(command, job_id, "--dry-run").stdout
        assert jobs.client.list(JobQuery()).items == before
    assert list(audit.page(jobs.store).items) == []


def test_a_filter_without_a_value_is_refused(jobs: Cell, run: Run) -> None:
    """As a script gives it whose variable is not set: it must not mean all jobs."""
    jobs.client.cancel(jobs.submit().job_id)
    jobs.submit()
    before = jobs.client.list(JobQuery()).items
    for command in (("retry", "--yes"), ("delete", "--yes"), ("cancel", "--yes"), ("list",)):
        for option in ("--tenant", "--workspace", "--pipeline", "--tag", "--batch"):
            refused = run(*command, option, "")
            assert (refused.exit_code, f"{option} must not be empty" in refused.output) == (2, True), (command, option)
    assert jobs.client.list(JobQuery()).items == before


def test_signal_wakes_a_job(jobs: Cell, run: Run) -> None:
    jobs.client.registry.register(Pipeline("asks", (Wait("approval"),), needs_url=False))
    job = jobs.running(pipeline="asks")
    jobs.store.park(job.job_id, job.fence, "approval", None, "fail", "?")
    assert "does not wait for a signal 'go'" in run("signal", job.job_id, "go").output
    assert "not JSON" in run("signal", job.job_id, "approval", "{").output
    shown = json.loads(run("signal", job.job_id, "approval", '{"approved": true}').stdout)
    assert (shown["signal"], shown["payload"]) == ("approval", {"approved": True})
    assert shown["by"].startswith("cli:")
    assert jobs.client.get(job.job_id).signals["approval"]["by"] == shown["by"]
    (row,) = audit.page(jobs.store).items
    assert (row.action, row.target, row.detail) == ("job.signalled", job.job_id, {"tenant_id": job.tenant_id, "signal": "approval"})


def test_many_are_retried_when_one_has_said_so(jobs: Cell, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = [jobs.running(tenant_id="acme") for _ in range(3)]
    for one in failed:
        jobs.store.finish(one.job_id, one.fence, JobStatus.FAILED, error="x")
    jobs.submit(tenant_id="acme")
    assert run("retry", "--tenant", "acme", "--dry-run").stdout == "3 matched and would be retried.\n"
    refused = run("retry", "--tenant", "acme")
    assert (refused.exit_code, "Nobody can be asked here: give --yes" in refused.output) == (1, True)
    monkeypatch.setattr(console, "_can_answer", lambda: True)
    # At a terminal it asks; the end of the input is a no.
    asked = run("retry", "--tenant", "acme")
    assert (asked.exit_code, "3 jobs will be retried. Go on? [y/N]" in asked.stderr, asked.stdout) == (1, True, "")
    for _ in range(2):
        assert run("retry", "--tenant", "acme", "--yes").stdout == "3 matched: 3 retried, 0 not.\n"
        made = [job.retry_of for job in jobs.client.list(JobQuery(limit=100)).items if job.retry_of]
        assert sorted(made) == sorted(one.job_id for one in failed)
    assert "for one job" in run("retry", "--tenant", "acme", "--from-stage", "answer").output


def test_a_count_has_an_end_and_says_so(jobs: Cell, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        jobs.client.cancel(jobs.submit(tenant_id="acme").job_id)
    monkeypatch.setattr(bulk_ended, "MOST", 2)
    monkeypatch.setattr(bulk_ended, "MOST_COUNTED", 4)
    assert run("delete", "--tenant", "acme", "--dry-run").stdout.startswith("At least 4 matched and would be deleted. There may be more: ")
    assert json.loads(run("delete", "--tenant", "acme", "--dry-run", "--json").stdout) == {"matched": 4, "more": True, "dry_run": True}
    assert "At least 4 jobs will be deleted. There may be more: " in run("delete", "--tenant", "acme").output
    assert run("delete", "--tenant", "acme", "--yes").stdout == "5 matched: 5 deleted, 0 not.\n"
    assert json.loads(run("delete", "--tenant", "acme", "--dry-run", "--json").stdout) == {"matched": 0, "more": False, "dry_run": True}


def test_what_could_not_be_done_is_told_and_is_no_success(jobs: Cell, run: Run) -> None:
    failed = [jobs.running(tenant_id="acme") for _ in range(2)]
    for one in failed:
        jobs.store.finish(one.job_id, one.fence, JobStatus.FAILED, error="x")
    jobs.store.client.hset(jobs.store.keys("job", failed[0].job_id), "pipeline", "gone")
    done = run("retry", "--tenant", "acme", "--yes")
    assert done.exit_code == 1
    assert "2 matched: 1 retried, 1 not." in done.stdout
    assert failed[0].job_id in done.stdout
    for one in [jobs.running(tenant_id="full") for _ in range(2)]:
        jobs.store.finish(one.job_id, one.fence, JobStatus.FAILED, error="x")
    jobs.client.set_limits("full", TenantLimits(max_queued=1), actor="test")
    stopped = run("retry", "--tenant", "full", "--yes")
    assert (stopped.exit_code, stopped.stderr.startswith("1 retried before this:\nError: ")) == (1, True)


def test_delete_of_one_and_of_many(jobs: Cell, run: Run) -> None:
    ids = [jobs.client.cancel(jobs.submit(tenant_id="acme").job_id).job_id for _ in range(3)]
    kept = jobs.submit(tenant_id="acme").job_id
    assert run("delete", ids[0], "--dry-run").stdout == f"{ids[0]} would be deleted.\n"
    assert run("delete", ids[0]).stdout == f"{ids[0]} is deleted.\n"
    assert "has not ended" in run("delete", kept).output
    assert run("delete", "--tenant", "acme", "--yes").stdout == "2 matched: 2 deleted, 0 not.\n"
    assert [job.job_id for job in jobs.client.list(JobQuery()).items] == [kept]
    assert [(row.action, row.target) for row in audit.page(jobs.store).items] == [("jobs.deleted", "acme"), ("job.deleted", ids[0])]
    for wrong in (("delete",), ("retry",), ("delete", kept, "--tenant", "x")):
        assert "either a JOB_ID or filters" in run(*wrong).output


def test_the_audit_log_as_json_lines_is_whole(jobs: Cell, run: Run) -> None:
    for number in range(60):
        audit.record(jobs.store, "cli:me@here", "schedule.run", str(number), {"cron": "é"}, tenant_id=f"t{number % 3}")
    lines = run("audit", "--jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [row.to_dict() for row in audit.page(jobs.store, limit=100).items]
    assert (len(lines), len(run("audit").stdout.splitlines()), len(json.loads(run("audit", "--limit", "2", "--json").stdout))) == (
        60,
        26,
        2,
    )


def test_workflows(jobs: Cell, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "graph.json"

    def submit(body: object) -> Result:
        file.write_text(json.dumps(body))
        return run("workflow", "submit", str(file))

    nodes = [{"name": "b", "pipeline": "sleep", "depends_on": ["a"]}, {"name": "a", "pipeline": "sleep"}]
    workflow_id = submit({"tenant_id": "acme", "jobs": nodes}).stdout.strip()
    listed = run("workflow", "list", "--tenant", "acme").output.splitlines()
    assert listed[1].split() == [workflow_id, "queued", "acme", "main", "2", "2", "0", "0", "0", "0"]
    assert json.loads(run("workflow", "list", "--json").output)[0]["workflow"] is True
    shown = json.loads(run("workflow", "show", workflow_id).output)
    assert [(job["name"], job["depends_on"]) for job in shown["jobs"]] == [("a", []), ("b", ["a"])]
    assert "n0 --> n1" in run("workflow", "show", workflow_id, "--mermaid").output
    assert json.loads(run("workflow", "cancel", workflow_id, "--dry-run", "--json").output) == {
        "matched": 2, "cancelled": 2, "stopping": 0, "dry_run": True,
    }  # fmt: skip
    assert run("workflow", "cancel", workflow_id, "--yes").output == "2 matched: 2 cancelled, 0 stopped.\n"
    again = run("workflow", "retry", workflow_id).stdout.strip()
    assert json.loads(run("workflow", "show", again).output)["retry_of"] == workflow_id
    for wrong, said in (
        ([], "a workflow is a JSON object"), ({"jobs": [1]}, "a workflow is a JSON object"), ({"jobs": nodes, "x": 1}, "unknown field 'x'"),
        ({"jobs": [{"name": "a", "depends_on": 5}]}, "depends_on must be a list of names"),
        ({"jobs": nodes, "metadata": 1}, "metadata must be an object"),
        ({"jobs": [{"name": "a", "depends_on": "ab"}]}, "depends_on must be a list of names"),
        ({"jobs": nodes[:1]}, "jobs.0.depends_on.0: b: there is no job a in this workflow"), ({"jobs": [{"name": "a", "x": 1}]}, "'x'"),
    ):  # fmt: skip
        refused = submit(wrong)
        assert refused.exit_code != 0
        assert said in refused.output
    file.write_text("{")
    assert "this is not JSON" in run("workflow", "submit", str(file)).output


def test_batches(jobs: Cell, run: Run) -> None:
    made = Batches(jobs.client).create(NewBatch([NewJob(pipeline="sleep")] * 2, "acme"))
    batch_id = made.batch.batch_id
    listed = run("batch", "list", "--tenant", "acme").output.splitlines()
    assert listed[1].split() == [batch_id, "queued", "acme", "main", "2", "2", "0", "0", "0", "0"]
    assert json.loads(run("batch", "list", "--json").output)[0]["batch_id"] == batch_id
    # What is said where nobody can be asked can be done.
    assert "--dry-run" in run("batch", "cancel", batch_id).output
    assert run("batch", "cancel", batch_id, "--dry-run").output == "2 matched: 2 would be cancelled, 0 would be stopped.\n"
    assert run("batch", "cancel", batch_id, "--yes").output == "2 matched: 2 cancelled, 0 stopped.\n"
    assert json.loads(run("batch", "show", batch_id).output)["status"] == "cancelled"
    assert run("batch", "cancel", batch_id, "--yes").output == "0 matched: 0 cancelled, 0 stopped.\n"
    (row,) = audit.page(jobs.store).items
    assert (row.action, row.target, row.detail) == ("batch.cancelled", batch_id, {"tenant_id": "acme", "matched": 2})
    unknown = run("batch", "show", "batch_1_00000000")
    assert (unknown.exit_code, "There is no batch" in unknown.output) == (1, True)


def test_the_log_of_a_command_goes_to_standard_error_and_not_into_its_answer(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another test of this process may have made it a process of ours alone.
    monkeypatch.setattr(logs._handler, "own", None)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logs.configure()
    assert run("list").exit_code == 0
    structlog.get_logger("pipeline_jobs.a").warning("the store has no limit of memory")
    said = capsys.readouterr()
    assert ("no limit" in said.err, said.out) == (True, "")


def test_the_history_is_shown_listed_and_moved(jobs: Cell, tmp_path: Path) -> None:
    cell = jobs.with_settings(history_url=f"sqlite:///{tmp_path / 'history.db'}").cell

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli.jobs, arguments, obj=SimpleNamespace(app=SimpleNamespace(cell=cell)))

    job = cell.client.cancel(cell.client.submit(NewJob(pipeline="sleep", tenant_id="acme")).job_id)
    assert run("history", "status").output.splitlines()[1].split() == ["1", "0", "s", "0", "0"]
    assert run("history", "move").output == "1 jobs were moved.\n"
    assert run("history", "status").output.splitlines()[1].split() == ["0", "0", "s", "1", "0"]
    cell.store.client.zadd(cell.store.keys("ended"), {job.job_id: 1})
    assert cell.store.purge() == 1
    assert json.loads(run("history", "show", job.job_id).output)["job_id"] == job.job_id
    assert [one["job_id"] for one in json.loads(run("history", "list", "--tenant", "acme", "--json").output)] == [job.job_id]
    assert run("history", "list", "--tenant", "other", "--json").output == "[]\n"
    assert run("history", "show", "job_1_00000000").exit_code == 1
    # What only the history has is deleted as any other.
    assert run("delete", job.job_id, "--dry-run").output == f"{job.job_id} would be deleted.\n"
    assert run("history", "show", job.job_id).exit_code == 0
    assert run("delete", job.job_id).output == f"{job.job_id} is deleted.\n"
    assert run("history", "show", job.job_id).exit_code == 1
    assert [(row.action, row.target) for row in audit.page_of(cell.store, "acme").items] == [("job.deleted", job.job_id)]
    assert run("delete", job.job_id).exit_code == 1
    cell.close()


def test_without_a_history_the_command_says_what_to_set(run: Run) -> None:
    assert "PIPELINE_HISTORY_URL" in run("history", "status").output


def test_the_events_of_a_job_are_printed_in_order(jobs: Cell, run: Run) -> None:
    jobs.slots(1)
    job = jobs.submit(tenant_id="acme")
    started = jobs.start(job.job_id)
    jobs.store.finish(job.job_id, started.fence, JobStatus.FAILED, error="no audio", error_detail={"code": "source_not_found"})
    told = [one["type"] for one in json.loads(run("events", job.job_id, "--json").output)]
    assert (told[0], told[-1]) == ("job.created", "job.failed")
    lines = run("events", job.job_id).output.splitlines()
    assert [line.split()[1] for line in lines[1:]] == told
    assert run("events", "job_1_00000000").exit_code == 1


def test_a_list_is_narrowed_by_the_code_of_an_error_and_by_a_text(jobs: Cell, run: Run) -> None:
    jobs.slots(1)
    job = jobs.submit(tenant_id="acme", metadata={"title": "The Harbor"})
    started = jobs.start(job.job_id)
    jobs.store.finish(job.job_id, started.fence, JobStatus.FAILED, error="no audio", error_detail={"code": "source_not_found"})
    jobs.submit(tenant_id="acme")
    for options in (("--error", "source_not_found"), ("--find", "harbor"), ("--find", "NO AUDIO")):
        assert [one["job_id"] for one in json.loads(run("list", *options, "--json").output)] == [job.job_id], options
    assert json.loads(run("list", "--error", "no_such", "--json").output) == []


def test_the_log_of_a_job_that_said_nothing_says_so_beside_the_answer(jobs: Cell, run: Run) -> None:
    done = run("logs", jobs.submit().job_id)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "Its stages have said nothing." in done.stderr
