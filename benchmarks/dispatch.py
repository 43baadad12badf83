"""Server time of the scripts that dispatch, from 1 to 10,000 tenants with jobs: `python -m benchmarks.dispatch`.

A cycle is: claim the dispatched job, finish it (which dispatches the next fair one), submit another. Then the dispatch alone, again and
again: the beat of a worker that brings one more slot each time. One client, a server of its own with `appendfsync everysec`. Two times
of each call: the server's own, from its slow log (what the script takes), and what its main thread was on a CPU for
(`/proc/.../schedstat`: script, network and the write to the AOF). On a machine that does other work the 99th percentile of the first is
that work's; the second knows no other work.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.settings import load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store import scripts
from pipeline_jobs.store.store import ClaimRefused, HintTemplate, Store, connect
from tests.servers import Server

TENANTS = (1, 10, 100, 1000, 10_000)
#: Dispatches that are sent at once.
PIPELINE = 500
SCRIPTS = ("submit", "claim", "finish", "announce")
TEMPLATE = HintTemplate("jobs", json.dumps({"body": "x" * 900, "id": "@ID@", "fence": "@FENCE@"}))


@dataclass
class Took:
    """Times of a script's calls, in microseconds."""

    script: list[float] = field(default_factory=list)
    on_cpu: list[float] = field(default_factory=list)

    def cell(self) -> str:
        return " ".join(f"{_at(values, 0.5):4.0f} /{_at(values, 0.99):5.0f}" for values in (self.script, self.on_cpu))


def _at(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _on_cpu(pid: int) -> float:
    """How long the server's main thread was on a CPU so far, in microseconds."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1000


def measure(server: Server, tenants: int, calls: int) -> dict[str, Took]:
    """The times of so many cycles."""
    with server.client() as raw:
        raw.flushall()
    settings = load_settings(
        {"PIPELINE_REDIS_URL": server.url, "PIPELINE_MAX_CONCURRENT_JOBS": "100000", "PIPELINE_ANNOUNCE_SECONDS": "1000"}
    )
    registry = Registry()
    registry.register(SLEEP)
    store = Store(connect(server.url), settings, template=TEMPLATE)
    client, raw = Client(store, registry, settings), store.client

    found = {name: Took() for name in SCRIPTS}
    pid = int(raw.info("server")["process_id"])

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        before = _on_cpu(pid)
        yield
        found[name].on_cpu.append(_on_cpu(pid) - before)

    def submit(number: int) -> None:
        # Past the client, which would wait for the disk at each.
        store.submit(client.prepare(NewJob(pipeline="sleep", tenant_id=f"t{number % tenants}")))

    for number in range(max(tenants, 2 * calls + 10)):
        submit(number)
    store.announce("w", 1, [])
    names = {scripts.function(name).name: name for name in SCRIPTS}
    raw.config_set("slowlog-max-len", 100 * calls)
    raw.slowlog_reset()
    # In microseconds: at 0 the server would log each command inside of a script, within its time.
    raw.config_set("slowlog-log-slower-than", 20)
    for number in range(calls):
        hint = json.loads(str(raw.rpop("jobs")))
        with timed("claim"):
            job = store.claim(hint["id"], int(hint["fence"]), worker="w", run="r")
        assert not isinstance(job, ClaimRefused)
        with timed("finish"):
            store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={"success": True, "data": {}})
        with timed("submit"):
            submit(number)
    # In pipelines: the server does nothing else, and does not fall asleep between two.
    function = scripts.function("announce").name
    with mock.patch.object(store.wire, "run", wraps=store.wire.run) as run:
        store.announce("w", 1, [])
    worker, _, *rest = run.call_args.args[2]
    for first in range(2, calls + 2, PIPELINE):
        with raw.pipeline(transaction=False) as pipe:
            for slots in range(first, first + PIPELINE):
                pipe.execute_command("FCALL", function, 1, store.keys.prefix, worker, slots, *rest)
            before = _on_cpu(pid)
            pipe.execute()
            found["announce"].on_cpu += [(_on_cpu(pid) - before) / PIPELINE] * PIPELINE
    raw.config_set("slowlog-log-slower-than", -1)
    dispatched = int(raw.zcard(store.keys("hints")))
    assert dispatched > calls, dispatched
    entries: Any = raw.slowlog_get(100 * calls)
    for entry in entries:
        words = entry["command"] if isinstance(entry["command"], str) else entry["command"].decode()
        command, _, rest = words.partition(" ")
        if command.upper() == "FCALL" and (name := names.get(rest.partition(" ")[0])):
            found[name].script.append(entry["duration"])
    raw.close()
    for name, took in found.items():
        assert len(took.script) >= calls, (name, len(took.script))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), appendfsync="everysec").start()
        try:
            print("us, median / 99th percentile: the script, then the server's thread on a CPU")
            print("tenants | " + " | ".join(f"{name:^23}" for name in (*SCRIPTS[:-1], "dispatch alone")))
            for tenants in TENANTS:
                took = measure(server, tenants, chosen.calls)
                print(f"{tenants:7} | " + " | ".join(took[name].cell() for name in SCRIPTS), flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
