"""Copies of results in Google Drive, on a real store and a stand-in of Drive: one copy of each file whatever happens, and none that nobody
owns."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.cell import Webhooks
from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.files import copies, drive
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.copies import Copier
from pipeline_jobs.files.drive import Drive
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.executor import Ending, Executor
from pipeline_jobs.media import publish
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.pipelines import NoParams, Pipeline, Registry, Stage
from pipeline_jobs.states import JobStatus
from pipeline_jobs.tenants import TenantLimits
from tests.google_drive import TOKEN, GoogleDrive
from tests.integration.conftest import Cell
from tests.integration.recount import differences
from tests.receiver import Receiver
from tests.waiting import until

FILM = b"film" * 1000
DATA = {"output": "video.mp4", "transcript": "Hello.", "summary": "Hello.", "segments": []}
NAMES = ("video.mp4", "transcript.txt", "captions.vtt", "segments.json")


class Killed(BaseException):
    """The process is no more."""


def film(context: JobContext) -> Mapping[str, Any]:
    (context.workdir / "video.mp4").write_bytes(FILM)
    return DATA


class Bench:
    """Runs jobs that publish, through the executor; a sender for the outbox."""

    def __init__(self, cell: Cell, google: GoogleDrive, folder: Path) -> None:
        self.cell, self.google = (
            cell.with_settings(**google.settings(folder), webhook_allow_private=True, webhook_retry_seconds="0,0,0"),
            google,
        )
        self.store, self.drive = self.cell.store, Drive.of(self.cell.settings)
        self.artifacts = ArtifactStore((folder / "artifacts").as_uri(), "http://x", lambda: "k")
        self.copier = Copier(self.store, self.artifacts, self.drive)
        self.webhooks = Webhooks.of(self.store, self.cell.settings, lambda: "the key", copier=self.copier)
        self.pipeline = Pipeline("films", (Stage("film", film), Stage("publish", publish.run)), NoParams, needs_url=False)
        self.executor = Executor(self.store, self.registry(self.pipeline), self.cell.settings, self.artifacts, self.drive)
        self.cell.client.registry.register(self.pipeline)

    @staticmethod
    def registry(pipeline: Pipeline) -> Registry:
        found = Registry()
        found.register(pipeline)
        return found

    def submit(self, tenant_id: str = "acme", **fields: Any) -> Job:
        # Announced anew: a slow test outlives a worker's announcement.
        self.cell.slots(50)
        return self.cell.client.submit(NewJob(pipeline="films", tenant_id=tenant_id, **fields))

    def run(self, job: Job) -> Job:
        self.executor.run(job.job_id, self.cell.client.get(job.job_id).fence, "w1")
        return self.cell.client.get(job.job_id)

    def done(self, tenant_id: str = "acme", **fields: Any) -> Job:
        return self.run(self.submit(tenant_id, **fields))

    def rows(self, job: Job) -> list[tuple[str, str | None, str]]:
        return [(row.status, row.error, row.origin) for row in self.webhooks.ledger.of_subject(job.job_id)]

    def send(self, job: Job, status: str = "delivered") -> None:
        self.webhooks.sender.run_once()
        until(lambda: {row[0] for row in self.rows(job)} == {status}, f"the deliveries to be {status}")

    def bytes(self, tenant_id: str = "acme") -> int:
        return int(self.store.client.hget(self.store.keys("usage", tenant_id), "drive_bytes") or 0)

    def all_of(self, job: Job) -> set[str]:
        return {f"{job.job_id}_{name}" for name in NAMES}

    def erase(self, tenant_id: str = "acme") -> bool:
        return erase_tenant(self.store, self.artifacts, tenant_id, dry_run=False, drive=self.drive).done


@pytest.fixture
def bench(jobs: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(drive, "BACKOFF", 0.0)
    with GoogleDrive() as google:
        made = Bench(jobs, google, tmp_path)
        yield made
        google.go.set()
        made.webhooks.sender.stop(60)
        made.store.close()


def data(job: Job) -> dict[str, Any]:
    assert job.status is JobStatus.COMPLETED, job.error
    found: dict[str, Any] = job.result["data"]
    return found


def test_the_results_of_a_job_are_copied_and_the_film_s_address_is_in_its_result_and_its_record(bench: Bench) -> None:
    job = bench.done()
    copied = bench.google.contents()
    assert set(copied) == bench.all_of(job)
    assert copied[f"{job.job_id}_video.mp4"] == FILM
    link = next(one["webViewLink"] for one in bench.google.files.values() if one["name"] == f"{job.job_id}_video.mp4")
    assert (data(job)["drive_url"], job.drive_url, "warnings" in data(job)) == (link, link, False)
    assert bench.rows(job) == []
    assert bench.bytes() == sum(map(len, copied.values()))
    assert differences(bench.store) == []


def test_copies_outlive_the_record_and_go_with_the_tenant(bench: Bench) -> None:
    job, other = bench.done(), bench.done("other")
    bench.cell.client.delete(job.job_id)
    Purge(bench.store, bench.artifacts, bench.cell.settings).run_once()
    assert set(bench.google.contents()) == bench.all_of(job)
    bench.google.down = 503
    with pytest.raises(StoreUnavailable, match="drive_http_503"):
        bench.erase()
    bench.google.down = None
    assert bench.erase()
    assert bench.google.contents() == {}
    assert set(bench.google.contents("other")) == bench.all_of(other)
    assert bench.bytes() == 0


@pytest.mark.parametrize("record", ["stays", "goes"])
def test_what_drive_does_not_take_now_is_a_warning_and_copied_later(bench: Bench, record: str) -> None:
    bench.google.down = 503
    job = bench.done()
    assert data(job)["drive_url"].startswith("http://x/pipeline/artifacts/acme/main/")
    assert job.drive_url is None
    (warning,) = data(job)["warnings"]
    assert warning.startswith("drive_pending: ")
    assert "drive_http_503" in warning
    assert bench.rows(job) == [("pending", None, "gdrive://copies")]
    if record == "goes":
        bench.store.client.delete(bench.store.keys("job", job.job_id))
    bench.google.down = None
    bench.send(job)
    assert set(bench.google.contents()) == bench.all_of(job)
    if record == "stays":
        later = bench.cell.client.get(job.job_id)
        assert later.drive_url
        assert later.drive_url.startswith("https://drive.google.com/file/d/drawn-")
        assert differences(bench.store) == []


def test_a_copy_that_fails_again_and_again_is_dead_and_can_be_sent_again(bench: Bench) -> None:
    bench.google.down = 403
    job = bench.done()
    bench.send(job, "dead")
    ((_, error, _),) = bench.rows(job)
    assert error == "drive_http_403"
    bench.google.down = None
    (row,) = bench.webhooks.ledger.of_subject(job.job_id)
    bench.webhooks.ledger.redeliver(row.delivery_id)
    bench.send(job)
    assert set(bench.google.contents()) == bench.all_of(job)


def test_a_run_that_was_killed_while_it_copied_leaves_one_file_of_each(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job, put = bench.submit(), Drive.put

    def killed(self: Drive, file_id: str, name: str, *rest: Any) -> str:
        link = put(self, file_id, name, *rest)
        if name == "transcript.txt":
            raise Killed
        return link

    monkeypatch.setattr(Drive, "put", killed)
    with pytest.raises(Killed):
        bench.run(job)
    assert len(bench.google.contents()) == 2
    monkeypatch.setattr(Drive, "put", put)
    bench.cell.let_leases_end()
    bench.store.rescue()
    until(lambda: bench.cell.client.get(job.job_id).reason == "dispatched", "the next run's turn")
    ended = bench.run(job)
    assert set(bench.google.contents()) == bench.all_of(ended)
    assert bench.bytes() == sum(map(len, bench.google.contents().values()))


def test_two_senders_of_the_same_copy_make_one_file_of_each(bench: Bench) -> None:
    bench.google.down = 503
    job = bench.done()
    bench.google.down = None
    (taken,) = bench.webhooks.ledger.take(5, 5, [])
    snapshot = bench.webhooks.ledger.snapshot(taken.event_id)
    threads = [threading.Thread(target=bench.copier.deliver, args=(taken.event_id, snapshot)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(bench.google.contents()) == bench.all_of(job)


def test_the_copies_of_a_job_that_did_not_complete_are_removed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job, put = bench.submit(), Drive.put

    def cancelled(self: Drive, *args: Any) -> str:
        bench.cell.client.cancel(job.job_id)
        return put(self, *args)

    monkeypatch.setattr(Drive, "put", cancelled)
    assert bench.run(job).status is JobStatus.CANCELLED
    assert bench.rows(job) == [("pending", None, "gdrive://copies")]
    bench.send(job)
    assert bench.google.contents() == {}
    assert bench.bytes() == 0


@pytest.mark.parametrize(("limit", "most", "warned"), [(0, 10**9, 0), (100, 10**9, 1), (None, 0, 0), (None, 100, 1), (10**9, 0, None)])
def test_a_tenant_copies_as_much_as_it_may(bench: Bench, limit: int | None, most: int, warned: int | None) -> None:
    bench.executor._settings = bench.cell.settings.model_copy(update={"max_drive_bytes_per_tenant": most})
    bench.executor.parts = (bench.store, bench.registry(bench.pipeline), bench.executor._settings, bench.artifacts)
    bench.cell.client.set_limits("acme", TenantLimits(max_drive_bytes=limit))
    job = bench.done()
    asked = len(bench.google.requests)
    if warned is None:
        assert set(bench.google.contents()) == bench.all_of(job)
        return
    assert [text.partition(":")[0] for text in data(job).get("warnings", [])] == ["drive_full"] * warned
    assert (asked, bench.rows(job), bench.bytes()) == (0, [], 0)


def test_a_tenant_whose_copies_stand_still_holds_nobody_up(bench: Bench) -> None:
    bench.google.down = 503
    greedy = [bench.done("greedy") for _ in range(12)]
    bench.google.down, bench.google.hold = None, True
    bench.webhooks.sender.run_once()
    assert bench.google.uploading.wait(60)
    bench.cell.slots(50)
    with Receiver() as receiver:
        other = bench.cell.client.submit(NewJob(pipeline="sleep", tenant_id="other", webhook={"url": receiver.url()}))
        started = bench.cell.start(other.job_id)
        bench.store.finish(started.job_id, started.fence, JobStatus.COMPLETED, result={})
        bench.webhooks.sender.run_once()
        until(lambda: receiver.hits, "the webhook of the other tenant")
        sending = len({thread.name for thread in threading.enumerate() if thread.name == "webhook-delivery"})
        assert sending <= bench.cell.settings.webhook_host_concurrency
    bench.google.go.set()
    for job in greedy:
        bench.send(job)
    assert len(bench.google.contents("greedy")) == len(greedy) * len(NAMES)


def test_a_tenant_that_is_erased_while_its_results_are_copied_leaves_nothing(bench: Bench) -> None:
    bench.google.down = 503
    job = bench.done()
    bench.google.down, bench.google.hold = None, True
    bench.webhooks.sender.run_once()
    assert bench.google.uploading.wait(60)
    assert bench.erase()
    bench.google.go.set()
    until(lambda: bench.webhooks.sender.run_once() == {"sending": 0}, "the sender to be done")
    assert [name for name in bench.google.contents() if job.job_id in name] == []


def test_a_tenant_that_is_erased_before_the_last_of_its_files_is_copied_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is gone, and the last copy makes it anew."""
    bench.google.down = 503
    job, put = bench.done(), Drive.put
    bench.google.down = None

    def late(self: Drive, file_id: str, name: str, *rest: Any) -> str:
        assert name != NAMES[-1] or bench.erase()
        return put(self, file_id, name, *rest)

    (taken,) = bench.webhooks.ledger.take(5, 5, [])
    snapshot = bench.webhooks.ledger.snapshot(taken.event_id)
    monkeypatch.setattr(Drive, "put", late)
    bench.copier.deliver(taken.event_id, snapshot)
    assert [name for name in bench.google.contents() if job.job_id in name] == []


def test_neither_keys_nor_addresses_of_uploads_are_said(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    assert bench.drive
    key = bench.drive.credentials.read_text().split("\\n")[1]
    bench.google.faults = [403]
    job = bench.done()
    bench.google.down = 500
    bench.send(job, "dead")
    said = capfd.readouterr()
    text = said.out + said.err + str(job.to_dict()) + str(bench.webhooks.ledger.of_subject(job.job_id))
    assert "drive_http_500" in text
    assert [secret for secret in (key, TOKEN, "upload_id", "PRIVATE KEY") if secret in text] == []


def test_an_upload_that_takes_too_long_is_the_outbox_s(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "RUN_SECONDS", -1.0)
    job = bench.done()
    assert "drive_slow" in data(job)["warnings"][0]
    bench.send(job)
    assert set(bench.google.contents()) == bench.all_of(job)


def test_a_run_that_lost_its_job_copies_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.submit()
    original = bench.store.run

    def lost(name: str, **values: Any) -> Any:
        if name == "copy_reserve":
            bench.store.requeue(job.job_id, values["fence"], "handback")
        return original(name, **values)

    monkeypatch.setattr(bench.store, "run", lost)
    outcome = bench.executor.run(job.job_id, job.fence, "w1")
    assert outcome.ending is Ending.FENCED
    assert bench.google.contents() == {}
    assert (bench.bytes(), bench.google.requests) == (0, []), "its tenant is charged nothing, and Drive is not asked"
