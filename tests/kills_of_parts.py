"""`kill -9` of children whose jobs run in parts, and what must hold afterwards (Flows, bar 6)."""

from __future__ import annotations

import json
import re
from collections import Counter

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from tests.chaos.in_parts import CRASHED
from tests.integration.recount import differences, parts_left
from tests.kills import PLACES, Deaths
from tests.stack import Stack
from tests.torn_parts import PARTS, TORN, Began, begun
from tests.waiting import until

#: Whose crash a death is, as in `PLACES`. A split that was answered is over: its job waits for its parts.
SPLITS = {"split.named": "named", "split.asked": "named", "split.answered": "nobody"}
ALL = {**PLACES, **SPLITS}


def keep_some_in_line(stack: Stack, jobs: list[str], most: int = 12) -> None:
    """As many jobs as the workers always find something to do in, of three tenants."""
    store = stack.client.store
    open_jobs = int(store.client.zcard(store.keys("status", "queued"))) + int(store.client.zcard(store.keys("status", "running")))
    jobs += [stack.submit(pipeline=TORN.name, tenant_id=f"t{n % 3}").job_id for n in range(max(0, most - open_jobs))]


def check(stack: Stack, deaths: Deaths, job_ids: list[str]) -> None:
    """Each job ended once and was joined of the results of one split, each part's once; a death repeated one run; nothing is left."""
    store = stack.client.store
    jobs = [stack.until_status(job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=300) for job_id in job_ids]
    until(lambda: store.client.zcard(store.keys("leases")) == 0, "the leases of dead processes to be given back")
    until(lambda: not parts_left(store), "what is left of parts to go")
    assert differences(store) == []
    runs = {job.job_id: begun(stack.settings.data_dir, job.job_id) for job in jobs}
    for job in jobs:
        _joined_once(job, runs[job.job_id])
    repeated = sum(map(len, runs.values())) - len(jobs) * (PARTS + 2)
    assert 0 <= repeated <= deaths.count, (repeated, deaths.count)
    logs = {job.job_id: [json.loads(line) for line in store.client.lrange(store.keys("events", job.job_id), 0, -1)] for job in jobs}
    assert {name: sum(line[0] == "completed" for line in log) for name, log in logs.items()} == dict.fromkeys(logs, 1)
    _each_crash_is_somebodys(jobs, logs, deaths)


def _joined_once(job: Job, runs: list[Began]) -> None:
    assert job.status is JobStatus.COMPLETED, (job.job_id, job.error)
    made = {one.run: one for one in runs}
    joined = [(number, made[run]) for number, run in job.result["data"]["joined"]]
    assert [number for number, _ in joined] == list(range(PARTS)), joined
    assert [one.what for _, one in joined] == [str(number) for number in range(PARTS)], joined
    splits = {re.sub(r"\.\d+$", "", one.of) for _, one in joined}
    assert len(splits) == 1, f"{job.job_id} was joined of several splits: {joined}"
    begins = [one.what for one in runs]
    assert "split" not in begins[begins.index("join") :], f"{job.job_id} was split again after its join: {begins}"


def _each_crash_is_somebodys(jobs: list[Job], logs: dict[str, list[list[object]]], deaths: Deaths) -> None:
    """By the records of jobs, and by what their logs say of parts."""
    counted = Counter({job.job_id: job.crashes for job in jobs})
    for name, log in logs.items():
        told = [CRASHED.match(str(line[5])) for line in log if line[0] == "progress" and len(line) > 5]
        counted.update(f"{name} {one.group(1)}" for one in told if one)
    named = deaths.named()
    own = Counter(re.sub(r"~\d+\.", " ", job) for place, job in named if ALL[place] == "named")
    places = Counter(ALL[place] for place, _ in named)
    more = {name: counted[name] - own[name] for name in counted | own}
    assert min(more.values(), default=0) >= 0, f"deaths that were counted elsewhere: {more}"
    least, most = places["unknown"], places["unknown"] + places["next"] + deaths.at_random
    assert least <= sum(more.values()) <= most, (least, sum(more.values()), most, places)
