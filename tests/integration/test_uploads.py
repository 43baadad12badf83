"""Uploads on a real server: what counts, who writes, what a job may use, and how one goes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.exceptions import (
    ChecksumMismatch,
    InvalidInput,
    PublishError,
    SourceNotFound,
    StorageFull,
    StoreUnavailable,
    TooManyUploads,
    UnknownUpload,
    UploadConflict,
    UploadInUse,
    UploadLocked,
    UploadTooLarge,
)
from pipeline_jobs.files import upload as module
from pipeline_jobs.files import uploads
from pipeline_jobs.files.artifacts import ArtifactStore
from pipeline_jobs.files.upload import Checksum, Interrupted, Upload
from pipeline_jobs.files.uploads import Uploads
from pipeline_jobs.job import NewJob
from pipeline_jobs.operation.erase import erase_tenant
from pipeline_jobs.operation.maintenance import Purge
from pipeline_jobs.schedules.fire import Fire
from pipeline_jobs.schedules.scheduler import NewSchedule, Scheduler
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import pages
from pipeline_jobs.store.runner import Runner
from pipeline_jobs.tenants import TenantLimits
from tests.integration.conftest import Cell

DATA = bytes(range(256)) * 400
MINUTE = 60_000


class Bench:
    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell = cell
        self.folder = folder
        self.artifacts = ArtifactStore(folder.as_uri(), "http://x", lambda: "k")
        self.uploads = Uploads(cell.store, cell.settings, self.artifacts)

    def begin(self, length: int = len(DATA), tenant_id: str = "acme", workspace_id: str = "main") -> Upload:
        return self.uploads.create(tenant_id, workspace_id, length)

    def send(self, upload: Upload, data: bytes, offset: int = 0, checksum: Checksum | None = None) -> Upload:
        return self.uploads.write(upload, offset, io.BytesIO(data).read, checksum)

    def whole(self, **where: str) -> Upload:
        return self.send(self.begin(**where), DATA)  # type: ignore[arg-type]

    def read(self, upload: Upload) -> bytes:
        size, parts = self.uploads.open(upload.tenant_id, upload.workspace_id, upload.upload_id)
        data = b"".join(parts)
        assert len(data) == size
        return data

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def kept(self, tenant_id: str = "acme") -> int:
        return self.cell.store.tenant_bytes(tenant_id)

    def sweep(self) -> int:
        swept = self.uploads.sweep()
        Purge(self.cell.store, self.artifacts, self.cell.settings).run_once()
        return swept

    def let_expire(self) -> None:
        key = self.cell.store.keys("uploads")
        for member in self.cell.store.client.zrange(key, 0, -1):
            self.cell.store.client.zadd(key, {member: 1})


@pytest.fixture
def bench(jobs: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "PART_BYTES", 10_000)
    monkeypatch.setattr(module, "PIECE_BYTES", 1_000)
    return Bench(jobs, tmp_path / "artifacts")


def breaking(data: bytes, error: BaseException) -> Callable[[int], bytes]:
    """What a sender gives that breaks off after these bytes."""
    source = io.BytesIO(data)

    def read(size: int) -> bytes:
        piece = source.read(size)
        if not piece:
            raise error
        return piece

    return read


def test_what_was_sent_is_read_again_byte_for_byte(bench: Bench) -> None:
    upload = bench.send(bench.begin(), DATA)
    assert upload == bench.uploads.get(upload.upload_id)
    assert (upload.offset, upload.completed_at is not None) == (len(DATA), True)
    assert bench.read(upload) == DATA
    assert len(bench.files()) == -(-len(DATA) // 10_000)


def test_pieces_of_any_size_are_taken(bench: Bench) -> None:
    source, upload = io.BytesIO(DATA), bench.begin()
    sizes = itertools.cycle((1, 999, 1_000, 3, 700))
    bench.uploads.write(upload, 0, lambda size: source.read(min(size, next(sizes))), None)
    assert bench.read(upload) == DATA


def test_an_empty_upload_is_complete_at_once(bench: Bench) -> None:
    upload = bench.begin(0)
    assert bench.uploads.get(upload.upload_id).completed_at is not None
    assert bench.read(upload) == b""


def test_an_interrupted_upload_goes_on_where_it_ended_and_nothing_is_doubled(bench: Bench) -> None:
    upload = bench.begin()
    with pytest.raises(Interrupted):
        bench.uploads.write(upload, 0, breaking(DATA[:33_333], Interrupted()))
    at = bench.uploads.get(upload.upload_id).offset
    assert at == 33_333
    with pytest.raises(UploadConflict) as conflict:
        bench.send(upload, DATA)
    assert conflict.value.offset == at
    assert bench.read(bench.send(upload, DATA[at:], at)) == DATA


def test_a_writer_that_dies_between_storing_and_counting_has_changed_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = bench.begin()

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module.UploadWriter, "_advance", die)
        patch.setattr(module.UploadWriter, "_give_up", lambda self: None)
        with pytest.raises(Killed):
            bench.send(upload, DATA)
    assert len(bench.files()) == 1
    assert bench.uploads.get(upload.upload_id).offset == 0
    with pytest.raises(UploadLocked):
        bench.send(upload, DATA)
    bench.cell.store.client.hset(bench.cell.store.keys("upload", upload.upload_id), "lock_until", 1)
    assert bench.read(bench.send(upload, DATA)) == DATA
    bench.uploads.delete(upload.upload_id)
    bench.sweep()
    assert bench.files() == []


def test_two_writers_at_once_are_one_writer_and_one_refusal(bench: Bench) -> None:
    upload = bench.begin()
    first, go_on = threading.Event(), threading.Event()
    source = io.BytesIO(DATA)

    def slow(size: int) -> bytes:
        first.set()
        assert go_on.wait(60)
        return source.read(size)

    thread = threading.Thread(target=bench.uploads.write, args=(upload, 0, slow))
    thread.start()
    assert first.wait(60)
    with pytest.raises(UploadLocked):
        bench.send(upload, b"x" * len(DATA))
    go_on.set()
    thread.join()
    assert bench.read(upload) == DATA


def test_a_writer_that_lost_its_lock_counts_for_nothing(bench: Bench) -> None:
    upload = bench.begin()
    source = io.BytesIO(b"x" * len(DATA))
    stolen: list[Upload] = []

    def read(size: int) -> bytes:
        if not stolen:
            bench.cell.store.client.hset(bench.cell.store.keys("upload", upload.upload_id), "lock_until", 1)
            stolen.append(bench.send(upload, DATA[:50_000]))
        return source.read(size)

    with pytest.raises(UploadLocked):
        bench.uploads.write(upload, 0, read)
    assert bench.read(bench.send(upload, DATA[50_000:], 50_000)) == DATA


def test_an_advance_that_is_sent_twice_counts_once(bench: Bench) -> None:
    upload = bench.begin()
    store = bench.cell.store
    assert store.run("upload_lock_at_offset", id=upload.upload_id, token="t", offset=0, lock_ms=60_000, share=-1).became == "ok"
    assert store.run("upload_lock_at_offset", id=upload.upload_id, token="t", offset=0, lock_ms=60_000, share=-1).became == "ok"
    advance: dict[str, Any] = {"id": upload.upload_id, "token": "t", "before": 0, "lock_ms": 0, "ttl_ms": 1000}
    replies = [store.run("upload_advance", **advance, now=10, parts=["a"]).became for _ in range(2)]
    assert replies == ["ok", "ok"]
    assert store.client.lrange(store.keys("upload_parts", upload.upload_id), 0, -1) == ["a"]


def lost_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch, *, of: int) -> None:
    """The answer to this call of the script that counts is lost, as often as it is sent: the script was done, or another writer had been
    before it is sent again."""
    say, calls = module.UploadWriter._say, itertools.count()

    def lost(writer: module.UploadWriter, parts: list[str], offset: int, lock: float) -> None:
        say(writer, parts, offset, lock)
        if parts and next(calls) == of:
            raise StoreUnavailable

    monkeypatch.setattr(module.UploadWriter, "_say", lost)


@pytest.mark.parametrize("checksum", [None, Checksum("sha256", hashlib.sha256(DATA).digest())])
@pytest.mark.parametrize("of", range(7))
def test_what_counts_is_never_deleted_whichever_answer_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, of: int, checksum: Checksum | None
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", len(DATA) // 4)
    lost_answers(bench, monkeypatch, of=of)
    upload, left = bench.begin(), 3
    while (found := bench.uploads.get(upload.upload_id)).offset < len(DATA):
        assert (left := left - 1)
        # The lock of whoever did not hear that it was given back ends by itself.
        bench.cell.store.client.hset(bench.cell.store.keys("upload", upload.upload_id), "lock_until", "0")
        with contextlib.suppress(StoreUnavailable):
            bench.send(found, DATA[found.offset :], found.offset, None if found.offset else checksum)
    assert bench.read(upload) == DATA


def test_a_writer_that_is_told_that_it_lost_its_lock_deletes_only_what_does_not_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first sending was done and gave the lock back, its answer was lost, and another writer came before the second."""
    upload, sends = bench.begin(2 * len(DATA)), Runner.run

    def twice(store: Any, script: str, /, **arguments: Any) -> Any:
        reply = sends(store, script, **arguments)
        if script == "upload_advance" and arguments["lock_ms"] == 0 and arguments["parts"]:
            monkeypatch.setattr(Runner, "run", sends)
            bench.send(upload, DATA, len(DATA))
            reply = sends(store, script, **arguments)
        return reply

    monkeypatch.setattr(Runner, "run", twice)
    with pytest.raises(UploadLocked):
        bench.send(upload, DATA)
    assert bench.read(upload) == DATA + DATA


def test_a_part_of_which_the_disk_did_not_say_that_it_has_it_is_removed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write = ArtifactStore.write

    def unsure(store: ArtifactStore, *args: Any) -> None:
        write(store, *args)
        raise PublishError

    upload = bench.begin()
    with monkeypatch.context() as patch:
        patch.setattr(ArtifactStore, "write", unsure)
        with pytest.raises(StoreUnavailable):
            bench.send(upload, DATA)
    assert (bench.files(), bench.uploads.get(upload.upload_id).offset) == ([], 0)


def test_more_than_was_promised_is_refused_and_what_was_promised_can_still_come(bench: Bench) -> None:
    upload = bench.begin(100)
    with pytest.raises(UploadTooLarge):
        bench.send(upload, b"x" * 101)
    assert bench.uploads.get(upload.upload_id).offset == 0
    assert bench.send(upload, b"y" * 100).completed_at is not None
    with pytest.raises(UploadTooLarge):
        bench.send(upload, b"z", 100)


@pytest.mark.parametrize("algorithm", module.ALGORITHMS)
def test_a_checksum_lets_all_of_a_request_count_or_nothing(bench: Bench, algorithm: str) -> None:
    upload = bench.begin()
    good, bad = hashlib.new(algorithm, DATA).digest(), hashlib.new(algorithm, b"").digest()
    with pytest.raises(ChecksumMismatch):
        bench.send(upload, DATA, 0, Checksum(algorithm, bad))
    with pytest.raises(Interrupted):
        bench.uploads.write(upload, 0, breaking(DATA[:33_333], Interrupted()), Checksum(algorithm, good))
    assert (bench.uploads.get(upload.upload_id).offset, bench.files()) == (0, [])
    assert bench.read(bench.send(upload, DATA, 0, Checksum(algorithm, good))) == DATA


def test_a_full_artifact_store_is_said_and_the_upload_goes_on_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = bench.begin()

    def full(*_: object) -> None:
        raise PublishError

    with monkeypatch.context() as patch:
        patch.setattr(bench.artifacts, "write", full)
        with pytest.raises(StoreUnavailable):
            bench.send(upload, DATA)
    assert bench.read(bench.send(upload, DATA)) == DATA


@pytest.mark.parametrize(("length", "parts"), [(0, 100), (16_383, 100), (16_384, 101), (2**40, 10_000)])
def test_a_small_upload_has_few_parts_each_of_which_takes_a_block_of_the_disk(length: int, parts: int) -> None:
    assert module.most_parts(length) == parts


def test_tiny_parts_without_end_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PARTS", 3)
    upload = bench.begin()
    for offset in range(3):
        bench.send(upload, b"x", offset)
    with pytest.raises(InvalidInput):
        bench.send(upload, b"x", 3)


def test_a_tenants_storage_counts_what_is_promised_until_it_goes(bench: Bench) -> None:
    bench.cell.client.set_limits("acme", TenantLimits(max_storage_bytes=250))
    first = bench.begin(200)
    with pytest.raises(StorageFull):
        bench.begin(51)
    second = bench.begin(50)
    with pytest.raises(StorageFull):
        bench.cell.submit(tenant_id="acme")
    bench.begin(10**6, tenant_id="other")
    assert bench.kept() == 250
    for upload in (first, second):
        bench.uploads.delete(upload.upload_id)
    assert bench.kept() == 0
    bench.cell.submit(tenant_id="acme")


def test_a_tenant_has_a_bounded_number_of_uploads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 2)
    for _ in range(2):
        bench.begin()
    with pytest.raises(TooManyUploads):
        bench.begin()
    bench.begin(tenant_id="other")


def test_one_larger_than_the_server_takes_is_refused(bench: Bench) -> None:
    with pytest.raises(UploadTooLarge):
        bench.begin(bench.cell.settings.upload_max_bytes + 1)


# -- jobs


@pytest.mark.parametrize("where", [{"tenant_id": "other"}, {"workspace_id": "blog"}, {"tenant_id": "ghost", "workspace_id": "blog"}])
def test_a_foreign_upload_is_an_unknown_one_for_jobs(bench: Bench, where: dict[str, str]) -> None:
    upload = bench.whole()
    texts = set()
    for url in (upload.url, "upload://" + "0" * 24):
        with pytest.raises(InvalidInput) as refused:
            bench.cell.submit(pipeline="film", url=url, **{"tenant_id": "acme", **where})
        assert refused.value.field == "url"
        texts.add(str(refused.value))
    assert len(texts) == 1
    with pytest.raises(SourceNotFound):
        bench.uploads.open(where.get("tenant_id", "acme"), where.get("workspace_id", "main"), upload.upload_id)


def test_an_incomplete_upload_is_refused_for_jobs(bench: Bench) -> None:
    upload = bench.begin()
    bench.send(upload, DATA[:10])
    with pytest.raises(InvalidInput, match="not complete"):
        bench.cell.submit(pipeline="film", url=upload.url, tenant_id="acme")


@pytest.fixture(autouse=True)
def _film(bench: Bench) -> None:
    sleep = bench.cell.client.registry.get("sleep")
    bench.cell.client.registry.register(replace(sleep, name="film", needs_url=True))


def test_an_upload_stays_as_long_as_a_live_job_needs_it_and_then_goes(bench: Bench) -> None:
    upload = bench.whole()
    first, second = (bench.cell.submit(pipeline="film", url=upload.url, tenant_id="acme").job_id for _ in range(2))
    bench.let_expire()
    assert bench.sweep() == 0
    with pytest.raises(UploadInUse):
        bench.uploads.delete(upload.upload_id)
    bench.cell.client.cancel(first)
    bench.cell.slots(1)
    running = bench.cell.start(second)
    bench.let_expire()
    assert bench.sweep() == 0
    assert bench.read(upload) == DATA
    bench.cell.store.finish(second, running.fence, JobStatus.COMPLETED, result={})
    bench.let_expire()
    assert bench.sweep() == 1
    assert (bench.files(), bench.kept()) == ([], 0)
    with pytest.raises(UnknownUpload):
        bench.uploads.get(upload.upload_id)
    assert bench.cell.store.client.keys("*upload*") == []


def test_one_that_is_being_written_is_not_swept(bench: Bench) -> None:
    upload = bench.begin()
    bench.cell.store.run("upload_lock_at_offset", id=upload.upload_id, token="t", offset=0, lock_ms=60_000, share=-1)
    bench.let_expire()
    assert bench.sweep() == 0
    bench.cell.store.run("upload_advance", id=upload.upload_id, token="t", before=0, now=0, lock_ms=0, ttl_ms=1000, parts=[])
    bench.let_expire()
    assert bench.sweep() == 1


def test_one_that_is_removed_while_it_is_written_leaves_no_file(bench: Bench) -> None:
    upload = bench.begin()
    source = io.BytesIO(DATA)

    def read(size: int) -> bytes:
        if source.tell() == 30_000:
            bench.uploads.delete(upload.upload_id)
            bench.sweep()
        return source.read(size)

    with pytest.raises(UnknownUpload):
        bench.uploads.write(upload, 0, read)
    assert bench.files() == []


def test_an_erased_tenants_uploads_are_gone_and_anothers_are_not(bench: Bench) -> None:
    mine, theirs = bench.whole(), bench.whole(tenant_id="other")
    bench.begin()
    bench.cell.submit(pipeline="film", url=mine.url, tenant_id="acme")
    assert erase_tenant(bench.cell.store, bench.artifacts, "acme", dry_run=True).artifact_bytes == 2 * len(DATA)
    assert erase_tenant(bench.cell.store, bench.artifacts, "acme", dry_run=False).done
    bench.sweep()
    assert bench.cell.store.members("tenant_uploads", "acme") == []
    assert bench.kept() == 0
    assert bench.read(theirs) == DATA
    assert all(name.startswith("other/") for name in bench.files())


def test_a_missing_part_is_said_not_skipped(bench: Bench) -> None:
    upload = bench.whole()
    (bench.folder / bench.files()[2]).unlink()
    with pytest.raises(SourceNotFound):
        bench.read(upload)


def listed(bench: Bench, tenant_id: str = "acme", workspace_id: str | None = None, limit: int = 2) -> tuple[list[Upload], int]:
    """All pages, and how many they were."""
    found: list[Upload] = []
    cursor, pages = None, 0
    while True:
        page = bench.uploads.page(tenant_id, workspace_id, cursor=cursor, limit=limit)
        pages += 1
        found += page.items
        if page.next_cursor is None:
            return found, pages
        cursor = page.next_cursor


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_a_list_has_every_upload_of_the_tenant_once_newest_first(bench: Bench, limit: int) -> None:
    # Many in one millisecond.
    made = [bench.begin(n, workspace_id=f"w{n % 2}") for n in range(9)]
    bench.begin(tenant_id="other")
    found, pages = listed(bench, limit=limit)
    assert (found, pages) == (made[::-1], -(-9 // limit))
    assert listed(bench, workspace_id="w1", limit=limit)[0] == made[1::2][::-1]
    assert listed(bench, workspace_id="nobody") == ([], 1)
    assert listed(bench, "ghost") == ([], 1)


def test_a_page_goes_on_behind_the_last_one_whatever_came_and_went_meanwhile(bench: Bench) -> None:
    made = [bench.begin() for _ in range(6)]
    first = bench.uploads.page("acme", limit=2)
    newer = bench.begin()
    for gone in (made[4], made[3]):
        bench.uploads.delete(gone.upload_id)
    second = bench.uploads.page("acme", cursor=first.next_cursor, limit=2)
    assert ([*first.items], [*second.items]) == ([made[5], made[4]], [made[2], made[1]])
    assert listed(bench)[0] == [newer, made[5], *made[2::-1]]
    # Its record went, and not yet its place.
    bench.cell.store.client.delete(bench.cell.store.keys("upload", made[2].upload_id))
    assert listed(bench, limit=100)[0] == [newer, made[5], made[1], made[0]]
    for wrong in ("x", "", "AAAA"):
        with pytest.raises(InvalidInput):
            bench.uploads.page("acme", cursor=wrong)


def test_a_page_of_one_workspace_looks_at_so_many_and_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "BUDGET", 4)
    mine = [bench.begin(workspace_id="w1") for _ in range(2)]
    for _ in range(9):
        bench.begin(workspace_id="w2")
    assert bench.uploads.page("acme", "w1").items == ()
    assert listed(bench, workspace_id="w1") == (mine[::-1], 3)


def fired_by_schedule(bench: Bench, url: str) -> str:
    """Its slot was due. :return: the job's id."""
    scheduler = Scheduler(bench.cell.client)
    schedule = scheduler.create(NewSchedule("* * * * *", NewJob(pipeline="film", tenant_id="acme", url=url))).schedule
    slot = schedule.next_run_at or 0
    store = bench.cell.store
    store.client.hset(store.keys("schedule", schedule.schedule_id), "next_run_at", slot - MINUTE)
    store.client.zadd(store.keys("schedules_due"), {schedule.schedule_id: slot - MINUTE})
    assert Fire(scheduler).run_once()["fired"] == 1
    return str(scheduler.get(schedule.schedule_id).last_job_id)


def run_by_hand(bench: Bench, url: str) -> str:
    scheduler = Scheduler(bench.cell.client)
    schedule = scheduler.create(NewSchedule("* * * * *", NewJob(pipeline="film", tenant_id="acme", url=url))).schedule
    return scheduler.run_now(schedule.schedule_id).job.job_id


@pytest.mark.parametrize("made", [fired_by_schedule, run_by_hand])
def test_the_job_of_a_schedule_holds_its_upload_as_any_other(bench: Bench, made: Callable[[Bench, str], str]) -> None:
    upload = bench.whole()
    job_id = made(bench, upload.url)
    with pytest.raises(UploadInUse):
        bench.uploads.delete(upload.upload_id)
    bench.let_expire()
    assert bench.sweep() == 0
    bench.cell.client.cancel(job_id)
    bench.uploads.delete(upload.upload_id)


def test_a_schedule_of_an_upload_that_is_not_there_is_told_so_by_hand_and_holds_none_of_others(bench: Bench) -> None:
    others = bench.whole(tenant_id="other")
    with pytest.raises(InvalidInput):
        run_by_hand(bench, others.url)
    fired_by_schedule(bench, others.url)
    adopted = bench.cell.client.prepare(NewJob(pipeline="film", tenant_id="acme", url=others.url))
    bench.cell.store.submit(adopted, adopt=1)
    bench.uploads.delete(others.upload_id)
