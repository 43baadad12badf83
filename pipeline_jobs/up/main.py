"""The order of events of `python -m pipeline_jobs.up`: ports, server, the rest, readiness, the sample job, serving, the end."""

from __future__ import annotations

import argparse
import fcntl
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

import requests
from rich.console import Console

from pipeline_jobs.access.secret_files import FLOWER_PASSWORD, FLOWER_USER, kept_secret
from pipeline_jobs.exceptions import ConfigurationError, PipelineJobsError
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.starting import environment
from pipeline_jobs.up import access, exporter, readiness, sample, stack
from pipeline_jobs.up.display import JobView, say, show_result
from pipeline_jobs.up.ports import choose_ports
from pipeline_jobs.up.supervisor import Supervisor

#: How long all parts together may take to get ready, in seconds.
READY_SECONDS = 90.0
#: How often a serving stack looks for processes that have ended, in seconds.
WATCH_SECONDS = 0.5
CLIP = stack.ROOT / "samples" / "welcome.mp4"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP. No `except Exception` may swallow it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the local stack.

    :return: 0 after serving, with `--once` if the sample job completed; 1 if something failed; 2 if a setting is wrong;
        130 if it was interrupted before it served.
    """
    parser = argparse.ArgumentParser(prog="pipeline-jobs", description="Run every part of pipeline-jobs here, with one sample job.")
    parser.add_argument("--once", action="store_true", help="end after the sample job; exit 0 only if it completed")
    once = parser.parse_args(arguments).once
    console = Console()
    try:
        return run(environment(), console, once=once)
    except (Interrupted, KeyboardInterrupt):
        say(console, "Interrupted.")
        return 130
    except ConfigurationError as error:
        say(console, f"Error: {error}")
        return 2
    except (PipelineJobsError, requests.RequestException) as error:
        say(console, f"Error: {error}")
        return 1


def run(environ: Mapping[str, str], console: Console, *, once: bool) -> int:
    """See `main`. Whatever happens, nothing that it started is left when it returns."""
    began = time.monotonic()
    stack.check_root()
    clip = sample.check_clip(CLIP)
    settings = load_settings({**environ, **stack.FLAGS})
    embedded = stack.external_store(environ) is None
    with only_one(settings.data_dir):
        ports = choose_ports(stack.wishes(settings, embedded=embedded))
        env = stack.environment(environ, settings, ports)
        settings = load_settings(env)
        supervisor = Supervisor(settings.data_dir / "logs", stack.ROOT, env)
        with stopping(supervisor, console):
            start(supervisor, settings, console, embedded=embedded)
            say(console, f"Jobs are accepted after {time.monotonic() - began:.1f} s; including media from private and loopback addresses.")
            with sample.serve(clip.parent) as clips:
                completed = run_sample(supervisor, settings, console, f"{clips}/{clip.name}")
                say(console, f"The first job ended after {time.monotonic() - began:.1f} s.")
                wait_for_all(supervisor, settings, console)
                if once:
                    return 0 if completed else 1
                exporter_port = start_exporter(supervisor, settings, console)
                show_addresses(console, settings, exporter_port, f"{clips}/{clip.name}", flower_login(environ, settings))
                serve(supervisor, console)
    return 0


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data folder: two servers on one AOF would ruin it.

    :raises ConfigurationError: another stack has it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(f"another stack runs on {data_dir}: stop it, or set PIPELINE_DATA_DIR to another folder") from None
        yield


@contextmanager
def stopping(supervisor: Supervisor, console: Console) -> Iterator[None]:
    """Turn the first signal into `Interrupted`; in the end stop everything. A signal while stopping cuts the grace short."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        for each in _SIGNALS:
            signal.signal(each, hurry)
        raise Interrupted

    def hurry(number: int, frame: FrameType | None) -> None:
        supervisor.hurry = True

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number in _SIGNALS:
            signal.signal(number, hurry)
        if supervisor.children:
            say(console, "Stopping ...")
            supervisor.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def start(supervisor: Supervisor, settings: Settings, console: Console, *, embedded: bool) -> None:
    """Start everything at once but the server, which is first, and wait until jobs are accepted and run.

    :raises ProcessDied: one ended; carries the end of its log.
    :raises NotReady: one does not answer.
    """
    deadline, tell = time.monotonic() + READY_SECONDS, partial(say, console)
    say(console, f"Starting; logs are in {supervisor.log_dir}")
    if embedded:
        supervisor.start(stack.server(settings))
        ping = readiness.ping(stack.LOOPBACK, settings.redis_port)
        readiness.wait_until("the server", ping, deadline=deadline, alive=supervisor.check, tell=tell)
    else:
        # Before the others, which would wait for it in silence.
        store = readiness.reachable(settings.redis_url)
        readiness.wait_until("the store", store, deadline=deadline, alive=supervisor.check, tell=tell)
    for command in stack.processes(settings):
        supervisor.start(command)
    api = api_address(settings)
    readiness.wait_until("the API", readiness.http_ok(f"{api}/health/live"), deadline=deadline, alive=supervisor.check, tell=tell)
    parts = readiness.parts_ok(f"{api}/health/ready", ("store", "broker", "workers"))
    readiness.wait_until("the API", parts, deadline=deadline, alive=supervisor.check, tell=tell)


def wait_for_all(supervisor: Supervisor, settings: Settings, console: Console) -> None:
    """Wait for the parts that no job needs: beat, which shows itself by its first duty only, and Flower.

    :raises ProcessDied: one ended; carries the end of its log.
    :raises NotReady: one does not answer.
    """
    deadline, tell = time.monotonic() + READY_SECONDS, partial(say, console)
    parts = readiness.parts_ok(f"{api_address(settings)}/health/ready", ("store", "broker", "workers", "beat"))
    readiness.wait_until("the stack", parts, deadline=deadline, alive=supervisor.check, tell=tell)
    flower = readiness.http_ok(f"{flower_address(settings)}/healthcheck")
    readiness.wait_until("Flower", flower, deadline=deadline, alive=supervisor.check, tell=tell)


def run_sample(supervisor: Supervisor, settings: Settings, console: Console, url: str) -> bool:
    """Submit the sample clip, show its progress and its result. True if it completed."""
    api = api_address(settings)
    with access.headers(settings, sample.TENANT) as headers:
        job = sample.submit(api, url, headers=headers)
        say(console, f"Job {job['job_id']} of tenant {job['tenant_id']}: {url}")
        with JobView(console) as view:
            job = sample.follow(api, job, show=view.show, alive=supervisor.check, headers=headers)
    show_result(console, job)
    return bool(job["status"] == "completed")


def start_exporter(supervisor: Supervisor, settings: Settings, console: Console) -> int | None:
    """Start celery-exporter if its port is free.

    :return: the port; None if it is not started (said, never an error).
    """
    try:
        ports = choose_ports({"PIPELINE_EXPORTER_PORT": (stack.LOOPBACK, settings.exporter_port)})
    except ConfigurationError as error:
        say(console, f"celery-exporter is not started: {error}")
        return None
    port = ports["PIPELINE_EXPORTER_PORT"]
    supervisor.start(stack.exporter(settings, port))
    return port


def show_addresses(console: Console, settings: Settings, exporter_port: int | None, clip_url: str, login: str) -> None:
    """Where everything is, and how to submit another job."""
    api = api_address(settings)
    addresses = {
        **({"page": f"{api}/pipeline/ui"} if settings.ui else {}),
        "API": f"{api}/pipeline/jobs",
        "docs": f"{api}/docs",
        "metrics": f"{metrics_address(settings)}/metrics",
        "health": f"{api}/health/ready",
        "Flower": f"{flower_address(settings)} ({login})",
        "store": settings.redis_url,
    }
    if exporter_port is not None:
        soon = "" if exporter.installed() else "; it is being installed"
        addresses["exporter"] = f"http://{stack.LOOPBACK}:{exporter_port}/metrics (Celery's own metrics, by celery-exporter{soon})"
    say(console)
    for name, address in addresses.items():
        say(console, f"  {name:<11} {address}")
    say(console)
    show_how_to_go_on(console, settings, clip_url)


def show_how_to_go_on(console: Console, settings: Settings, clip_url: str) -> None:
    """A command that submits another job, and what it and others need in a terminal of their own."""
    own = f"redis://{stack.LOOPBACK}:{settings.redis_port}/0"
    if own == settings.redis_url != Settings.model_fields["redis_url"].default:
        say(console, f"Commands in another terminal need: export PIPELINE_REDIS_URL={own}")
    key = ""
    if access.required(settings):
        key = ' -H "Authorization: Bearer $KEY"'
        say(console, "There are API keys, so each request needs one. Another key, in this folder:")
        say(console, "  KEY=$(.venv/bin/python -m pipeline_jobs key create --all-tenants --role admin --name me)")
    body = f'{{"url": "{clip_url}", "tenant_id": "acme"}}'
    say(console, f"Another job: curl {api_address(settings)}/pipeline/jobs{key} -H 'Content-Type: application/json' -d '{body}'")


def serve(supervisor: Supervisor, console: Console) -> None:
    """Until a signal comes. A process that ends is told and started again; the others go on: they are made to bear it."""
    try:
        say(console, "Serving until Ctrl-C.")
        while True:
            for child in supervisor.ended():
                last = next(iter(child.last_lines(1)), "it wrote nothing")
                say(console, f"{child.name} {child.how_it_ended} ({child.log}): {last}")
            supervisor.revive()
            time.sleep(WATCH_SECONDS)
    except Interrupted:
        return


def api_address(settings: Settings) -> str:
    """Where this machine reaches the API, whatever address it listens on or is known by outside."""
    host = {"0.0.0.0": stack.LOOPBACK, "::": "::1"}.get(settings.http_host, settings.http_host)  # noqa: S104 - compared, not bound  # nosec B104
    return f"http://{stack.bracketed(host)}:{settings.http_port}"


def flower_login(environ: Mapping[str, str], settings: Settings) -> str:
    """How to sign in to Flower, for people; `flowerconfig.py` decides likewise.

    :raises ConfigurationError: its password cannot be kept.
    """
    own = next((name for name in ("FLOWER_BASIC_AUTH", "FLOWER_AUTH") if environ.get(name)), "")
    if own:
        return f"sign in as {own} says"
    if settings.flower_password:
        return f"sign in as {FLOWER_USER} with PIPELINE_FLOWER_PASSWORD"
    return f"sign in as {FLOWER_USER} with the password {kept_secret(settings.data_dir / FLOWER_PASSWORD)}"


def metrics_address(settings: Settings) -> str:
    """Of the metrics exporter."""
    return f"http://{stack.bracketed(settings.metrics_host)}:{settings.metrics_port}"


def flower_address(settings: Settings) -> str:
    return f"http://{stack.LOOPBACK}:{settings.flower_port}"
