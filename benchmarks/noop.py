"""Bar 6: jobs that do nothing, from the submit to the end, two worker processes, Flower watching ours and Celery's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import redis

from benchmarks.http_post import flower_of_peer
from benchmarks.kit.bench import ALWAYS, EVERYSEC, OURS, RESULTS, ROOT, Bench, answers, free_port
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios
from benchmarks.kit.peer import python_of
from tests.stack import environment

#: How long a round may take, in seconds.
PATIENCE = 180


@dataclass
class Contender:
    """A running worker, how many jobs it has ended, and how jobs are given to it."""

    worker: subprocess.Popen[bytes]
    ended: Callable[[], int]
    submit: Callable[[int], object]
    jobs: int
    #: Seconds between two looks whether they have ended.
    look: float = 0.01

    def drain(self) -> float:
        """Jobs a second: the worker stands still while they are submitted, then it is let go."""
        target = self.ended() + self.jobs
        os.killpg(self.worker.pid, signal.SIGSTOP)
        try:
            self.submit(self.jobs)
        finally:
            os.killpg(self.worker.pid, signal.SIGCONT)
        return self._until(target)

    def both(self) -> float:
        """Jobs a second from the first submit to the last end, while the worker runs."""
        target = self.ended() + self.jobs
        start = time.perf_counter()
        self.submit(self.jobs)
        self._until(target)
        return self.jobs / (time.perf_counter() - start)

    def _until(self, target: int) -> float:
        start = time.perf_counter()
        while self.ended() < target:
            if time.perf_counter() - start > PATIENCE:
                raise RuntimeError(f"{self.ended()} of {target} jobs ended")
            time.sleep(self.look)
        return self.jobs / (time.perf_counter() - start)


def run(bench: Bench) -> Outcome:
    outcome = Outcome(
        notes=[
            "Two pool processes each. `celery` is prefork with -E, task_track_started and result_extended, watched by its Flower; "
            "ours the same "
            "with its record, leases and fair dispatch, watched by ours (the cap of jobs over all workers is 4, so that a child finds "
            "its next "
            "job waiting and takes it without a message: decision 0012). "
            "`ended` rows: the worker is stopped (SIGSTOP) while the jobs are submitted, and timed from SIGCONT. "
            "`submit + ended` "
            "rows: from the first submit to the last end.",
            "dramatiq, huey and taskiq with stored results, rq with its worker pool of 2 (a fork for each job); procrastinate on "
            "PostgreSQL (`synchronous_commit` off beside `everysec`, on beside `always`), two processes of one job each.",
        ]
    )
    for fsync in (EVERYSEC, ALWAYS):
        with contenders(bench, fsync) as found:
            for contender in found.values():
                contender.both()
            samples = alternate(bench.rounds, {name: contender.drain for name, contender in found.items()})
            outcome.rows += [Row(f"{name}, ended ({fsync})", "jobs/s", values) for name, values in samples.items()]
            if fsync == ALWAYS:
                outcome.bars += [Bar(6, "no-op jobs ended, ours / celery", ">=", 0.9, ratios(samples["ours"], samples["celery"]))]
                pair = {name: found[name].both for name in ("ours", "celery")}
                samples = alternate(bench.rounds, pair)
                outcome.rows += [Row(f"{name}, submit + ended ({fsync})", "jobs/s", values) for name, values in samples.items()]
                outcome.bars += [Bar(6, "submit + ended, ours / celery", ">=", 0.9, ratios(samples["ours"], samples["celery"]))]
    return outcome


@contextmanager
def contenders(bench: Bench, fsync: str) -> Iterator[dict[str, Contender]]:
    """Workers of all, up."""
    with ExitStack() as stack:
        found = {"ours": stack.enter_context(ours(bench, fsync)), "celery": stack.enter_context(celery(bench, fsync))}
        found |= {name: stack.enter_context(peer(bench, name, fsync)) for name in bench.peers(*_PEERS)}
        yield found


@contextmanager
def ours(bench: Bench, fsync: str, *options: str, slots: int = 4, flower: bool = True, **more: str) -> Iterator[Contender]:
    """Our worker with two processes and Flower."""
    bench.flush(OURS, fsync)
    settings = bench.settings(fsync, PIPELINE_ANNOUNCE_SECONDS="5", PIPELINE_MAX_CONCURRENT_JOBS=str(slots), **more)
    store = bench.jobs(fsync).client.store
    environ = environment(settings)
    celery = [sys.executable, "-m", "celery", "-A", "celery_app"]
    worker = [*celery, "worker", "-n", "jobs@bench", "-E", f"--autoscale={slots},2", "--without-mingle", "--loglevel=WARNING", *options]
    url = f"http://127.0.0.1:{(port := free_port())}"
    watching = [*celery, "flower", f"--conf={ROOT}/flowerconfig.py", "--address=127.0.0.1", f"--port={port}"]
    with ExitStack() as stack:
        up = lambda: bool(store.client.hlen(store.keys("slots")))  # noqa: E731
        process = stack.enter_context(bench.process(f"ours-worker-{fsync}", worker, environ, up, cwd=ROOT))
        if flower:
            stack.enter_context(bench.process(f"ours-flower-{fsync}", watching, environ, lambda: answers(f"{url}/healthcheck"), cwd=ROOT))
        peer = bench.ours(fsync)
        yield Contender(
            process,
            lambda: int(store.client.zcard(store.keys("status", "completed"))),
            lambda n: peer.call("enqueue", n=n, limits=False, idempotency=False),
            bench.size(1500, 20),
        )


@contextmanager
def celery(bench: Bench, fsync: str, *options: str, flower: bool = True) -> Iterator[Contender]:
    """Plain Celery's worker with two processes and Flower."""
    bench.flush(RESULTS, fsync)
    environ = bench.peer_environ("celery", fsync)
    command = [
        python_of("celery"), "-m", "celery", "-A", "celery_peer", "worker", "-n", "plain@bench", "-E", "-c", "2", "--without-mingle",
        "--loglevel=WARNING", *options,
    ]  # fmt: skip
    results, broker = redis.Redis.from_url(bench.url(RESULTS, fsync)), redis.Redis.from_url(environ["BENCH_BROKER"])
    # At WARNING it does not say that it is ready; the last thing it makes is the queue for commands.
    broker.delete(pidbox := "_kombu.binding.celery.pidbox")
    with (
        bench.process(f"celery-worker-{fsync}", command, environ, lambda: bool(broker.exists(pidbox))) as worker,
        flower_of_peer(bench, fsync) if flower else nullcontext(),
    ):
        peer = bench.peer("celery", fsync)
        yield Contender(worker, results.dbsize, lambda n: peer.call("enqueue", n=n), bench.size(1500, 20))


#: Command of a worker of two processes, and jobs a round.
_PEERS = {
    "dramatiq": (["-m", "dramatiq", "dramatiq_peer", "--processes", "2", "--threads", "1", "--skip-logging"], 3000),
    "huey": (["-m", "huey.bin.huey_consumer", "huey_peer.huey", "-w", "2", "-k", "process", "-q"], 3000),
    "rq": (["-m", "rq.cli", "worker-pool", "-n", "2", "-q"], 150),
    "taskiq": (["-m", "taskiq", "worker", "taskiq_peer:broker", "--workers", "2", "--log-level", "WARNING"], 3000),
    "procrastinate": (["procrastinate_peer.py", "worker"], 800),
}


@contextmanager
def peer(bench: Bench, name: str, fsync: str) -> Iterator[Contender]:
    """Another library's worker with two processes."""
    arguments, jobs = _PEERS[name]
    environ = bench.peer_environ(name, fsync)
    submitting = bench.peer(name, fsync)
    if name == "rq":
        arguments = [*arguments, "-u", environ["BENCH_BROKER"]]
    with bench.process(f"{name}-worker", [python_of(name), *arguments], environ, lambda: True) as worker:
        yield Contender(worker, _ended(bench, name, fsync), lambda n: submitting.call("enqueue", n=n), bench.size(jobs, 10))


def _ended(bench: Bench, name: str, fsync: str) -> Callable[[], int]:
    """How many of a peer's jobs have ended."""
    if name == "procrastinate":
        return lambda: int(bench.peer(name, fsync).call("ended"))
    environ = bench.peer_environ(name, fsync)
    broker, results = (redis.Redis.from_url(environ[which]) for which in ("BENCH_BROKER", "BENCH_RESULTS"))
    return {
        "huey": lambda: int(broker.hlen("huey.results.peer")),
        "rq": lambda: int(broker.zcard("rq:finished:default")),
    }.get(name, results.dbsize)


FIGURE = Figure("noop", "No-op jobs end to end", run)
