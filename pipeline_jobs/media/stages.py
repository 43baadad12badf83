"""Run stages of a media job in a child process of its own (`stage_child.py`), one a job: what decodes media sees no secret.

The child is not forked but exec'ed: this process's memory has the keys of the store and of the artifact store. Whatever it says may be
said by a hostile file that has taken it over, so all of it is checked here.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline_jobs.context import JobContext, kill_group
from pipeline_jobs.exceptions import (
    BadParameters,
    DecoderCrashed,
    InternalError,
    MachineFault,
    MediaError,
    MediaTooLarge,
    OutOfMemory,
    SourceError,
    StageError,
    WorkerLost,
)
from pipeline_jobs.media import languages, uploaded, whisper_model

#: Seconds between two looks for a cancel.
POLL = 0.1
#: Longest line that a child may say, in bytes: what a result may have, and its frame.
MAX_LINE = 16 * 1024**2
#: Bytes kept of what it writes to its standard error; seconds that it has to take an order, and to be gone with all its children.
STDERR_BYTES, ORDER_SECONDS, GONE_SECONDS = 4096, 30.0, 5.0
MAX_TEXT = 500
#: -P: the workdir holds files that the outside named; nothing there may be imported.
COMMAND = (sys.executable, "-P", "-m", "pipeline_jobs.media.stage_child")
#: Last words of Python, C++ and ggml when `PIPELINE_JOB_MEMORY_BYTES` is reached: some libraries abort then.
NO_MEMORY = ("MemoryError", "bad_alloc", "insufficient memory")
#: How long a model that could not be downloaded is not asked for by jobs that can do without it, in seconds.
TRY_AGAIN = 600.0
_not_before: dict[Path, float] = {}
#: Lines of a run that go to the worker's own log, and the levels that a child may name.
MAX_LOGS = 200
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR, "critical": logging.CRITICAL}

#: What the child gets of the settings, and of this process's environment: where libraries lie, how many threads they take, where
#: certificates and models are.
SETTINGS = {"media_max_bytes", "media_max_seconds", "media_max_pixels", "allow_private_urls", "job_memory_bytes", "whisper_model"}
ENVIRONMENT = ("LD_LIBRARY_PATH", "OMP_NUM_THREADS", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ")


def _tree(*roots: type[StageError]) -> Iterator[type[StageError]]:
    for root in roots:
        yield root
        yield from _tree(*root.__subclasses__())


#: What a stage in a child may say that it failed of.
_ERRORS = {error.code: error for error in _tree(SourceError, MediaError, BadParameters, OutOfMemory)}


@dataclass(frozen=True, slots=True)
class InChild:
    """A stage that runs in the job's child."""

    name: str

    def __call__(self, context: JobContext) -> Mapping[str, Any]:
        return context.opened(Child).run(self.name)


def fetch(context: JobContext) -> Mapping[str, Any]:
    """Stage `fetch`. An upload is copied by this process, which has the keys of the artifact store; it is not opened."""
    if (context.url or "").startswith(uploaded.SCHEME):
        return uploaded.bring(context)
    found = InChild("fetch")(context)
    if "parts" not in found:
        return found
    # To join is to read what came with FFmpeg, and what comes of it is hashed next (`jobs/reuse.py`): a process that this has taken over
    # does not go on from here, to change the file or to decode it.
    child = context.opened(Child)
    try:
        return child.run("join:joined", found)
    finally:
        child.close()
        context.forget(Child)


def transcribe(context: JobContext) -> Mapping[str, Any]:
    """Stage `transcribe`. The child is offline: a model that must be downloaded first is downloaded by a process without media."""
    if context.data.get("speech") is not None:
        bring_whisper(context)
    return InChild("transcribe")(context)


def summarise(context: JobContext) -> Mapping[str, Any]:
    """Stage `summarise`, whose libraries are loaded with the first job."""
    gives: Mapping[str, Any] = importlib.import_module("pipeline_jobs.media.summarise").run(context)
    return gives


class Child:
    """The child process of one run. After `with Child(context) as child:` it is gone, with all that it started."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._oom_kills = _oom_kills()
        self._logs = 0
        self._stderr = b""
        self._printed, self._decode = context.printed("stderr"), getincrementaldecoder("utf-8")("replace").decode
        ours, its = socket.socketpair()
        ours.settimeout(ORDER_SECONDS)
        self._socket, self._pending = ours, bytearray()
        with its:
            self._process = context.popen(
                COMMAND, stdin=its, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment(context.workdir)
            )
        assert self._process.stderr is not None
        self._errors = self._process.stderr
        #: What this kernel lacks of the walls; empty: nothing.
        self.lacks = ""

    def __enter__(self) -> Child:
        context = self._context
        settings = context.settings.model_dump(mode="json", include=SETTINGS)
        fields = {name: getattr(context, name) for name in ("job_id", "url", "quality", "params")}
        readable = [str(whisper_model.models()), str(whisper_model.folder(context.settings.whisper_model))]
        try:
            self.lacks = self._ask({**fields, "settings": settings, "readable": readable})["lacks"]
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        finally:
            # Once more, should a cancel have come between.
            self.close()

    def run(self, stage: str, data: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """:param data: None: what the stages before gave. :raises StageError: as the stage raised it, or of how the child ended."""
        try:
            answer = self._ask({"stage": stage, "data": self._context.data if data is None else dict(data)})
        except BaseException:
            # It may still be at work, and what it says of this stage would be taken for its answer to the next.
            self.close()
            self._context.forget(type(self))
            raise
        if "error" in answer:
            self._raise(answer)
        found: Mapping[str, Any] = answer["data"]
        return found

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The child's answer to an order; its progress and its log lines are passed on meanwhile.

        :raises StageError: it ended, or what it says makes no sense.
        """
        try:
            self._socket.sendall(json.dumps(order).encode() + b"\n")
            for line in self._lines():
                said = json.loads(line)
                if not self._is_report(said):
                    return _answer(said)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise InternalError(f"the media child said what makes no sense ({type(error).__name__})") from None
        except (OSError, EOFError):
            pass
        raise self._death()

    def _is_report(self, said: Mapping[str, Any]) -> bool:
        if "progress" in said:
            fraction, message = float(said["progress"]), said.get("message")
            if not math.isfinite(fraction):
                raise ValueError(fraction)
            self._context.progress(fraction, None if message is None else str(message)[:MAX_TEXT])
            return True
        if "log" in said:
            self._log(*said["log"])
            return True
        return False

    def _log(self, level: str, event: str, values: Mapping[str, Any]) -> None:
        """A line of `context.logger` is in the worker's log as well, unless there are too many; one of `logging` is in the job's only."""
        if level not in LEVELS:
            return
        if "logger" in values:
            self._context.run_log.add(LEVELS[level], str(values["logger"]), str(event))
            return
        self._logs += 1
        said = str({str(name): str(value) for name, value in values.items()})[:STDERR_BYTES] if values else None
        if self._logs <= MAX_LOGS:
            getattr(self._context.logger, level)(str(event)[:MAX_TEXT], stage=self._context.stage, said=said)
        else:
            self._context.run_log.add(LEVELS[level], "media", f"{event} {said or ''}".rstrip())

    def _raise(self, answer: Mapping[str, Any]) -> None:
        """:raises StageError:"""
        code, message = str(answer["error"]), str(answer.get("message"))[:MAX_TEXT]
        if trace := answer.get("traceback"):
            self._context.logger.error("stage failed in its child", stage=self._context.stage, traceback=str(trace)[:STDERR_BYTES])
        raise _ERRORS.get(code, InternalError)(message)

    def _lines(self) -> Iterator[bytes]:
        """Each line that it says; looks for a cancel meanwhile.

        :raises EOFError: it has ended.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._errors, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(POLL):
                    if key.fileobj is self._socket:
                        yield from self._take(self._socket.recv(1 << 16))
                    elif not self._read_errors():
                        selector.unregister(self._errors)
                self._context.check_cancelled()

    def _take(self, piece: bytes) -> list[bytes]:
        if not piece:
            raise EOFError
        self._pending += piece
        if len(self._pending) > MAX_LINE:
            raise ValueError("a line without an end")
        if b"\n" not in piece:
            return []
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest)
        return lines

    def _read_errors(self) -> bool:
        """Keep the last of its standard error; all of it is in the job's log. :return: False: nobody has it open any more."""
        piece = os.read(self._errors.fileno(), 1 << 16)
        self._printed.write(self._decode(piece))
        self._stderr = (self._stderr + piece)[-STDERR_BYTES:]
        return bool(piece)

    def _death(self) -> StageError:
        """Why the child died, as an error of the stage."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GONE_SECONDS)
        self.close()
        code, said = self._process.returncode, self._stderr.decode(errors="replace")
        self._context.logger.error("the media child ended", stage=self._context.stage, exit=code, stderr=said)
        if any(word in said for word in NO_MEMORY) or (code == -signal.SIGKILL and _oom_kills() > self._oom_kills):
            return OutOfMemory()
        if code == -signal.SIGXCPU:
            return MediaTooLarge("the stage took more of the processor's time than it may for media of this length")
        if code == -signal.SIGKILL:
            return WorkerLost("the process that handled the media was killed")
        if code < 0:
            return DecoderCrashed(f"the program that decodes the media crashed at this file ({signal.Signals(-code).name})")
        return InternalError(f"the process that handles the media ended with {code} and without an answer")

    def close(self) -> None:
        """Kill the child. Its own children die with it; when none has its standard error open any more, nobody writes to the folder."""
        if self._errors.closed:
            return
        self._socket.close()
        kill_group(self._process)
        deadline = time.monotonic() + GONE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._errors, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0 and (not selector.select(left) or self._read_errors()):
                pass
        self._printed.flush()
        self._errors.close()


def _environment(workdir: Path) -> dict[str, str]:
    """Nothing of this process's own that is not named: its variables have keys and passwords."""
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": _import_path(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/nonexistent",
        "TMPDIR": str(workdir),
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HF_HOME": str(whisper_model.models()),
        "HF_HUB_OFFLINE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        # It would look for plugins in the metadata of every installed package.
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
        # Two threads of the speech model wait for each other in a loop: 1.7 times the processor time, and no sooner done.
        "MOONSHINE_ORT_SINGLE_THREAD": "1",
    }


def _import_path() -> str:
    """This process's own; we may have been found in its current folder."""
    return os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parents[2])])


def bring_whisper(context: JobContext) -> None:
    """Have Whisper's model on this machine, at its first use. What is not installed is said by the stage.

    :raises MachineFault: the job needs it, and it cannot be had now. One that only listens for the language goes on without.
    """
    model, needed = whisper_model.folder(context.settings.whisper_model), _needs_whisper(context.params)
    if whisper_model.is_here(model) or "whisper" not in languages.installed():
        return
    if not needed and (context.params.get("language", "auto") != "auto" or time.monotonic() < _not_before.get(model, 0.0)):
        return
    if not (reason := _fetched(context, model)):
        return
    context.logger.warning("the speech model cannot be had", model=str(model), reason=reason)
    _not_before[model] = time.monotonic() + TRY_AGAIN
    if needed:
        # Of the line or of the hub, and nothing that the job has done: it waits until this machine, or another, can.
        raise MachineFault(f"the speech model cannot be had now ({reason})")


def _needs_whisper(params: Mapping[str, Any]) -> bool:
    wanted, language = params.get("speech_model", "auto"), params.get("language", "auto")
    return wanted == "whisper" or (wanted == "auto" and ("moonshine" not in languages.installed() or language not in ("auto", "en")))


def _fetched(context: JobContext, model: Path) -> str:
    """Fetch the official one. :return: why it is not there; empty: it is."""
    if context.settings.whisper_model:
        return "PIPELINE_WHISPER_MODEL names a folder without a model.bin"
    context.progress(0.0, "downloading the speech model")
    environment = {**os.environ, "HF_HOME": str(whisper_model.models()), "PYTHONPATH": _import_path()}
    command = [sys.executable, "-P", "-m", "pipeline_jobs.media.whisper_fetch", str(model)]
    status = context.wait_process(context.popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    return f"the download ended with {status}" if status else ""


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory, here and in containers; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _answer(said: Mapping[str, Any]) -> dict[str, Any]:
    """:raises ValueError: it is none."""
    if "error" in said or isinstance(said.get("data"), dict) or isinstance(said.get("lacks"), str):
        return dict(said)
    raise ValueError("no answer")
