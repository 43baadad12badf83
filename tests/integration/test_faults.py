"""What is wrong with the worker's machine fails no job; what is wrong with a job is not blamed on the machine."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from pipeline_jobs import disk
from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import (
    ConfigurationError,
    MachineFault,
    MediaDamaged,
    PublishError,
    SourceNotFound,
    StoreUnavailable,
    UnknownJob,
)
from pipeline_jobs.files.artifacts import ArtifactStore, check_root
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import Job
from pipeline_jobs.jobs import executor, faults, patience, stage_runs
from pipeline_jobs.jobs.executor import Ending, Executor, Outcome
from pipeline_jobs.jobs.run import Run
from pipeline_jobs.jobs.workdir import Workdir
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store
from pipeline_jobs.worker import start
from tests.integration.conftest import Cell
from tests.integration.recount import differences
from tests.integration.test_executor import Bench, publish
from tests.servers import Server
from tests.waiting import until

Stage = Callable[[JobContext], Mapping[str, Any] | None]


@pytest.fixture
def bench(jobs: Cell, tmp_path: Path) -> Bench:
    return Bench(jobs, tmp_path)


@pytest.fixture
def unwritable(jobs: Cell, tmp_path: Path) -> Bench:
    """A worker whose working folder cannot be made: a file is in its place."""
    (tmp_path / "file").touch()
    return Bench(jobs.with_settings(work_dir_setting=str(tmp_path / "file" / "work")), tmp_path)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A disk with one byte less than the reserve; called, room again."""
    monkeypatch.setattr(disk, "free", lambda path: disk.reserve(path) - 1)
    return lambda: monkeypatch.setattr(disk, "free", lambda path: 2 * disk.reserve(path))


def failing(error: Exception) -> Stage:
    def fail(context: JobContext) -> None:
        raise error

    return fail


def failing_call(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("a bug of ours")


def waits_uncounted(bench: Bench, job: Job, outcome: Outcome) -> None:
    assert (outcome.ending, job.status, job.reason) == (Ending.REQUEUED, JobStatus.QUEUED, "retry"), job.error
    published = [name for name in bench.published() if "/upload-" not in name]
    assert (job.crashes, job.handbacks, job.attempt, job.error, published) == (0, 0, 1, None, [])
    assert differences(bench.cell.store) == []


def again(bench: Bench, job: Job) -> Job:
    """The same job on a machine that is well, when its time has come."""
    bench.cell.store.client.zadd(bench.cell.store.keys("delayed"), {job.job_id: 1})
    bench.cell.slots(5)
    Executor(bench.cell.store, bench.registry, bench.cell.settings, bench.artifacts).run(job.job_id, job.fence + 1, "w2")
    return bench.cell.client.get(job.job_id)


# -- the store


def test_a_claim_whose_answer_was_lost_is_asked_again_and_the_job_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, calls = bench.cell.store.claim, []

    def flaky(*args: Any, **kwargs: Any) -> Any:
        calls.append(claim(*args, **kwargs))
        if len(calls) < 3:
            raise StoreUnavailable
        return calls[-1]

    monkeypatch.setattr(bench.cell.store, "claim", flaky)
    job, outcome = bench.run(lambda context: None)
    assert (outcome.ending, job.status, job.attempt, len(calls)) == (Ending.COMPLETED, JobStatus.COMPLETED, 1, 3)


@pytest.mark.parametrize("call", ["claim", "finish"])
def test_a_run_whose_store_stays_away_gives_up_and_ends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(patience, "FINISH_PATIENCE", 0)
    monkeypatch.setattr(bench.cell.store, call, away)
    job, outcome = bench.run(lambda context: None)
    assert (outcome.ending, job.ended) == (Ending.GAVE_UP, False)


def test_a_stage_that_cannot_reach_the_store_is_not_to_blame(bench: Bench) -> None:
    job, outcome = bench.run(publish, failing(StoreUnavailable("the store cannot be reached")))
    waits_uncounted(bench, job, outcome)


def test_a_stage_that_says_that_the_machine_cannot_run_it_is_not_to_blame(bench: Bench) -> None:
    def stage(context: JobContext) -> None:
        raise MachineFault("the speech model cannot be downloaded now")

    job, outcome = bench.run(publish, stage)
    waits_uncounted(bench, job, outcome)
    assert outcome.error == "the speech model cannot be downloaded now"


@pytest.mark.parametrize(
    "error", [redis.ResponseError("ERR internal error"), OSError(5, "Input/output error"), RuntimeError("a bug of ours")]
)
def test_a_claim_that_fails_in_any_way_fails_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    claim = bench.cell.store.claim

    def broken(*args: Any, **kwargs: Any) -> None:
        claim(*args, **kwargs)
        raise error

    monkeypatch.setattr(bench.cell.store, "claim", broken)
    job, outcome = bench.run(publish)
    waits_uncounted(bench, job, outcome)
    monkeypatch.setattr(bench.cell.store, "claim", claim)
    assert again(bench, job).status is JobStatus.COMPLETED


def test_a_claim_that_failed_before_it_was_one_leaves_the_job_to_its_next_hint(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.cell.store, "claim", failing_call)
    job, outcome = bench.run(publish)
    assert (outcome.ending, job.status, job.reason) == (Ending.FENCED, JobStatus.QUEUED, "dispatched")


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (Run, "hand_over"),
        (Run, "__exit__"),
        (Workdir, "__enter__"),
        (Workdir, "__exit__"),
        (executor, "Judge"),
        (executor, "context_of"),
    ],
)
def test_an_error_around_the_stages_fails_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch, of: Any, name: str) -> None:
    """Whatever the harness stumbles over: the working folder, the watch, the judge."""
    real = getattr(of, name)

    def stumbles(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        failing_call()

    with monkeypatch.context() as patch:
        patch.setattr(of, name, stumbles)
        job, outcome = bench.run(publish)
    assert (outcome.ending, job.status, job.reason) == (Ending.REQUEUED, JobStatus.QUEUED, "retry"), job.error
    assert (job.crashes, job.handbacks, job.attempt, job.error) == (0, 0, 1, None)
    assert again(bench, job).status is JobStatus.COMPLETED


@pytest.mark.parametrize("error", [KeyError("an error of an fsspec back end"), RuntimeError("another")])
def test_outputs_that_cannot_be_kept_or_read_for_any_reason_cost_time_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def write(context: JobContext) -> Mapping[str, Any]:
        (context.workdir / "a").write_bytes(bytes(100))
        return {"n": 1}

    def broken(*args: Any) -> None:
        raise error

    monkeypatch.setattr(bench.artifacts, "exists", broken)
    monkeypatch.setattr(bench.artifacts, "open", broken)
    ran: list[int] = []

    def flaky(context: JobContext) -> Mapping[str, Any]:
        ran.append(context.data["n"])
        if len(ran) == 1:
            raise StoreUnavailable
        return {"n": 2}

    job, _ = bench.run(write, flaky)
    assert again(bench, job).status is JobStatus.COMPLETED
    assert ran == [1, 1]


SURROGATE = "a \ud800 b"


@pytest.mark.parametrize(
    ("stage", "status", "code"),
    [
        (lambda context: {"n": SURROGATE}, JobStatus.FAILED, "invalid_input"),
        (lambda context: failing(ValueError(SURROGATE))(context), JobStatus.FAILED, "internal_error"),
        (lambda context: failing(MediaDamaged(SURROGATE))(context), JobStatus.FAILED, "media_damaged"),
        (lambda context: context.progress(0.5, SURROGATE), JobStatus.COMPLETED, None),
        (lambda context: (context.workdir / os.fsdecode(b"a\xff")).touch(), JobStatus.COMPLETED, None),
    ],
)
def test_text_of_a_stage_that_is_no_unicode_is_the_stages_own(bench: Bench, stage: Stage, status: JobStatus, code: str | None) -> None:
    job, _ = bench.run(stage, lambda context: None)
    assert (job.status, (job.error_detail or {"code": None})["code"]) == (status, code)


def test_a_server_that_is_busy_with_somebodys_script_is_away(jobs: Cell, tmp_path: Path) -> None:
    own = Server(tmp_path / "own", busy_reply_threshold="1").start()
    store = jobs.with_settings(redis_url=own.url).store
    with own.client() as endless, own.client() as client, ThreadPoolExecutor(1) as thread:
        script = thread.submit(endless.eval, "while true do end", 0)

        def said() -> str | None:
            try:
                store.get("job_1_00000000")
            except StoreUnavailable as error:
                return str(error)
            except UnknownJob:
                pass
            return None

        try:
            until(lambda: said() == "the store cannot write now", "the server to say that it is busy")
        finally:
            client.execute_command("SCRIPT", "KILL")
        with pytest.raises(redis.ResponseError, match="killed"):
            script.result()
    own.stop()


# -- the disk


@pytest.mark.parametrize("error", [MediaDamaged(), PermissionError(13, "no"), MemoryError(), OSError(28, "full")])
def test_on_a_full_disk_no_error_counts_and_the_job_completes_when_there_is_room(
    bench: Bench, full_disk: Callable[[], None], error: Exception
) -> None:
    fails = [error]

    def stage(context: JobContext) -> Mapping[str, Any]:
        if fails:
            raise fails.pop()
        return {"n": 1}

    job, outcome = bench.run(stage, publish)
    waits_uncounted(bench, job, outcome)
    full_disk()
    assert again(bench, job).status is JobStatus.COMPLETED


@pytest.mark.parametrize("stage", [lambda context: (context.workdir / "a").touch(), failing(MediaDamaged())])
def test_a_working_folder_that_cannot_be_written_fails_no_job(unwritable: Bench, stage: Stage) -> None:
    job, outcome = unwritable.run(stage)
    waits_uncounted(unwritable, job, outcome)
    assert "working folder" in (outcome.error or "")


@pytest.mark.parametrize(
    ("error", "code"),
    [(PermissionError(1, "no"), "internal_error"), (MemoryError(), "out_of_memory"), (OSError(28, "full"), "internal_error")],
)
def test_an_errno_decides_nothing_while_the_machine_is_well(bench: Bench, error: Exception, code: str) -> None:
    job, _ = bench.run(failing(error))
    assert (job.status, (job.error_detail or {})["code"]) == (JobStatus.FAILED, code)
    assert not list(bench.cell.settings.work_dir.rglob(".probe"))


def test_what_another_machine_said_counts_on_a_full_disk_too(bench: Bench, full_disk: Callable[[], None]) -> None:
    job, _ = bench.run(failing(SourceNotFound()))
    assert (job.error_detail or {})["code"] == "source_not_found"


def test_a_run_that_goes_on_writing_below_the_reserve_is_stopped_and_handed_back(bench: Bench, full_disk: Callable[[], None]) -> None:
    def write(context: JobContext) -> None:
        (context.workdir / "a").write_bytes(bytes(1 << 16))
        until_stopped(context)

    job, outcome = bench.run(write)
    waits_uncounted(bench, job, outcome)


def test_each_further_fault_waits_twice_as_long_up_to_five_minutes(bench: Bench) -> None:
    store = bench.cell.store
    run, waits = bench.cell.running(), []
    for _ in range(11):
        # Sent twice: counted once.
        assert store.requeue(run.job_id, run.fence, "fault") is JobStatus.QUEUED
        assert store.requeue(run.job_id, run.fence, "fault") is None
        due = store.client.zscore(store.keys("delayed"), run.job_id)
        requeued_at = int(store.client.lrange(store.keys("events", run.job_id), -1, -1)[0].split(",")[1])
        waits.append((due - requeued_at) / 1000)
        store.client.zadd(store.keys("delayed"), {run.job_id: 1})
        store.rescue()
        run = bench.cell.start(run.job_id)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert (run.crashes, run.handbacks, run.attempt) == (0, 0, 1)
    store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={})
    assert store.client.hget(store.keys("job", run.job_id), "faults") is None


# -- uploads


@pytest.mark.parametrize("away", ["record", "lines"])
def test_an_upload_whose_record_cannot_be_read_now_fails_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch, away: str) -> None:
    upload = uploaded(bench)
    real = getattr(Store, away)

    def fails(store: Store, key: str, *parts: str) -> Any:
        if key.startswith("upload"):
            raise StoreUnavailable
        return real(store, key, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(Store, away, fails)
        job, outcome = bench.run(reading(upload))
    waits_uncounted(bench, job, outcome)
    assert again(bench, job).status is JobStatus.COMPLETED


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), OSError(24, "Too many open files"), KeyError("of an fsspec back end")])
def test_an_upload_whose_bytes_cannot_be_read_now_fails_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    upload = uploaded(bench)
    with monkeypatch.context() as patch:
        patch.setattr(bench.artifacts._fs, "open", lambda *args: failing(error)(None))  # type: ignore[arg-type]
        job, outcome = bench.run(reading(upload))
    waits_uncounted(bench, job, outcome)
    assert again(bench, job).status is JobStatus.COMPLETED


def uploaded(bench: Bench) -> str:
    uploads = Uploads(bench.cell.store, bench.cell.settings, bench.artifacts)
    upload = uploads.create("acme", "main", 5)
    return uploads.write(upload, 0, BytesIO(b"bytes").read).upload_id


def reading(upload_id: str) -> Stage:
    def read(context: JobContext) -> Mapping[str, Any]:
        size, parts = context.open_upload(upload_id)
        assert (size, b"".join(parts)) == (5, b"bytes")
        return {}

    return read


# -- files


def test_a_process_that_earlier_runs_left_without_files_fails_no_job(bench: Bench) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def fail(context: JobContext) -> None:
        # Ten numbers are free below the limit, whichever of them the tests before have left.
        taken = {int(name) for name in os.listdir("/proc/self/fd")}
        limit = next(islice((number for number in count() if number not in taken), 10, None))
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        raise MediaDamaged

    try:
        job, outcome = bench.run(fail)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    waits_uncounted(bench, job, outcome)
    assert "files cannot be opened" in (outcome.error or "")


def test_a_run_that_opens_too_many_files_itself_has_failed(bench: Bench) -> None:
    start._load_for_children(bench.cell.cell)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # More than half of them are its own, however many tests before left open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * len(os.listdir("/proc/self/fd")) + 200, hard))
    kept: list[Any] = []

    def leak(context: JobContext) -> None:
        while True:
            kept.append((context.workdir / "a").open("ab"))

    try:
        job, _ = bench.run(leak)
    finally:
        for file in kept:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (job.status, (job.error_detail or {})["code"]) == (JobStatus.FAILED, "internal_error")


# -- threads and processes


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From `full` on no thread can be started in a run; called, they can again."""
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def turn(*, off: bool = False) -> None:
        monkeypatch.setattr(threading.Thread, "start", start if off else refuse)

    return turn


def test_a_machine_that_can_start_no_thread_is_at_fault(bench: Bench, no_threads: Callable[..., None]) -> None:
    def stage(context: JobContext) -> None:
        no_threads()
        context.popen(["true"])

    job, outcome = bench.run(stage)
    no_threads(off=True)
    waits_uncounted(bench, job, outcome)
    assert outcome.error == "no thread can be started: can't start new thread"


def test_a_run_that_starts_too_many_threads_itself_has_failed(bench: Bench, no_threads: Callable[..., None]) -> None:
    ends = threading.Event()
    many = [threading.Thread(target=ends.wait) for _ in range(faults.MOST_STARTED)]

    def stage(context: JobContext) -> None:
        for thread in many:
            thread.start()
        no_threads()
        threading.Thread(target=ends.wait).start()

    try:
        job, _ = bench.run(stage)
    finally:
        no_threads(off=True)
        ends.set()
        for thread in many:
            thread.join()
    assert (job.status, (job.error_detail or {})["code"]) == (JobStatus.FAILED, "internal_error")


# -- the working folder's size


def until_stopped(context: JobContext) -> None:
    while True:
        context.check_cancelled()
        threading.Event().wait(0.01)


def fill(context: JobContext) -> None:
    (context.workdir / "sub").mkdir()
    (context.workdir / "sub" / "a").write_bytes(bytes(1 << 16))


@pytest.mark.parametrize("then", [until_stopped, failing(MediaDamaged()), failing(OSError(28, "full"))])
def test_a_run_whose_folder_grows_beyond_its_limit_fails_itself(jobs: Cell, tmp_path: Path, then: Stage) -> None:
    bench = Bench(jobs.with_settings(work_bytes=1 << 15), tmp_path)
    job, outcome = bench.run(publish, lambda context: fill(context) or then(context))
    assert (outcome.ending, job.status) == (Ending.FAILED, JobStatus.FAILED)
    assert job.error_detail == {"code": "work_too_large", "message": job.error, "stage": "s1", "retryable": False}
    assert "32768 bytes" in (job.error or "")
    assert (bench.published(), list(bench.cell.settings.work_dir.iterdir())) == ([], [])


def test_a_folder_is_as_large_as_what_it_takes_on_the_disk(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "link").symlink_to("/")
    assert faults.size(tmp_path) < 1 << 16
    assert faults.size(tmp_path / "nothing") == 0


# -- the artifact store


def test_an_artifact_store_that_cannot_be_opened_fails_no_job(bench: Bench) -> None:
    def missing() -> str:
        raise ImportError("Install s3fs to access S3")

    artifacts = ArtifactStore((bench.folder / "artifacts").as_uri(), "http://x", missing)
    bench.executor = Executor(bench.cell.store, bench.registry, bench.cell.settings, artifacts)
    job, outcome = bench.run(lambda context: None)
    waits_uncounted(bench, job, outcome)
    assert "s3fs" in (outcome.error or "")
    assert again(bench, job).status is JobStatus.COMPLETED


def test_an_artifact_store_that_stays_away_fails_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_runs, "STORE_PATIENCE", 0.0)
    (bench.folder / "artifacts").write_text("a file where a folder should be")
    tries: list[JobContext] = []

    def publish_once(context: JobContext) -> Any:
        tries.append(context)
        assert len(tries) <= 2, "it waits no longer, and is run again below"
        return publish(context)

    job, outcome = bench.run(publish_once)
    waits_uncounted(bench, job, outcome)
    (bench.folder / "artifacts").unlink()
    assert again(bench, job).status is JobStatus.COMPLETED


def test_publishing_what_is_not_there_is_the_jobs_own_error(bench: Bench) -> None:
    job, _ = bench.run(lambda context: {"link": context.publish(context.workdir / "nothing", "a")})
    assert (job.error_detail or {})["code"] == PublishError.code
    assert not list((bench.folder / "artifacts").rglob("_probe"))


@pytest.mark.parametrize("url", ["s4://bucket/x", "{folder}/file/below", "file://{folder}/file"])
def test_a_worker_with_a_wrong_artifact_url_does_not_start(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").touch()
    settings = SimpleNamespace(artifacts_root=url.format(folder=tmp_path))
    with pytest.raises(ConfigurationError):
        check_root(settings.artifacts_root)
    with pytest.raises(SystemExit, match="does not start: PIPELINE_ARTIFACTS_URL cannot be used"):
        start._refuse_wrong_artifacts(SimpleNamespace(settings=settings))  # type: ignore[arg-type]


def test_a_right_one_is_made(tmp_path: Path) -> None:
    check_root((tmp_path / "a" / "b c").as_uri())
    assert (tmp_path / "a" / "b c").is_dir()
