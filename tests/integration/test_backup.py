"""A copy of the store, taken under load, and put back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from pipeline_jobs import cell as cells
from pipeline_jobs import cli
from pipeline_jobs.exceptions import ConfigurationError, StoreUnavailable
from pipeline_jobs.settings import Settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import backup
from pipeline_jobs.store.reader import Reader
from tests.integration.conftest import TEMPLATE, Cell, make_cell
from tests.integration.recount import differences
from tests.servers import Server
from tests.waiting import until

Run = Callable[..., Result]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "own").start()
    with server.client() as client:
        # It would wait 5 s for more replicas.
        client.config_set("repl-diskless-sync-delay", "1")
    yield server
    server.stop()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Server]:
    """A second server, which has not been started."""
    server = Server(tmp_path / "other")
    yield server
    server.stop()


@pytest.fixture
def cell_on(cell: Settings) -> Iterator[Callable[[Server], Cell]]:
    made: list[Cell] = []

    def make(server: Server) -> Cell:
        made.append(make_cell(cell.model_copy(update={"redis_url": server.url, "announce_seconds": 1000.0})))
        return made[-1]

    yield make
    for one in made:
        one.cell.close()


def runner(jobs: Cell) -> Run:
    made = cells.Cell.of(jobs.settings, template=TEMPLATE, pipelines=jobs.cell.pipelines)
    return lambda *arguments: CliRunner().invoke(cli.jobs, arguments, obj=SimpleNamespace(app=SimpleNamespace(cell=made)))


def life(jobs: Cell, done: list[str], stop: threading.Event) -> None:
    """Jobs are accepted, started and ended until it is told to stop."""
    while not stop.is_set():
        run = jobs.running(tenant_id=f"t{len(done) % 5}")
        if len(done) >= 3:
            jobs.store.finish(run.job_id, run.fence, JobStatus.COMPLETED, result={"x": 1})
        done.append(run.job_id)


def test_a_copy_made_under_load_is_whole_and_goes_on_where_it_was(
    own: Server, other: Server, cell_on: Callable[[Server], Cell], tmp_path: Path
) -> None:
    jobs, stop = cell_on(own), threading.Event()
    done: list[str] = []
    load = threading.Thread(target=life, args=(jobs, done, stop))
    load.start()
    try:
        until(lambda: len(done) > 20, "some jobs")
        before = list(done)
        file = tmp_path / "store.rdb"
        made = runner(cell_on(own))("backup", str(file))
        assert made.exit_code == 0, made.output
        during = len(done)
    finally:
        stop.set()
        load.join()
    assert during > len(before), "the server went on meanwhile"
    restored = runner(cell_on(other))("restore", str(file), "--folder", str(other.folder))
    assert restored.exit_code == 0, restored.output
    assert "is lost" in restored.output
    other.start()
    again = cell_on(other)
    assert differences(again.store) == []
    for job_id in before:
        assert again.client.get(job_id).status in (JobStatus.COMPLETED, JobStatus.RUNNING)
    new = again.running()
    again.store.finish(new.job_id, new.fence, JobStatus.COMPLETED, result={})
    other.kill()
    other.start()
    assert again.client.get(new.job_id).status is JobStatus.COMPLETED, "it writes its AOF behind the copy"


def test_the_obvious_way_gives_an_empty_server(own: Server, other: Server, cell_on: Callable[[Server], Cell], tmp_path: Path) -> None:
    """Why there is a command: `dump.rdb` is not read where there is an AOF."""
    cell_on(own).submit()
    backup.backup(cell_on(own).store, other.folder / "dump.rdb")
    other.start()
    with other.client() as client:
        assert client.dbsize() == 0


def test_a_copy_is_its_owners_alone_while_it_is_written(
    own: Server, cell_on: Callable[[Server], Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, part, modes, stream = tmp_path / "x.rdb", tmp_path / ".x.rdb.part", set[int](), backup._stream

    def watched(store: Reader) -> Iterator[bytes]:
        for chunk in stream(store):
            modes.add(part.stat().st_mode & 0o777)
            yield chunk

    monkeypatch.setattr(backup, "_stream", watched)
    # As one that was killed in the middle may have left it.
    part.touch(0o644)
    backup.backup(cell_on(own).store, file)
    assert (modes, file.stat().st_mode & 0o777) == ({0o600}, 0o600)


def test_a_server_that_is_told_to_give_replicas_its_data_from_its_disk_is_copied_as_well(
    own: Server, other: Server, cell_on: Callable[[Server], Cell], tmp_path: Path
) -> None:
    with own.client() as client:
        client.config_set("repl-diskless-sync", "no")
    kept = cell_on(own).submit()
    file = tmp_path / "store.rdb"
    backup.backup(cell_on(own).store, file)
    backup.restore(file, other.folder)
    other.start()
    assert cell_on(other).client.get(kept.job_id).status is JobStatus.QUEUED


def test_data_that_is_there_and_a_running_server_are_left_alone_unless_told(
    own: Server, cell_on: Callable[[Server], Cell], tmp_path: Path
) -> None:
    jobs, file = cell_on(own), tmp_path / "store.rdb"
    kept = jobs.submit()
    run = runner(jobs)
    made = run("backup", str(file), "--json")
    assert json.loads(made.stdout) == {"file": str(file), "bytes": file.stat().st_size}
    lost = jobs.submit()
    refused = run("restore", str(file))
    assert (refused.exit_code, "is running" in refused.output) == (1, True)
    own.kill()
    refused = run("restore", str(file), "--folder", str(own.folder))
    assert (refused.exit_code, "has data already" in refused.output) == (1, True)
    own.start()
    assert jobs.client.get(lost.job_id).status is JobStatus.QUEUED
    # Told so, it ends the server, which starts with the copy.
    done = json.loads(run("restore", str(file), "--force", "--json").stdout)
    assert (done["folder"], done["ended"], Path(done["before"]).is_dir()) == (str(own.folder), True, True)
    assert own._process is not None
    own._process.wait(60)
    own.start()
    assert jobs.client.get(kept.job_id).status is JobStatus.QUEUED
    assert not jobs.store.exists("job", lost.job_id)
    assert [path.name.partition("-")[0] for path in own.folder.glob("appendonlydir.*")] == ["appendonlydir.before"]


def test_what_is_no_copy_is_refused_and_nothing_half_is_left(own: Server, cell_on: Callable[[Server], Cell], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.rdb"
    wrong.write_text("not a copy")
    with pytest.raises(ConfigurationError, match="is no copy"):
        backup.restore(wrong, tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        backup.restore(tmp_path / "nothing.rdb", tmp_path)
    with pytest.raises(ConfigurationError, match="there is no folder"):
        backup.restore(_a_copy(tmp_path), tmp_path / "nowhere")
    jobs = cell_on(own)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        backup.backup(jobs.store, tmp_path / "nowhere" / "x.rdb")
    own.kill()
    with pytest.raises(StoreUnavailable):
        backup.backup(jobs.store, tmp_path / "x.rdb")
    assert list(tmp_path.glob("*x.rdb*")) == []


def test_a_copy_that_breaks_off_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it does; and the mark at its end may come in any pieces."""
    mark, data = b"m" * 40, b"REDIS" + bytes(range(256)) * 3
    whole = b"\n\n$EOF:" + mark + b"\r\n" + data + mark
    # One that has written it to its disk knows how long it is.
    from_disk = b"\n\n$%d\r\n" % len(data) + data

    def line(text: bytes, size: int) -> SimpleNamespace:
        rest = bytearray(text)

        def recv(most: int) -> bytes:
            piece = bytes(rest[: min(most, size)])
            del rest[: len(piece)]
            return piece

        return SimpleNamespace(recv=recv)

    for size in (1, 7, 39, 40, 41, 10_000):
        for behind in (b"", b"\n", b"*1\r\n$4\r\nPING\r\n"):
            for sent in (whole, from_disk):
                assert b"".join(backup._data(line(sent + behind, size))) == data  # type: ignore[arg-type]
    for sent in (whole, from_disk):
        for end in range(0, len(sent) - 1, 13):
            with pytest.raises(StoreUnavailable, match="broke off"):
                list(backup._data(line(sent[:end], 50)))  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable, match="gives nobody its data"):
        list(backup._data(line(b"-NOPERM no\r\n", 50)))  # type: ignore[arg-type]


def _a_copy(folder: Path) -> Path:
    file = folder / "good.rdb"
    file.write_bytes(b"REDIS0011")
    return file
