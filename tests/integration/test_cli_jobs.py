"""`celery -A celery_app jobs list|cancel|retry|batch ...`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import structlog
from click.testing import CliRunner, Result

from pipeline_jobs import cell as cells
from pipeline_jobs import cli, logs
from pipeline_jobs.access import audit
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs import listing
from pipeline_jobs.jobs.batches import Batches, NewBatch
from pipeline_jobs.states import JobStatus
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
    assert run("cancel", "--tenant", "acme", "--tag", "x").output == "3 matched: 3 cancelled, 0 stopped.\n"
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


def test_batches(jobs: Cell, run: Run) -> None:
    made = Batches(jobs.client).create(NewBatch([NewJob(pipeline="sleep")] * 2, "acme"))
    batch_id = made.batch.batch_id
    listed = run("batch", "list", "--tenant", "acme").output.splitlines()
    assert listed[1].split() == [batch_id, "queued", "acme", "main", "2", "2", "0", "0", "0", "0"]
    assert json.loads(run("batch", "list", "--json").output)[0]["batch_id"] == batch_id
    assert run("batch", "cancel", batch_id).output == "2 matched: 2 cancelled, 0 stopped.\n"
    assert json.loads(run("batch", "show", batch_id).output)["status"] == "cancelled"
    assert run("batch", "cancel", batch_id).output == "0 matched: 0 cancelled, 0 stopped.\n"
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
