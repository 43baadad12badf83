"""One child a job: what it gets, how it ends, and what becomes of what it says."""

from __future__ import annotations

import hashlib
import importlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import (
    DecoderCrashed,
    InternalError,
    JobCancelled,
    MachineFault,
    MediaDamaged,
    OutOfMemory,
    SourceForbidden,
    StageError,
    WorkerLost,
)
from pipeline_jobs.media import publish, stages, whisper_model
from pipeline_jobs.media.stages import Child, InChild
from tests.living import children, command, lives, running
from tests.tricks.files import FTYP
from tests.unit.media import taken_over
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import FakeReporter, FakeSite
from tests.waiting import until

#: What is fetched and not opened.
FILM = FTYP + bytes(300_000)


def the_child() -> psutil.Process:
    (child,) = running("pipeline_jobs.media.stage_child")
    return child


class Logger:
    """Remembers what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **values: Any) -> None:
        self.lines.append((event, values))


def stalling(site: FakeSite, begun: threading.Event) -> str:
    """A film of which only the beginning comes."""

    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp4")
        handler.send_header("Content-Length", str(len(FILM)))
        handler.end_headers()
        handler.wfile.write(FILM[:10_000])
        begun.set()
        site.closing.wait(60)

    return site.answer("/a.mp4", stall)


@pytest.fixture
def stalled(site: FakeSite, make_context: MakeContext) -> Iterator[tuple[JobContext, list[BaseException]]]:
    """A job whose child downloads, in a thread; and what its stage raised."""
    begun, raised = threading.Event(), list[BaseException]()
    context = make_context(stalling(site, begun), PIPELINE_SECRET_KEY="tell nobody")
    context.stage, context.logger = "fetch", Logger()

    def run() -> None:
        try:
            with context.closing:
                stages.fetch(context)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)
    context.data["thread"] = thread
    yield context, raised
    context.reporter.cancelled.set()  # type: ignore[attr-defined]
    thread.join()


def test_the_child_has_neither_our_memory_nor_our_environment(
    stalled: tuple[JobContext, list[BaseException]],
) -> None:
    environment = the_child().environ()
    assert set(environment) <= {
        "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "HOME", "TMPDIR", "PATH", "LANG", "LC_CTYPE", "HF_HOME", "HF_HUB_OFFLINE",
        "ORT_DISABLE_TELEMETRY", "PYDANTIC_DISABLE_PLUGINS", "MOONSHINE_ORT_SINGLE_THREAD", *stages.ENVIRONMENT,
    }  # fmt: skip
    assert environment["ORT_DISABLE_TELEMETRY"] == "1", "it would tell Microsoft where it runs"
    child = the_child()
    ours = [Path(one.path).name for one in child.open_files() if "site-packages" not in one.path]
    assert set(ours) <= {"source"}
    assert len(child.net_connections("unix")) <= 1, "the socket to its parent"
    assert "stage_child" in command(child), "it was exec'ed: no page of it was ever ours"


def test_what_a_stage_is_told_of_the_settings_are_those_of_media(monkeypatch: pytest.MonkeyPatch, make_context: MakeContext) -> None:
    sent: list[Any] = []
    ask = Child._ask
    monkeypatch.setattr(Child, "_ask", lambda self, order: (sent.append(order), ask(self, order))[1])
    context = make_context(PIPELINE_SECRET_KEY="tell nobody", PIPELINE_REDIS_URL="redis://:tell-nobody@127.0.0.1:1/0")
    context.opened(Child)
    assert set(sent[0]["settings"]) == stages.SETTINGS
    assert "nobody" not in str(sent)


def test_a_cancel_ends_the_child_at_once(stalled: tuple[JobContext, list[BaseException]]) -> None:
    context, raised = stalled
    child, reporter = the_child(), context.reporter
    assert isinstance(reporter, FakeReporter)
    # From here on the child has nothing to tell.
    until(lambda: reporter.percents and reporter.percents[-1] > 0, "what came to be told")
    reporter.cancelled.set()
    context.data["thread"].join(60)
    assert [type(error) for error in raised] == [JobCancelled]
    assert not lives(child)


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """A SIGKILL of the pool child leaves no process behind, whatever runs in the job's child."""
    code = f"""
import json, sys, pathlib
from pipeline_jobs.media.stages import Child
from tests.unit.test_context import make_context
context = make_context(pathlib.Path({str(tmp_path)!r}))
with Child(context) as child:
    print(child._process.pid, flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    until(lambda: not lives(child), "the child to be gone")


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGSEGV, DecoderCrashed), (signal.SIGBUS, DecoderCrashed), (signal.SIGKILL, WorkerLost)]
)
def test_how_the_real_child_ends_is_how_the_stage_fails(
    stalled: tuple[JobContext, list[BaseException]], number: signal.Signals, error: type[StageError]
) -> None:
    context, raised = stalled
    the_child().send_signal(number)
    context.data["thread"].join(60)
    assert [type(one) for one in raised] == [error]
    assert context.logger.lines[0][1]["exit"] == -number


ENDS: dict[str, type[StageError]] = {
    "a segfault": DecoderCrashed, "an abort": DecoderCrashed, "want of memory in C++": OutOfMemory, "a kill": WorkerLost,
    "a long error": MediaDamaged,
}  # fmt: skip


@pytest.mark.parametrize("what", taken_over.SAYINGS)
def test_a_child_that_was_taken_over_ends_its_stage_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, make_context: MakeContext, reporter: FakeReporter, what: str
) -> None:
    monkeypatch.setattr(stages, "COMMAND", (sys.executable, "-P", str(Path(taken_over.__file__)), what))
    context = make_context()
    context.logger = Logger()
    with pytest.raises(StageError) as raised:
        InChild("probe")(context)
    assert type(raised.value) is ENDS.get(what, InternalError)
    assert len(raised.value.message) <= stages.MAX_TEXT
    assert all(0 <= percent <= 100 for percent in reporter.percents)


def test_an_oom_kill_is_told_from_any_other(monkeypatch: pytest.MonkeyPatch, make_context: MakeContext) -> None:
    kills = iter((7, 8))
    monkeypatch.setattr(stages, "_oom_kills", lambda: next(kills))
    monkeypatch.setattr(stages, "COMMAND", (sys.executable, "-P", str(Path(taken_over.__file__)), "a kill"))
    with pytest.raises(OutOfMemory):
        InChild("probe")(make_context())


def test_the_kernel_says_how_many_it_has_killed() -> None:
    assert stages._oom_kills() == int(Path("/proc/vmstat").read_text().partition("\noom_kill ")[2].split()[0])


def test_more_memory_than_a_job_is_given_is_said(make_context: MakeContext) -> None:
    context = make_context(PIPELINE_JOB_MEMORY_BYTES=str(150 * 1024**2), data={"transcript": "x" * 100 * 1024**2})
    with pytest.raises(OutOfMemory):
        InChild("probe")(context)


def test_a_bug_of_a_stage_is_told_with_its_traceback_in_the_log(make_context: MakeContext) -> None:
    context = make_context()
    context.logger = Logger()
    with pytest.raises(InternalError, match="KeyError: 'source'"):
        InChild("probe")(context)
    assert "probe.py" in context.logger.lines[0][1]["traceback"]


def test_what_a_stage_logs_is_logged_where_the_jobs_id_is_bound(make_context: MakeContext) -> None:
    context = make_context()
    context.stage, context.logger = "probe", Logger()
    child = context.opened(Child)
    assert child._is_report({"log": ["error", "odd", {"at": "3"}]})
    assert context.logger.lines == [("odd", {"stage": "probe", "said": "{'at': '3'}"})]
    for _ in range(2 * stages.MAX_LOGS):
        child._is_report({"log": ["error", "again", {}]})
    assert len(context.logger.lines) == stages.MAX_LOGS


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "transcript.txt", ["video.mp4"], None, "audio.m4a", "video.mp4"])
def test_no_file_but_a_transcoded_one_is_published(
    make_context: MakeContext, published: dict[str, bytes], tmp_path: Path, name: Any
) -> None:
    """Whatever the child calls its output: the process that publishes can read more than the child."""
    (tmp_path / "outside").write_text("tell nobody")
    context = make_context(data={"output": name, "transcript": "", "summary": "", "segments": []})
    (context.workdir / "video.mp4").symlink_to(tmp_path / "outside")
    with pytest.raises(InternalError):
        publish.run(context)
    assert published == {}


def test_an_upload_is_not_asked_of_the_child(make_context: MakeContext) -> None:
    context = make_context("upload://abc")
    context.open_upload = lambda upload_id: (len(FILM), iter([FILM]))
    assert stages.fetch(context) == {"source": "source", "title": None}
    assert not running("stage_child")


def test_a_page_is_fetched_behind_the_walls_and_its_program_goes_with_the_child(
    site: FakeSite, make_context: MakeContext, reporter: FakeReporter
) -> None:
    html = b'<!DOCTYPE html><html><head><title>The harbor</title></head><body><video src="/a.mp4"></video></body></html>'
    context = make_context(site.file("/page.html", html, "text/html"))
    begun = threading.Event()
    stalling(site, begun)
    before, seen = children(recursive=True), list[psutil.Process]()

    def cancel(percent: float, message: str | None) -> bool:
        if percent > 0:
            seen.extend(one for one in children(recursive=True) if one not in (*before, *seen))
        return percent > 0

    reporter.cancel_if = cancel
    context.stage = "fetch"
    with pytest.raises(JobCancelled), context.closing:
        stages.fetch(context)
    assert len(seen) == 2
    for process in seen:
        until(lambda one=process: not lives(one), "the job's processes to be gone")


def test_no_port_but_a_public_one_is_connected_to(site: FakeSite, make_context: MakeContext) -> None:
    context = make_context(site.url("/a.mp4"), PIPELINE_ALLOW_PRIVATE_URLS="0")
    with pytest.raises(SourceForbidden):
        stages.fetch(context)
    assert site.requests == []


#: Stands for the package that is not installed here: what it downloads says so. `make quality` has the real one.
WHISPER = """
import os, pathlib
def download_model(size, output_dir, revision):
    with open(pathlib.Path(os.environ["HF_HOME"], "downloads"), "a") as log:
        log.write(f"{size} {revision}\\n")
    os.makedirs(output_dir)
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        pathlib.Path(output_dir, name).write_text(name)
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of models, of an installation with `[whisper]`."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "faster_whisper.py").write_text(WHISPER)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.setattr(stages, "_not_before", {})
    monkeypatch.setenv("HF_HOME", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    yield tmp_path / "models"
    for name in ("faster_whisper", "pipeline_jobs.media.whisper_fetch"):
        sys.modules.pop(name, None)


def test_a_model_that_is_not_the_official_one_byte_for_byte_is_not_kept(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pipeline_jobs.media.whisper_fetch", raising=False)
    monkeypatch.delitem(sys.modules, "faster_whisper", raising=False)
    fetch = importlib.import_module("pipeline_jobs.media.whisper_fetch").fetch
    model = whisper_model.folder("")
    with pytest.raises(ValueError, match=r"model\.bin is not the file"):
        fetch(model)
    assert [path.name for path in hub.iterdir()] == ["downloads"]
    monkeypatch.setattr(whisper_model, "FILES", {name: hashlib.sha256(name.encode()).hexdigest() for name in whisper_model.FILES})
    for _ in range(2):
        fetch(model)
    assert whisper_model.is_here(model)
    assert sorted(path.name for path in hub.iterdir()) == ["downloads", model.name]


def test_a_model_that_cannot_be_had_is_the_machines_fault_for_who_needs_it_and_asked_for_once_for_others(
    hub: Path, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"source": "source", "speech": "speech.wav"}
    with pytest.raises(MachineFault, match="the download ended with 1"):
        stages.transcribe(make_context(params={"speech_model": "whisper"}, data=data))
    monkeypatch.setattr(stages.InChild, "__call__", lambda stage, context: {"ran": stage.name})
    for params in ({}, {}, {"language": "en"}):
        assert stages.transcribe(make_context(params=params, data=data)) == {"ran": "transcribe"}
    assert (hub / "downloads").read_text().count("\n") == 1
    stages._not_before.clear()
    assert stages.transcribe(make_context(data={**data, "speech": None})) == {"ran": "transcribe"}
    assert stages.transcribe(make_context(params={"language": "en"}, data=data)) == {"ran": "transcribe"}
    assert (hub / "downloads").read_text().count("\n") == 1
    stages.transcribe(make_context(data=data))
    assert (hub / "downloads").read_text().count("\n") == 2


def test_a_model_of_the_operators_own_is_not_downloaded(hub: Path, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"source": "source", "speech": "speech.wav"}
    monkeypatch.setattr(stages.InChild, "__call__", lambda stage, context: {"ran": stage.name})
    with pytest.raises(MachineFault, match="PIPELINE_WHISPER_MODEL"):
        stages.transcribe(make_context(params={"speech_model": "whisper"}, data=data, PIPELINE_WHISPER_MODEL=str(hub / "mine")))
    (hub / "mine").mkdir()
    (hub / "mine" / "model.bin").touch()
    done = stages.transcribe(make_context(params={"speech_model": "whisper"}, data=data, PIPELINE_WHISPER_MODEL=str(hub / "mine")))
    assert (done, list(hub.glob("downloads"))) == ({"ran": "transcribe"}, [])
