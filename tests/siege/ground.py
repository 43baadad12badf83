"""The stack under siege: a store with a limit, two API processes with keys on, workers, maintenance and beat; and its watchers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.exceptions import RateLimited
from pipeline_jobs.jobs.bulk import cancel_matching
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.settings import load_settings
from pipeline_jobs.worker.app import create_celery
from tests.living import children
from tests.servers import Server
from tests.siege.pipelines import MODULE
from tests.stack import Api, Stack, free_port
from tests.waiting import until

STORE_BYTES = 512 * 2**20
API_PROCESSES = 2
ATTACKER, VICTIM = "attacker", "b"


class Ground:
    """The stack, the keys of both tenants, and what must not happen to it."""

    def __init__(self, stack: Stack, server: Server, url: str, process: Any) -> None:
        self.stack, self.url = stack, url
        self._server, self._api = server.client(), process
        keys = KeyStore(stack.client.store)
        _, self.attacker_key = keys.create(ATTACKER, Role.SUBMIT, actor="siege")
        _, self.victim_key = keys.create(VICTIM, Role.SUBMIT, actor="siege")
        self._alive = self._processes()
        self.peak = 0

    def _processes(self) -> dict[int, str]:
        """The processes of the API, and those that the stack started; a pool's children come and go with their jobs."""
        own = {process.pid: str(process.args)[-60:] for process in self.stack._processes if process.poll() is None}
        return own | {child.pid: "an API process" for child in children(self._api.pid)}

    def ended(self) -> list[str]:
        """What has ended since the last look."""
        now = self._processes()
        gone = [name for pid, name in self._alive.items() if pid not in now]
        self._alive = now
        return gone

    def close(self) -> None:
        self._server.close()

    def look_at_memory(self) -> None:
        self.peak = max(self.peak, int(self._server.info("memory")["used_memory"]))

    def clear(self) -> None:
        """Nothing of the attackers' waits or runs, so that the next calm is one."""
        # Again and again: what they sent last may be served later than their first cancellation.
        until(lambda: self._cancel() and not self._running(), "the attackers' jobs to end", 120)

    def _cancel(self) -> bool:
        """Of all their jobs; False: one of their own cancellations has its turn."""
        try:
            cancel_matching(self.stack.client.store, JobQuery(tenant_id=ATTACKER), dry_run=False, most=10_000_000)
        except RateLimited:
            return False
        return True

    def _running(self) -> int:
        store = self.stack.client.store
        return int(store.client.zcard(store.keys("tenant_status", ATTACKER, "running")))


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """The whole stack, up; all of it ends with the block."""
    server = Server(folder / "server", maxmemory=str(STORE_BYTES)).start()
    settings = load_settings(
        {
            "PIPELINE_REDIS_URL": server.url, "PIPELINE_DATA_DIR": str(folder / "data"), "ENABLE_PIPELINE_JOB_QUEUE": "1",
            "ENABLE_PIPELINE_RUN_API": "1", "PIPELINE_MODULES": f"examples.demo_pipelines,{MODULE}", "PIPELINE_SECRET_KEY": "siege",
            "PIPELINE_REQUIRE_KEYS": "1", "PIPELINE_CANCEL_GRACE_SECONDS": "2",
        }
    )  # fmt: skip
    app = create_celery(settings)
    stack = Stack(app.cell.client, settings, folder / "stack")
    try:
        stack.worker("jobs", "--autoscale=4,4")
        stack.maintenance()
        port = free_port()
        process = stack.run(
            "api", sys.executable, "-m", "gunicorn", "-c", "python:pipeline_jobs.web.gunicorn_conf", "--bind", f"127.0.0.1:{port}",
            "--workers", str(API_PROCESSES), "--no-control-socket", "wsgi:app",
        )  # fmt: skip
        api = Api(f"http://127.0.0.1:{port}")
        until(api.alive, "the API")
        until(lambda: len(children(process.pid)) == API_PROCESSES, "both API processes")
        at = Ground(stack, server, api.url, process)
        yield at
        at.close()
    finally:
        stack.stop()
        app.close()
        server.stop()
