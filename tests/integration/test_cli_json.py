"""What each command prints with `--json` is JSON: a document, or lines of it where it follows something."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline_jobs import cell as cells
from pipeline_jobs import cli
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.batches import NewBatch
from pipeline_jobs.pipelines import Pipeline, Wait
from pipeline_jobs.schedules.scheduler import NewSchedule
from pipeline_jobs.states import JobStatus
from tests.integration.conftest import TEMPLATE, Cell
from tests.integration.test_job_logs import Bench, count_to
from tests.unit.test_places_agree import COMMANDS

Print = Callable[..., Any]

#: They need more than a cell; what they print is read in `test_backup.py` and in `tests/acceptance/test_signals.py`.
ELSEWHERE = {"backup", "restore", "drain"}
#: They print a line of JSON for each thing that they follow.
LINES = {"logs", "watch"}
GRAPH = {"tenant_id": "acme", "jobs": [{"name": "a", "pipeline": "sleep"}]}


@pytest.fixture
def own(jobs: Cell, tmp_path: Path) -> Iterator[cells.Cell]:
    settings = jobs.settings.model_copy(update={"history_url": f"sqlite:///{tmp_path / 'history.db'}"})
    made = cells.Cell.of(settings, template=TEMPLATE, pipelines=jobs.cell.pipelines)
    yield made
    made.close()


@pytest.fixture
def given() -> set[str]:
    """The commands that were given."""
    return set()


@pytest.fixture
def answer(own: cells.Cell, given: set[str]) -> Print:
    """What a command prints, parsed."""

    def run(path: str, *words: str, code: int = 0) -> Any:
        context = SimpleNamespace(app=SimpleNamespace(cell=own))
        done = CliRunner().invoke(cli.jobs, [*path.split(), *words, "--json"], obj=context)
        assert done.exit_code == code, (path, done.output)
        given.add(path)
        return [json.loads(line) for line in done.stdout.splitlines()] if path in LINES else json.loads(done.stdout)

    return run


def of_jobs(answer: Print, jobs: Cell) -> None:
    job_id = answer("submit", "--pipeline", "sleep", "--tenant", "acme")["job_id"]
    assert answer("show", job_id)["job_id"] == job_id
    assert answer("explain", job_id)["status"] == "queued"
    assert [one["job_id"] for one in answer("list", "--tenant", "acme")] == [job_id]
    assert answer("events", job_id)[0]["type"] == "job.created"
    assert answer("cancel", "--tenant", "acme", "--dry-run")["cancelled"] == 1
    assert answer("cancel", job_id)["status"] == "cancelled"
    assert answer("cancel", "--tenant", "acme", "--yes")["matched"] == 0
    assert [one["status"] for one in answer("watch", job_id, code=1)] == ["cancelled"]
    assert answer("retry", job_id, "--dry-run") == {"retry_of": job_id, "dry_run": True}
    again = answer("retry", job_id)["job_id"]
    assert jobs.client.get(again).retry_of == job_id
    assert answer("retry", "--tenant", "acme", "--status", "cancelled", "--dry-run")["matched"] == 1
    assert answer("retry", "--tenant", "acme", "--status", "failed", "--yes") == {
        "matched": 0, "retried": 0, "not_done": [], "dry_run": False,
    }  # fmt: skip
    assert answer("delete", job_id, "--dry-run")["deleted"] is False
    assert answer("delete", job_id) == {"job_id": job_id, "deleted": True, "dry_run": False}
    assert answer("delete", "--tenant", "acme", "--yes")["deleted"] == 0
    jobs.client.registry.register(Pipeline("asks", (Wait("approval"),), needs_url=False))
    waits = jobs.running(pipeline="asks")
    jobs.store.park(waits.job_id, waits.fence, "approval", None, "fail", "?")
    assert answer("signal", waits.job_id, "approval", "true")["payload"] is True


def of_logs(answer: Print, jobs: Cell, folder: Path) -> None:
    job_id = Bench(jobs, folder).ran(count_to(2))
    assert [line["message"] for line in answer("logs", job_id)] == ["line 1", "line 2"]


def of_groups(answer: Print, own: cells.Cell, folder: Path) -> None:
    batch_id = own.batches.create(NewBatch([NewJob(pipeline="sleep")] * 2, "acme")).batch.batch_id
    assert answer("batch list")[0]["batch_id"] == batch_id
    assert answer("batch show", batch_id)["batch_id"] == batch_id
    assert answer("batch cancel", batch_id, "--yes")["matched"] == 2
    file = folder / "graph.json"
    file.write_text(json.dumps(GRAPH), "utf-8")
    workflow_id = answer("workflow submit", str(file))["batch_id"]
    assert [one["batch_id"] for one in answer("workflow list")] == [workflow_id]
    assert len(answer("workflow show", workflow_id)["jobs"]) == 1
    assert answer("workflow cancel", workflow_id, "--yes")["cancelled"] == 1
    assert answer("workflow retry", workflow_id)["batch_id"] != workflow_id
    schedule_id = own.schedules.create(NewSchedule("0 * * * *", NewJob(pipeline="sleep", tenant_id="acme"))).schedule.schedule_id
    assert [one["schedule_id"] for one in answer("schedules list")] == [schedule_id]
    assert answer("schedules pause", schedule_id)["paused"] is True
    assert answer("schedules resume", schedule_id)["paused"] is False
    assert answer("schedules run", schedule_id)["tenant_id"] == "acme"


def of_access_and_webhooks(answer: Print, own: cells.Cell, jobs: Cell) -> None:
    key = answer("key create", "--tenant", "acme", "--role", "read")
    assert key["key"].split("_")[1] == key["key_id"]
    assert [one["key_id"] for one in answer("key list")] == [key["key_id"]]
    assert answer("key revoke", key["key_id"]) == {"key_id": key["key_id"], "revoked": True}
    assert answer("audit")[0]["action"] == "key.revoked"
    own.webhooks.endpoints.create("hooked", "https://hooks.example/x")
    job = jobs.running(tenant_id="hooked")
    jobs.store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={})
    delivery_id = answer("deliveries", "--tenant", "hooked")[0]["delivery_id"]
    assert answer("redeliver", delivery_id)["delivery_id"] == delivery_id


def of_the_installation(answer: Print, jobs: Cell) -> None:
    jobs.slots(1, "jobs@a/1")
    assert answer("limits", "acme", "--weight", "2")["weight"] == 2
    assert answer("pipeline", "sleep", "--max-concurrent", "3")["max_concurrent"] == 3
    assert answer("doctor", code=1)["status"] == "error"
    assert "jobs@a/1" in {one["name"] for one in answer("workers")}
    assert answer("top")["workers"][0]["worker"] == "jobs@a/1"
    assert answer("config")["drift"] == {}


def of_the_history(answer: Print, own: cells.Cell) -> None:
    job_id = own.client.cancel(own.client.submit(NewJob(pipeline="sleep", tenant_id="old")).job_id).job_id
    before = answer("history status")["waiting"]
    assert answer("history move") == {"moved": before}
    assert answer("history show", job_id)["job_id"] == job_id
    assert [one["job_id"] for one in answer("history list", "--tenant", "old")] == [job_id]


def test_each_command_prints_json(answer: Print, own: cells.Cell, jobs: Cell, given: set[str], tmp_path: Path) -> None:
    of_jobs(answer, jobs)
    of_logs(answer, jobs, tmp_path)
    of_groups(answer, own, tmp_path)
    of_access_and_webhooks(answer, own, jobs)
    of_the_installation(answer, jobs)
    of_the_history(answer, own)
    assert given == COMMANDS.keys() - ELSEWHERE
