"""What the figures share: servers with the two settings, contenders, processes, and the sizes of the short form."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import requests

from benchmarks.kit.peer import ROOT, Peer, python_of, spawn
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.worker.app import create_celery
from tests.postgres import Postgres, programs
from tests.servers import Server
from tests.stack import environment, free_port

#: The settings of the server: peers and ours on the same. `everysec` is what peers usually run on, `always` what ours does.
EVERYSEC, ALWAYS = "everysec", "always"
#: Databases of the contenders.
OURS, CELERY, RESULTS, RQ, DRAMATIQ, HUEY, LIMIT = range(7)
PEER_DBS = {"celery": CELERY, "rq": RQ, "dramatiq": DRAMATIQ, "huey": HUEY, "limit": LIMIT, "taskiq": 9}
#: Results of those that keep theirs in a database of their own.
RESULT_DBS = {"dramatiq": 8, "taskiq": 10}
#: The peer that works on PostgreSQL.
PROCRASTINATE = "procrastinate"
#: gunicorn for peers and the hello endpoint: as many processes and threads as ours.
STOCK = ("--worker-class", "gthread", "--workers", "2", "--threads", "16", "--keep-alive", "15")


class Bench:
    """One run of figures."""

    def __init__(self, folder: Path, *, rounds: int, smoke: bool) -> None:
        self.folder, self.rounds, self.smoke = folder, rounds, smoke
        self._servers: dict[str, Server] = {}
        self._peers: dict[tuple[str, ...], Peer] = {}
        self._postgres: dict[str, Postgres] = {}
        self.jobs = cache(self._jobs)

    def size(self, full: int, smoke: int) -> int:
        """How much of something."""
        return smoke if self.smoke else full

    # -- servers

    def server(self, fsync: str = EVERYSEC) -> Server:
        """The server with this `appendfsync`, started when first asked for."""
        if fsync not in self._servers:
            self._servers[fsync] = Server(self.folder / f"server-{fsync}", appendfsync=fsync).start()
        return self._servers[fsync]

    def url(self, db: int, fsync: str = EVERYSEC) -> str:
        return self.server(fsync).url.removesuffix("/0") + f"/{db}"

    def postgres(self, fsync: str = EVERYSEC) -> Postgres:
        """A PostgreSQL server whose commits wait for the disk as writes with this `appendfsync` do, started when first asked for."""
        if fsync not in self._postgres:
            self._postgres[fsync] = Postgres(self.folder / f"postgres-{fsync}", synchronous=fsync == ALWAYS)
        return self._postgres[fsync]

    def peers(self, *names: str) -> tuple[str, ...]:
        """Those of them that can be measured on this machine; what is missing is said."""
        if PROCRASTINATE in names and programs() is None:
            print("  LEFT OUT: procrastinate, as PostgreSQL is not installed (Debian: apt install postgresql)", file=sys.stderr, flush=True)
            return tuple(name for name in names if name != PROCRASTINATE)
        return names

    def forget(self, name: str, fsync: str = EVERYSEC) -> None:
        """Empty what a contender has stored."""
        if name == PROCRASTINATE:
            self.peer(name, fsync).call("flush")
            return
        self.flush(OURS if name == "ours" else PEER_DBS[name], fsync)
        self.flush(RESULT_DBS.get(name, RESULTS), fsync)

    def flush(self, db: int, fsync: str = EVERYSEC) -> None:
        with self.server(fsync).client() as client:
            client.execute_command("SELECT", db)
            # Not in the background, where it would take time and memory from what is measured next.
            client.execute_command("FLUSHDB", "SYNC")

    # -- ours

    def environ(self, fsync: str = EVERYSEC, **more: str) -> dict[str, str]:
        """Our settings. With `everysec` a submit does not wait for the disk (PIPELINE_ALLOW_UNSAFE_STORE): no peer does."""
        return {
            "PIPELINE_REDIS_URL": self.url(OURS, fsync),
            "PIPELINE_DATA_DIR": str(self.folder / f"data-{fsync}"),
            "PIPELINE_MODULES": "benchmarks.pipelines",
            "PIPELINE_MAX_QUEUED": "5000000",
            "PIPELINE_MAX_QUEUED_PER_TENANT": "5000000",
            "PIPELINE_CANARY_SECONDS": "0",
            "ENABLE_PIPELINE_JOB_QUEUE": "1",
            **({"PIPELINE_ALLOW_UNSAFE_STORE": "1"} if fsync == EVERYSEC else {}),
            **more,
        }

    def settings(self, fsync: str = EVERYSEC, **more: str) -> Settings:
        return load_settings(self.environ(fsync, **more))

    def _jobs(self, fsync: str = EVERYSEC) -> Any:
        """Our cell, in this process."""
        return create_celery(self.settings(fsync, PIPELINE_ANNOUNCE_SECONDS="1000")).cell

    # -- submitting sides

    def peer(self, name: str, fsync: str = EVERYSEC) -> Peer:
        """A peer's submitting side: celery, rq, dramatiq, huey, taskiq, procrastinate, or limit."""
        if (name, fsync) not in self._peers:
            # In the short form Celery is the one that we run on: nothing is installed.
            here = name == "limit" or (self.smoke and name == "celery")
            python = sys.executable if here else python_of(name)
            self._peers[name, fsync] = Peer(name, f"{name}_peer.py", python, self.peer_environ(name, fsync), self.folder / f"{name}.log")
        return self._peers[name, fsync]

    def peer_environ(self, name: str, fsync: str = EVERYSEC) -> dict[str, str]:
        if name == PROCRASTINATE:
            return {"BENCH_POSTGRES": self.postgres(fsync).connection}
        return {"BENCH_BROKER": self.url(PEER_DBS[name], fsync), "BENCH_RESULTS": self.url(RESULT_DBS.get(name, RESULTS), fsync)}

    def ours(self, fsync: str = EVERYSEC, **more: str) -> Peer:
        """Our submitting side, a process like the peers'."""
        key = ("ours", fsync, *(f"{name}={value}" for name, value in sorted(more.items())))
        if key not in self._peers:
            settings = self.settings(fsync, PIPELINE_ANNOUNCE_SECONDS="1000", **more)
            self._peers[key] = Peer("ours", "ours_peer.py", sys.executable, environment(settings), self.folder / "ours.log")
        return self._peers[key]

    # -- processes

    @contextmanager
    def process(
        self, name: str, command: list[str], environ: dict[str, str], ready: Callable[[], bool], **options: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process, up; ended with its children."""
        log = self.folder / f"{name}.log"
        process = spawn(command, {**os.environ, **environ}, log, **options)
        try:
            deadline = time.monotonic() + 60
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{name} did not come up:\n{log.read_text('utf-8', 'replace')[-3000:]}")
                time.sleep(0.05)
            yield process
        finally:
            self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            # A group that was stopped hears nothing.
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    @contextmanager
    def web(self, name: str, python: str, app: str, environ: dict[str, str], path: str, *options: str, **more: Any) -> Iterator[str]:
        """A WSGI app under gunicorn, with its threaded worker unless told otherwise. Gives its address."""
        address = f"http://127.0.0.1:{free_port()}"
        command = [
            python, "-m", "gunicorn", "--bind", address.removeprefix("http://"), "--no-control-socket", *(options or STOCK), app,
        ]  # fmt: skip
        with self.process(name, command, environ, lambda: answers(address + path), **more):
            yield address

    def our_web(self, fsync: str = EVERYSEC, **more: str) -> Any:
        """Our API under gunicorn, with its own settings of it."""
        environ = environment(self.settings(fsync, PIPELINE_REQUIRE_KEYS="1", **more))
        return self.web(
            f"api-{fsync}", sys.executable, "wsgi:app", environ, "/health/live", "-c", "python:pipeline_jobs.web.gunicorn_conf", cwd=ROOT
        )

    def close(self) -> None:
        for peer in self._peers.values():
            peer.stop()
        for server in self._servers.values():
            server.stop()
        for postgres in self._postgres.values():
            postgres.stop()


def answers(url: str) -> bool:
    """Somebody serves there."""
    try:
        requests.get(url, timeout=2)
    except requests.RequestException:
        return False
    return True


def percentile(values: list[float], share: float) -> float:
    """0.5: the median."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


__all__ = ["ALWAYS", "CELERY", "EVERYSEC", "OURS", "RESULTS", "ROOT", "Bench", "answers", "free_port", "percentile"]
