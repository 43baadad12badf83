"""Spans, if the environment asks for OpenTelemetry (`OTEL_EXPORTER_OTLP_ENDPOINT`), and nothing at all if it does not.

A span's parent is the context's `traceparent` (`correlation`), and inside of its block it is the parent of the others. This module knows
OpenTelemetry by name only: `otel` has it, and is imported in the process that makes the first span, never before a fork.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from typing import Protocol

import structlog

from pipeline_jobs.tracing import correlation
from pipeline_jobs.tracing.correlation import Correlation

logger = structlog.get_logger(__name__)

#: Any of them names where spans go.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Span(Protocol):
    """The span of an operation that goes on."""

    #: What the operation hands on to others: its own place in the trace. None: there is no trace.
    traceparent: str | None

    def name(self, name: str) -> None:
        """Another name than it began with."""

    def set(self, **attributes: str | int | float | None) -> None:
        """What is to be known of it; None is left out. In names `__` stands for a dot. No text of a client belongs here."""

    def fail(self, kind: str) -> None:
        """It failed, with an error of this kind."""

    def end(self, at_ms: int | None = None) -> None:
        """It has ended: now, or at these Unix milliseconds."""


class Backend(Protocol):
    """Makes spans and sends them away."""

    def start(self, name: str, kind: str, parent: str | None, at_ms: int | None) -> Span:
        """:param kind: `server`, `client`, `producer`, `consumer` or `internal`. :param at_ms: when it began; None: now."""

    def stop(self, seconds: float) -> None:
        """Send what is left, for so long at most."""


class _Nothing:
    """The span of an operation that is not traced."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def name(self, name: str) -> None:
        pass

    def set(self, **attributes: str | int | float | None) -> None:
        pass

    def fail(self, kind: str) -> None:
        pass

    def end(self, at_ms: int | None = None) -> None:
        pass

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Process:
    """The back end of this process. A forked child has none yet: its parent's connection to the collector must not have two writers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.looked = False
        self.backend: Backend | None = None

    def look(self) -> Backend | None:
        if not self.looked:
            with self._lock:
                if not self.looked and wanted() and why_not() is None:
                    self.backend = _made()
                self.looked = True
        return self.backend


def _made() -> Backend | None:
    try:
        made: Backend = importlib.import_module("pipeline_jobs.tracing.otel").Otel()
    except Exception as error:  # its variables are read by the SDK, which raises what it likes: no request and no run may end by that
        logger.warning("no spans are sent", reason=f"{type(error).__name__}: {error}")
        return None
    return made


_process = _Process()
os.register_at_fork(after_in_child=_process.__init__)  # type: ignore[misc]


def wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """The environment names an endpoint, and does not switch spans off."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER", "otlp") not in ("", "otlp"):
        return False
    return any(environ.get(name) for name in ENDPOINTS)


def why_not(environ: Mapping[str, str] = os.environ) -> str | None:
    """Why what is wanted cannot be had; None: it can."""
    if not _is_there("opentelemetry.sdk.trace") or not _is_there("opentelemetry.exporter.otlp.proto.http"):
        return "the extra `otel` is not installed: pip install 'pipeline-jobs[otel]'"
    protocol = next((environ[name] for name in PROTOCOLS if environ.get(name)), "http/protobuf")
    return None if protocol == "http/protobuf" else f"the protocol {protocol} is not spoken here, only http/protobuf"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # A package above it is missing.
        return False


def check() -> None:
    """At the start of a process: one line if spans are wanted and there will be none."""
    if wanted() and (reason := why_not()):
        logger.warning("no spans are sent", reason=reason)


def on() -> bool:
    """Spans are made in this process."""
    return (_process.backend if _process.looked else _process.look()) is not None


def start(name: str, kind: str, parent: str | None, at_ms: int | None = None) -> Span:
    """A span that somebody will end. See `Backend.start`."""
    backend = _process.look()
    return _Nothing(parent) if backend is None else backend.start(name, kind, parent, at_ms)


def span(name: str, kind: str, **attributes: str | int | float | None) -> AbstractContextManager[Span]:
    """A span around the block. An error that leaves the block is its end too, by its class: its text may be a client's."""
    here = correlation.current()
    # Each run has several.
    return _made_around(name, kind, here, attributes) if on() else _Nothing(here.traceparent)


@contextmanager
def _made_around(name: str, kind: str, here: Correlation, attributes: Mapping[str, str | int | float | None]) -> Iterator[Span]:
    one = start(name, kind, here.traceparent)
    one.set(**attributes)
    try:
        with correlation.bound(replace(here, traceparent=one.traceparent)):
            yield one
    except BaseException as error:
        one.fail(type(error).__name__)
        raise
    finally:
        one.end()


_NO_ROOT = nullcontext()


def root(name: str) -> AbstractContextManager[Span | None]:
    """Where nothing traced led to the block, a trace begins with it."""
    return _NO_ROOT if not on() or correlation.current().traceparent is not None else span(name, "producer")


def stop(seconds: float) -> None:
    """Before this process ends: send what is left, for so long at most."""
    if _process.backend is not None:
        _process.backend.stop(seconds)
