"""Spans are made only where the environment asks for them, and what is no trace context is none."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pipeline_jobs.tracing import correlation, spans
from pipeline_jobs.tracing.correlation import Correlation
from tests.cases import each
from tests.collector import Collector
from tests.waiting import until

URL = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        (URL, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({**URL, "OTEL_SDK_DISABLED": "True"}, False),
        ({**URL, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**URL, "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_they_are_off_unless_an_endpoint_is_named(environ: dict[str, str], wanted: bool) -> None:
    assert spans.wanted(environ) is wanted


def test_another_protocol_is_named() -> None:
    assert spans.why_not(URL) is None
    assert "grpc" in str(spans.why_not({**URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}))


@each(
    "odd",
    [None, 7, "", "none", GOOD + "-x", GOOD.upper(), GOOD.replace("00-", "ff-", 1), f"00-{'0' * 32}-b7ad6b7169203331-01", GOOD + "\n",
     f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01"],
)  # fmt: skip
def test_what_is_no_traceparent_is_as_if_absent(odd: Any) -> None:
    assert Correlation.of({"traceparent": odd, "request_id": "a b"}) == Correlation()
    assert Correlation.of({"traceparent": GOOD, "request_id": "a"}).given() == {"traceparent": GOOD, "request_id": "a"}


def test_without_spans_what_was_given_is_handed_on() -> None:
    with correlation.bound(Correlation("a", GOOD)), spans.span("x", "internal", n=1) as span, spans.root("y"):
        assert span.traceparent == correlation.current().traceparent == GOOD
    with spans.root("y"):
        assert correlation.current() == Correlation()


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={"PATH": "", **environ}, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported() -> None:
    done = run(
        "import sys; from pipeline_jobs.tracing import spans; spans.check()\n"
        "with spans.span('x', 'server'): pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_the_extra_one_line_says_so() -> None:
    done = run(
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from pipeline_jobs import logs; from pipeline_jobs.tracing import spans; logs.configure(); spans.check()\n"
        "with spans.span('x', 'server') as span: print(span.traceparent)",
        **URL,
    )
    (line,) = done.stderr.splitlines()
    assert "pip install 'pipeline-jobs[otel]'" in line
    assert done.stdout == "None\n"


def test_a_forked_child_sends_its_own_spans_and_what_is_left_when_it_ends() -> None:
    """The child ends by `os._exit`, as billiard's do; its parent had spans on the way when it forked."""
    with Collector() as collector:
        done = run(
            "import os\nfrom pipeline_jobs.tracing import spans\n"
            "with spans.span('parent', 'server', some__thing=None): pass\n"
            "child = os.fork()\n"
            "try:\n with spans.span('child' if not child else 'after', 'internal', a__b=1): raise KeyError('canary')\n"
            "except KeyError: pass\n"
            "if not child: spans.stop(10); os._exit(0)\n"
            "os.waitpid(child, 0)",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test",
        )
        assert (done.returncode, done.stderr) == (0, "")
        until(lambda: len(collector.spans) >= 3, "the spans")
        assert sorted(span.name for span in collector.spans) == ["after", "child", "parent"]
        assert {span.service for span in collector.spans} == {"pipeline-jobs"}
        (child,) = [span for span in collector.spans if span.name == "child"]
        # Of an error its class is told; its text may be a client's.
        assert (child.attributes, child.failed) == ({"a.b": 1, "error.type": "KeyError"}, True)


def test_a_collector_that_is_away_does_not_hold_up_the_end_of_a_process() -> None:
    done = run(
        "from pipeline_jobs.tracing import spans\nwith spans.span('x', 'server'): pass\nspans.stop(0.01)\nprint('ended')",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
    )
    assert (done.returncode, done.stdout) == (0, "ended\n")
