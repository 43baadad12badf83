"""Spans by OpenTelemetry's SDK, sent by OTLP over HTTP. Everything about it is set by the standard `OTEL_*` variables.

Needs the extra `otel`. Only `tracing` imports it, in processes whose environment asks for it.
"""

from __future__ import annotations

import atexit
import threading

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

#: The resource's name, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say another.
SERVICE = "pipeline-jobs"
#: How long the end of a process waits for the collector, in seconds.
EXIT_SECONDS = 2.0

_propagator = TraceContextTextMapPropagator()


class OtelSpan:
    """See `spans.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
        self.traceparent: str | None = carrier.get("traceparent")

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, **attributes: str | int | float | None) -> None:
        self._span.set_attributes({name.replace("__", "."): value for name, value in attributes.items() if value is not None})

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.StatusCode.ERROR)

    def end(self, at_ms: int | None = None) -> None:
        self._span.end(_nanoseconds(at_ms))


class Otel:
    """The provider of this process, with the thread that sends its spans. A forked child makes its own."""

    def __init__(self) -> None:
        named = Resource.create()
        if str(named.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            named = named.merge(Resource({SERVICE_NAME: SERVICE}))
        # Not by the SDK's own way at the end of a process: it waits for a collector that is away.
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("pipeline_jobs")
        atexit.register(self.stop, EXIT_SECONDS)

    def start(self, name: str, kind: str, parent: str | None, at_ms: int | None) -> OtelSpan:
        """See `tracing.Backend`."""
        context = _propagator.extract({"traceparent": parent}, Context()) if parent else Context()
        return OtelSpan(self._tracer.start_span(name, context, trace.SpanKind[kind.upper()], start_time=_nanoseconds(at_ms)))

    def stop(self, seconds: float) -> None:
        """See `tracing.Backend`."""
        # A thread, because an export that is under way waits for its collector as long as that may take.
        thread = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        thread.start()
        thread.join(seconds)


def _nanoseconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds * 1_000_000
