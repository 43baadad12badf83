"""Bar 6: a server that is full, and one that is away for a while."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline_jobs.states import JobStatus
from tests.heavy.figures import all_ended, live, now_ms, quantiles, terminal_writes
from tests.integration.recount import differences
from tests.servers import Server
from tests.stack import Api, Stack
from tests.waiting import until

#: What a client may be told while the server is full or away, besides what it asked for.
DECLARED = {503, 429}


@dataclass(slots=True)
class ServerFigures:
    """What a run gave."""

    #: Answers to POST meanwhile, by status and code.
    answers: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    #: Jobs that had a worker die under them (one that gave its jobs up because it could not renew, for example).
    crashed: int = 0
    #: Seconds from the server's recovery to each job's end.
    recovery: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def judge(self, stack: Stack, ids: Sequence[str], seconds: float, back_ms: float, ended_as: JobStatus = JobStatus.COMPLETED) -> None:
        """Wait for the ends of these jobs and note what is not as it should be."""
        ended = all_ended(stack, ids, "all jobs", seconds)
        self.jobs += len(ended)
        self.crashed += sum(job.crashes > 0 for job in ended.values())
        for job_id, job in ended.items():
            if job.status is not ended_as:
                self.wrong.append(f"{job_id}: {job.status} instead of {ended_as}: {job.error_detail}")
            if terminal_writes(stack.client.store, job_id) != 1:
                self.wrong.append(f"{job_id}: {terminal_writes(stack.client.store, job_id)} terminal writes")
        after = [((job.completed_at or 0) - back_ms) / 1000 for job in ended.values()]
        self.recovery = quantiles(value for value in after if value > 0)
        # The job that showed that jobs are accepted again has ended, too: while one runs or starts, a recount sees two moments of it.
        until(lambda: not live(stack), "every job to end", seconds)
        self.wrong += differences(stack.client.store)

    def look_for_dead(self, stack: Stack, when: str) -> None:
        """No process of the stack may end for the server's sake: workers, maintenance, beat, API."""
        for process in stack._processes:
            if process.poll() is not None:
                self.wrong.append(f"{str(process.args)[-80:]} ended with {process.returncode} {when}")

    def post(self, api: Api, times: int) -> None:
        """Ask for jobs and note what was answered."""
        answers: Counter[str] = Counter(self.answers)
        for _ in range(times):
            answer = api.post("/pipeline/jobs", {"pipeline": "bar"})
            answers[f"{answer.status_code} {answer.json().get('code', '')}".strip()] += 1
            if answer.status_code not in DECLARED or int(answer.headers.get("Retry-After", 0)) <= 0:
                self.wrong.append(f"POST was answered {answer.status_code} {answer.text[:200]}")
        self.answers = dict(answers)


def run_full(stack: Stack, server: Server, api: Api, *, running: int, waiting: int, posts: int) -> ServerFigures:
    """Fill the server while jobs run, wait for those, ask for more, then give it room again.

    :param running: slots of the workers, all of which get a job; `waiting`: jobs behind them.
    """
    figures = ServerFigures()
    run = [stack.hold().job_id for _ in range(running)]
    until(lambda: stack.running() == running, "all slots busy")
    cancelled = run.pop()
    queued = [stack.submit(pipeline="bar", params={"seconds": 0.1}).job_id for _ in range(waiting)]
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        figures.post(api, posts)
        stack.client.cancel(cancelled)
        gone = stack.client.cancel(queued.pop()).job_id
        keys = stack.client.store.keys
        stack.tell(*run)
        until(lambda: not {*run, cancelled} & set(client.zrange(keys("leases"), 0, -1)), "the running jobs to end on a full server")
        for job_id in run:
            if (status := stack.client.get(job_id).status) is not JobStatus.COMPLETED:
                figures.wrong.append(f"{job_id}: {status} while the server was full")
        for job_id in (cancelled, gone):
            if (status := stack.client.get(job_id).status) is not JobStatus.CANCELLED:
                figures.wrong.append(f"{job_id}: {status}, it was cancelled while the server was full")
        figures.post(api, posts)
        figures.look_for_dead(stack, "on a full server")
        client.config_set("maxmemory", "0")
    back = now_ms()
    until(lambda: api.post("/pipeline/jobs", {"pipeline": "bar"}).status_code == 201, "a job to be accepted again")
    figures.judge(stack, [*run, *queued], 120, back)
    figures.look_for_dead(stack, "after the server was full")
    return figures


def run_away(stack: Stack, server: Server, api: Api, *, jobs: int, seconds: float) -> ServerFigures:
    """Kill the server while jobs run and wait, leave it away so long, start it again on its AOF."""
    figures = ServerFigures()
    ids = [stack.hold().job_id for _ in range(jobs)]
    until(lambda: stack.running() > 0, "a running job")
    server.kill()
    figures.post(api, 1)
    # Every second one ends while the server is away, or as soon as it runs; the rest when it is back.
    stack.tell(*ids[::2])
    threading.Event().wait(seconds)
    figures.post(api, 1)
    server.start()
    back = now_ms()
    stack.tell(*ids[1::2])
    until(lambda: api.post("/pipeline/jobs", {"pipeline": "bar"}).status_code == 201, "a job to be accepted again")
    figures.judge(stack, ids, 300, back)
    if figures.crashed:
        figures.wrong.append(f"{figures.crashed} jobs had a crash counted for the server's absence")
    figures.look_for_dead(stack, "after the server was away")
    return figures
