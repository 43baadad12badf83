from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
import pytest

from pipeline_jobs.exceptions import InvalidInput, PublishError
from pipeline_jobs.files.artifacts import ROUTE, ArtifactStore, RunArtifacts

PATH = "acme/main/job_1_0a1b2c3d/1/video.mp4"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "arti facts"


@pytest.fixture
def store(root: Path) -> ArtifactStore:
    return ArtifactStore(root.as_uri(), "http://127.0.0.1:8000", lambda: "a secret")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "local.bin"
    path.write_bytes(b"hello")
    return path


def test_what_was_put_can_be_read(store: ArtifactStore, local: Path, root: Path) -> None:
    assert store.put(local, PATH) == 5
    with store.open(PATH) as file:
        assert file.read() == b"hello"
    stat = store.stat(PATH)
    assert stat.size == 5
    assert stat.modified == pytest.approx((root / PATH).stat().st_mtime)
    assert [path.name for path in (root / PATH).parent.iterdir()] == ["video.mp4"], "no other file is left"


def test_a_second_put_replaces_the_first(store: ArtifactStore, local: Path) -> None:
    store.put(local, PATH)
    local.write_bytes(b"goodbye")
    store.put(local, PATH)
    assert store.stat(PATH).size == 7


def test_a_reader_sees_the_whole_file_or_none(store: ArtifactStore, local: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(source: BinaryIO, file: BinaryIO) -> None:
        file.write(b"he")
        raise OSError("no space left on device")

    monkeypatch.setattr("pipeline_jobs.files.paced.copy", half)
    with pytest.raises(PublishError) as caught:
        store.put(local, PATH)
    assert "no space" not in str(caught.value)
    assert not [path for path in root.rglob("*") if path.is_file()]


def test_what_is_missing_is_not_found(store: ArtifactStore, local: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.open(PATH)
    with pytest.raises(FileNotFoundError):
        store.stat(PATH)
    store.put(local, PATH)
    with pytest.raises(FileNotFoundError):
        store.stat("acme/main")
    with pytest.raises(PublishError):
        store.put(local.with_name("missing"), PATH)


def test_a_prefix_is_deleted_without_a_trace(store: ArtifactStore, local: Path, root: Path) -> None:
    other = "acme/main/job_1_ffffffff/1/video.mp4"
    for path in (PATH, PATH.replace("/1/", "/2/"), other):
        store.put(local, path)
    store.delete_prefix("acme/main/job_1_0a1b2c3d")
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == [other]
    assert not (root / "acme/main/job_1_0a1b2c3d").exists()
    store.delete_prefix("acme/main/job_1_ffffffff")
    assert list(root.iterdir()) == []
    store.delete_prefix("acme/main/job_1_ffffffff")


def test_a_prefix_is_no_beginning_of_a_name(store: ArtifactStore, local: Path) -> None:
    store.put(local, PATH)
    store.delete_prefix("acme/main/job_1_0a1b2c3")
    assert store.stat(PATH).size == 5


BAD = [
    "", "/", ".", "..", "/etc/passwd", "../x", "a/../../x", "a/..", "a//b", "a/", "a/./b", "a\\..\\b", "a/\x00b", "a/b\n", "a/.hidden",
    "~/\x7f", "C:\\x", "a/" * 600 + "b",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD)
def test_paths_that_climb_out_are_refused(store: ArtifactStore, local: Path, root: Path, path: str) -> None:
    root.mkdir()
    (root.parent / "x").write_text("outside")
    with pytest.raises(InvalidInput):
        store.put(local, path)
    with pytest.raises(InvalidInput):
        store.delete_prefix(path)
    with pytest.raises(InvalidInput):
        store.link(path)
    with pytest.raises(FileNotFoundError):
        store.open(path)
    with pytest.raises(FileNotFoundError):
        store.stat(path)
    assert not store.verify(path, "whatever")
    assert (root.parent / "x").read_text() == "outside"


def _parts(link: str) -> tuple[str, str]:
    url = urlsplit(link)
    assert f"{url.scheme}://{url.netloc}" == "http://127.0.0.1:8000"
    return unquote(url.path).removeprefix(ROUTE), parse_qs(url.query)["signature"][0]


def test_a_link_opens_its_own_path_only(store: ArtifactStore) -> None:
    path, signature = _parts(store.link(PATH))
    assert path == PATH
    assert store.verify(path, signature)
    assert not store.verify(path.replace("acme", "evil"), signature)
    assert not store.verify(path, signature[:-1] + ("A" if signature[-1] != "A" else "B"))
    assert not store.verify(path, "")
    assert not store.verify(path, "ü")
    assert not ArtifactStore("memory://", "http://127.0.0.1:8000", lambda: "another secret").verify(path, signature)


def test_a_link_escapes_odd_names(store: ArtifactStore) -> None:
    odd = "acme/main/job/1/näme with space?#.mp4"
    path, signature = _parts(store.link(odd))
    assert path == odd
    assert store.verify(odd, signature)


def test_a_run_publishes_under_its_prefix_and_counts(store: ArtifactStore, local: Path) -> None:
    run = RunArtifacts(store, "acme/main/job_1_0a1b2c3d/7")
    link = run.publish(local, "video.mp4")
    assert link == store.link("acme/main/job_1_0a1b2c3d/7/video.mp4")
    run.publish(local, "texts/transcript.txt")
    assert run.bytes == 10
    run.publish(local, "video.mp4")
    assert run.bytes == 10, "what was replaced is not counted twice"
    for name in ("../8/video.mp4", "/video.mp4", "..", ""):
        with pytest.raises(InvalidInput):
            run.publish(local, name)


def test_other_file_systems_work(local: Path) -> None:
    store = ArtifactStore("memory://artifacts", "http://127.0.0.1:8000", lambda: "a secret")
    store.put(local, PATH)
    assert store.stat(PATH).size == 5
    with store.open(PATH) as file:
        assert file.read() == b"hello"
    store.delete_prefix("acme/main/job_1_0a1b2c3d")
    assert fsspec.filesystem("memory").find("/artifacts") == []
    with pytest.raises(FileNotFoundError):
        store.stat(PATH)


def test_putting_and_deleting_neighbours_at_once_loses_nothing(store: ArtifactStore, local: Path) -> None:
    """The last file of one job goes, with its tenant's folder, while the first of another comes."""
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            store.put(local, "acme/main/job_a/1/x")
            store.delete_prefix("acme/main/job_a")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(200):
            store.put(local, "acme/main/job_b/1/y")
            assert store.stat("acme/main/job_b/1/y").size == 5
            store.delete_prefix("acme/main/job_b")
    finally:
        stop.set()
        thread.join()


def test_folders_that_no_record_speaks_for_go_when_they_are_old(tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "root").as_uri(), "http://x", lambda: "secret")
    local = tmp_path / "a.txt"
    local.write_text("a")
    for path in ("acme/main/old/0/a.txt", "acme/main/new/0/a.txt", "acme/main/old/1/a.txt"):
        store.put(local, path)
    for path in ("acme/main/old/0/a.txt", "acme/main/old/1/a.txt"):
        os.utime(tmp_path / "root" / path, (1, 1))
    assert store.delete_older("*/*/*/0", 3600) == 1
    assert not (tmp_path / "root/acme/main/old/0").exists()
    assert (tmp_path / "root/acme/main/new/0/a.txt").exists()
    assert (tmp_path / "root/acme/main/old/1/a.txt").exists()
