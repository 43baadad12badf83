"""The real parts as processes, for tests: workers, beat, the API and the `celery` command, on a server of the fixtures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.settings import Settings, env_names
from pipeline_jobs.states import JobStatus
from pipeline_jobs.up.stack import WORKER
from tests import bodies, preloaded
from tests.free_ports import free_port as free_port
from tests.living import group_lives
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
FLOWER_LOGIN = ("flower", "a-password-for-tests")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The environment that gives a process these settings, and no other of ours. What is the default is left out: an older one may not
    know it."""
    ours = env_names()
    defaults = {field: info.default for field, info in Settings.model_fields.items()}
    given = {name: (field, getattr(settings, field)) for name, field in ours.items()}
    values = {name: _text(value) for name, (field, value) in given.items() if value not in ("", None, defaults[field])}
    rest = {name: value for name, value in os.environ.items() if name not in ours}
    return {**rest, **values, **preloaded.PYTHON, **more}


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


class Stack:
    """Starts processes and stops all of them."""

    def __init__(self, client: Client, settings: Settings, folder: Path) -> None:
        self.client, self.settings, self.folder = client, settings, folder
        #: The Celery app in this process.
        self.app: Any = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._processes: list[subprocess.Popen[bytes]] = []
        #: The newest API.
        self.api_process: subprocess.Popen[bytes] | None = None
        #: The newest Flower.
        self.flower_process: subprocess.Popen[bytes] | None = None

    # -- processes

    def together(self, *starts: Callable[[], Any]) -> list[Any]:
        """Start several at once: each mostly waits. `_, api = stack.together(stack.maintenance, stack.api)`."""
        with ThreadPoolExecutor(len(starts)) as pool:
            return [started.result() for started in [pool.submit(start) for start in starts]]

    def run(self, name: str, *command: str, **env: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = preloaded.start(command, env=environment(self.settings, **env), stdout=log.fileno(), stderr=log.fileno())
        self._processes.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def worker(self, name: str = "jobs", *options: str, slots: int | None = None, **env: str) -> subprocess.Popen[bytes]:
        """A job worker, up and announced."""
        before = self._announced()
        process = self.run(
            name, sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", f"{name}@test", *WORKER, *options, **env
        )
        until(lambda: self._announced() - before or self._died(process, name), f"worker {name}")
        until(lambda: f"{name}@test ready" in self.log(name) or self._died(process, name), f"worker {name}")
        return process

    def maintenance(self) -> None:
        """A maintenance worker and beat, up."""
        self.run_maintenance()

    def run_maintenance(self, **env: str) -> None:
        """Likewise, with more in the worker's environment."""
        self.maintenance_worker("maintenance", **env)
        self.run_beat()

    def run_beat(self) -> None:
        """Only started."""
        self.run("beat", sys.executable, "-m", "celery", "-A", "celery_app", "beat", f"--schedule={self.folder}/schedule", "--pidfile=")

    def maintenance_worker(self, name: str, **env: str) -> subprocess.Popen[bytes]:
        """A maintenance worker, up."""
        process = self.run(
            name, sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", f"{name}@test", "-Q", "maintenance",
            "-c", "1", *WORKER, **env,
        )  # fmt: skip
        until(lambda: "ready." in self.log(name) or self._died(process, name), "the maintenance worker")
        return process

    def api(self, port: int | None = None, *, name: str = "api", processes: int = 1, **env: str) -> Api:
        """The API as `make run` has it, in one process; on the same port again after it was killed."""
        port = port or free_port()
        process = self.run(
            name, sys.executable, "-m", "gunicorn", "-c", "python:pipeline_jobs.web.gunicorn_conf", "--bind", f"127.0.0.1:{port}",
            "--workers", str(processes), "--no-control-socket", "wsgi:app", **env,
        )  # fmt: skip
        self.api_process = process
        api = Api(f"http://127.0.0.1:{port}")
        until(lambda: api.alive() or self._died(process, name), "the API")
        return api

    def exporter(self, port: int | None = None) -> Api:
        """The metrics exporter."""
        port = port or free_port()
        process = self.run("metrics", sys.executable, "-m", "pipeline_jobs.metrics_exporter", PIPELINE_METRICS_PORT=str(port))
        exporter = Api(f"http://127.0.0.1:{port}")
        until(lambda: exporter.alive("/metrics") or self._died(process, "metrics"), "the metrics exporter")
        return exporter

    def flower(self, **env: str) -> Api:
        port = free_port()
        process = self.run(
            "flower", sys.executable, "-m", "celery", "-A", "celery_app", "flower", f"--conf={ROOT}/flowerconfig.py", "--address=127.0.0.1",
            f"--port={port}", PIPELINE_FLOWER_PASSWORD=FLOWER_LOGIN[1], **env,
        )  # fmt: skip
        self.flower_process = process
        flower = Api(f"http://127.0.0.1:{port}", FLOWER_LOGIN)
        until(lambda: flower.alive("/healthcheck") or self._died(process, "flower"), "Flower")
        return flower

    def celery(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The `celery -A celery_app ...` command."""
        command = (sys.executable, "-m", "celery", "-A", "celery_app", *arguments)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
            process = preloaded.start(command, env=environment(self.settings), stdout=out.fileno(), stderr=error.fileno())
            self._processes.append(process)
            code = process.wait(180)
            out.seek(0)
            error.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), error.read())

    def inspect(self, what: str, worker: str = "jobs") -> Any:
        """What this worker answers to `celery inspect WHAT`."""
        node = f"{worker}@test"
        # With a destination the command returns as soon as that one has answered.
        done = self.celery("inspect", what, "--json", "--timeout", "60", "--destination", node)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)[node]

    def control(self, *words: str, worker: str = "jobs") -> subprocess.CompletedProcess[str]:
        """`celery control WORDS` of this worker: by itself the command waits a second, and a busy machine takes longer."""
        return self.celery("control", *words, "--timeout", "60", "--destination", f"{worker}@test")

    def reap(self) -> None:
        """Take note of what has ended: until then the system counts it as there."""
        for process in self._processes:
            process.poll()

    def stop(self) -> None:
        """Kill all. To be asked to end takes a process seconds; tests of that ask it themselves.

        Afterwards nobody waits for messages any more: the last child of a worker that lives has its connection, from which the server would
        give it the next test's first hint.
        Some may have ended before, and their children live on: those take jobs and send events, too.
        """
        self.reap()
        for process in filter(lambda one: group_lives(one.pid), self._processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()
            until(lambda process=process: not group_lives(process.pid), "what it has started to be gone")

    # -- jobs

    def submit(self, **fields: Any) -> Job:
        return self.client.submit(NewJob(**{"pipeline": "sleep", **fields}))

    def hold(self, **fields: Any) -> Job:
        """A job that runs until it is told to end."""
        return self.submit(pipeline=bodies.HOLD.name, **fields)

    def tell(self, *job_ids: str, words: int = 1) -> None:
        """Tell jobs that are held so many words more."""
        for job_id in job_ids:
            bodies.tell(self.settings.data_dir, job_id, words)

    def until_status(self, job_id: str, *statuses: JobStatus, seconds: float = 60) -> Job:
        def reached() -> Job | None:
            job = self.client.get(job_id)
            return job if job.status in statuses else None

        return until(reached, f"{job_id} to be {statuses}", seconds)

    def result(self, job: Job) -> Any:
        """All that a job gave: the record has the beginning only of what is large."""
        if job.result_ref is None:
            return job.result["data"]
        return json.loads((self.settings.data_dir / "artifacts" / job.result_ref).read_text("utf-8"))["data"]

    def cancel_all(self) -> None:
        """Cancel what a test that shares this stack has left, and wait until none of it runs."""
        for job in self.client.list(JobQuery(statuses=(JobStatus.QUEUED, JobStatus.RUNNING), limit=100)).items:
            self.client.cancel(job.job_id)
        until(lambda: not self.running(), "no job to run")

    def running(self) -> int:
        return sum(int(self.client.store.client.zcard(keys("leases"))) for keys in self.client.store.keys_of_pools())

    def _announced(self) -> set[str]:
        return {worker for keys in self.client.store.keys_of_pools() for worker in self.client.store.client.hkeys(keys("slots"))}

    def _died(self, process: subprocess.Popen[bytes], name: str) -> None:
        if process.poll() is not None:
            raise AssertionError(f"{name} ended with {process.returncode}:\n{self.log(name)[-3000:]}")


#: What the fixture `make_stack` gives: makes a stack with settings that are named.
MakeStack = Callable[..., Stack]


class Api:
    """The HTTP API as a client sees it; Flower with its login."""

    def __init__(self, url: str, login: tuple[str, str] | None = None) -> None:
        self.url, self.login = url, login

    def alive(self, path: str = "/health/live") -> bool:
        try:
            return requests.get(self.url + path, timeout=5).ok
        except requests.RequestException:
            return False

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, auth=self.login, **options)

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        return requests.post(self.url + path, json=body, timeout=90, auth=self.login, **options)

    def put(self, path: str, body: Any, **options: Any) -> requests.Response:
        return requests.put(self.url + path, json=body, timeout=60, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        return requests.delete(self.url + path, timeout=60, **options)
