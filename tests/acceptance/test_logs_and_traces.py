"""Log lines and traces of the real stack: one format, one request id everywhere, one trace from the request to the webhook, and quiet when
nothing happens."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from typing import Any

from pipeline_jobs.states import JobStatus
from tests.collector import Collector, Received
from tests.receiver import Receiver
from tests.stack import Api, MakeStack, Stack, free_port
from tests.waiting import until

PROCESSES = ("api", "jobs", "maintenance", "beat")
#: Of a client that traces itself.
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def lines(stack: Stack, name: str) -> list[dict[str, Any]]:
    """The lines of a process whose log is JSON. What Celery prints (its banner, and that it was told to stop) is not of the log."""
    text = stack.log(name)
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert all({"event", "level", "timestamp", "logger"} <= line.keys() for line in found)
    return found


def of_request(stack: Stack, name: str, request_id: str) -> list[dict[str, Any]]:
    return [line for line in lines(stack, name) if line.get("request_id") == request_id]


def test_one_request_id_is_in_the_access_line_the_record_the_workers_lines_the_webhook_and_the_trace(make_stack: MakeStack) -> None:
    stack, api_port = make_stack(webhook_allow_private=True, webhook_seconds=0.2, log_format="json"), free_port()
    with Collector() as collector, Receiver() as receiver:
        # Of themselves they would send what they have after an hour: what comes, comes at the end of each process.
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        stack.together(
            partial(stack.run_maintenance, **otel),
            partial(stack.worker, slots=None, **otel),
            partial(stack.api, api_port, name="api", processes=1, **otel),
        )
        api = Api(f"http://127.0.0.1:{api_port}")
        headers = {"X-Request-ID": "order-4711", "traceparent": f"00-{TRACE}-{PARENT}-01"}
        asked = {"pipeline": "broken", "tenant_id": "acme", "webhook": {"url": receiver.url("/?token=canary-hook")}}
        answer = api.post("/pipeline/jobs?token=canary-query", asked, headers=headers)
        made = answer.json()
        job = stack.until_status(made["job_id"], JobStatus.FAILED)
        until(lambda: receiver.hits, "the webhook")
        until(lambda: of_request(stack, "maintenance", "order-4711"), "the line of the webhook")
        end_each(stack)

        # The record.
        assert (job.request_id, made["request_id"]) == ("order-4711", "order-4711")
        # The access line.
        (access,) = [line for line in lines(stack, "api") if line.get("job_id") == job.job_id and line["logger"] == "pipeline_jobs.access"]
        about = {name: access[name] for name in ("method", "rule", "status", "tenant", "request_id", "level")}
        assert about == {
            "method": "POST", "rule": "/pipeline/jobs", "status": 201, "tenant": "acme", "request_id": "order-4711", "level": "info"
        }  # fmt: skip
        assert access["ms"] > 0
        assert access["bytes"] == len(answer.content)
        # The worker's lines: those of its child say all, that of its main process what a message has.
        said = [line for line in lines(stack, "jobs") if line.get("job_id") == job.job_id]
        assert [line["logger"] for line in said] == [
            "celery.worker.strategy", "celery.redirected", "pipeline_jobs.jobs.executor", "celery.app.trace",
        ]  # fmt: skip
        assert {line["tenant"] for line in said} == {"acme"}
        printed, failed, ended = of_request(stack, "jobs", "order-4711")
        assert printed["event"] == "about to break"
        assert "LookupError: broken" in failed["exception"]
        assert (failed["event"], "raised unexpected: JobFailed" in ended["event"]) == ("stage failed", True)
        assert {(line["stage"], line["attempt"], line["job_id"]) for line in (failed, ended)} == {("break", 1, job.job_id)}
        # The webhook.
        sent = json.loads(receiver.hits[0].body)
        assert (receiver.hits[0].headers["x-request-id"], sent["data"]["request_id"]) == ("order-4711", "order-4711")
        (delivered,) = of_request(stack, "maintenance", "order-4711")
        assert (delivered["event"], delivered["job_id"], delivered["tenant"]) == ("webhook", job.job_id, "acme")
        # The trace.
        spans = collector.of_trace(TRACE)
        assert spans.keys() == {"POST /pipeline/jobs", "queue", "run broken", "stage break", "webhook"}
        assert_one_trace(spans, receiver.hits[0].headers["traceparent"])
        assert spans["run broken"].attributes["request_id"] == spans["POST /pipeline/jobs"].attributes["request_id"] == "order-4711"
        assert (spans["run broken"].failed, spans["stage break"].failed, spans["webhook"].failed) == (True, True, False)
        assert "canary-" not in str(collector.spans) + "".join(stack.log(name) for name in PROCESSES)


def end_each(stack: Stack) -> None:
    """As a supervisor does: a signal to the main processes, which end their children."""
    for process in stack._processes:
        process.terminate()
    for process in stack._processes:
        process.wait(60)


def assert_one_trace(spans: dict[str, Received], told: str) -> None:
    request, queue, run = spans["POST /pipeline/jobs"], spans["queue"], spans["run broken"]
    assert request.parent_id == PARENT
    assert {spans[name].parent_id for name in ("queue", "run broken", "webhook")} == {request.span_id}
    assert spans["stage break"].parent_id == run.span_id
    assert told == f"00-{TRACE}-{spans['webhook'].span_id}-01"
    assert queue.start <= queue.end
    assert run.start <= spans["stage break"].start <= spans["stage break"].end <= run.end
    assert {span.service for span in spans.values()} == {"pipeline-jobs"}


def test_a_level_hides_what_is_below_it_and_no_error_of_ours(make_stack: MakeStack) -> None:
    stack = make_stack()
    command = ("worker", "-n", "jobs@test", "--without-mingle", "--loglevel=ERROR")
    process = stack.run("jobs", sys.executable, "-m", "celery", "-A", "celery_app", *command)
    api = stack.api()
    until(lambda: stack._announced() or process.poll() is not None, "the worker")
    job = api.post("/pipeline/jobs", {"pipeline": "broken"}, headers={"traceparent": "none"}).json()
    stack.until_status(job["job_id"], JobStatus.FAILED)
    text = stack.log("jobs")
    assert re.search(
        r"\[error +\] stage failed .* attempt=1 job_id=\S+ request_id=\w+ stage=break tenant=default workspace=main\n  \| ", text
    ), text
    assert not re.search(r"\[(info|warning|debug) ", text), text
    # The log of the job has all of it, whatever the worker's own log shows.
    said = [(line["level"], line["logger"], line["message"]) for line in api.get(f"/pipeline/jobs/{job['job_id']}/logs").json()["lines"]]
    assert said[:2] == [("INFO", "stdout", "about to break"), ("DEBUG", "stage", "and how")]
    assert (said[2][0], said[2][2].splitlines()[-1]) == ("ERROR", "LookupError: broken")
    # A header that is no trace is as if absent.
    assert stack.client.get(job["job_id"]).traceparent is None
    # Neither a probe's request nor a scrape's is worth a line.
    assert api.get("/health/live").ok
    assert api.get("/metrics").ok
    assert api.get("/pipeline/jobs").ok
    until(lambda: "rule=/pipeline/jobs status=200" in stack.log("api"), "the access line")
    assert not re.search(r"rule=/(health|metrics)\S* status=200", stack.log("api"))


def test_a_stack_with_nothing_to_do_says_nothing(make_stack: MakeStack) -> None:
    """Beat ticks every half second, a canary runs each second: what is counted is beats, not time."""
    stack, port = make_stack(canary_seconds=1.0, fire_seconds=0.5, webhook_seconds=0.5), free_port()
    stack.together(stack.maintenance, stack.worker, partial(stack.api, port))
    api = Api(f"http://127.0.0.1:{port}")
    store = stack.client.store
    first = until(lambda: store.text("heartbeat", "canary"), "a canary that came back")
    # The last thing that it says of its start, on the side.
    until(lambda: "no_api_key_so_loopback_only" in stack.log("api"), "the API to have started")
    before = {name: len(stack.log(name).splitlines()) for name in PROCESSES}
    beats: set[str | None] = set()

    def beaten() -> bool:
        assert api.get("/health/live").ok
        beats.add(store.text("heartbeat", "canary"))
        return len(beats - {first}) >= 3

    until(beaten, "three canaries")
    assert {name: stack.log(name).splitlines()[count:] for name, count in before.items()} == {name: [] for name in PROCESSES}
