"""What must be of jobs that run in parts: each part's result is in the join once and in its place, whoever was killed meanwhile."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pipeline_jobs.pools.pool_names import DEFAULT
from tests.chaos.evidence import Evidence
from tests.chaos.figures import by_job
from tests.chaos.innocents import MAX_CRASHES, code
from tests.chaos.journal import Body
from tests.chaos.pipeline import GPU, JOIN, PART, PARTED, SPLIT, parts_of
from tests.chaos.system import pool_of

#: How the log of a job tells that a run of a part has crashed, and the error of a job that its worst one ended.
CRASHED = re.compile(r"part (\d+) goes back to the queue: crash\b")
ENDED = re.compile(r"part (\d+): ")


def lost_parts(histories: Mapping[str, Sequence[Sequence[object]]], records: Mapping[str, Mapping[str, str]]) -> dict[str, Counter[int]]:
    """How often a run of each part crashed, by the log of its job; the crash that was the last is the job's error."""
    found = {}
    for job_id, log in histories.items():
        told = [CRASHED.match(str(line[5])) for line in log if line[0] == "progress" and len(line) > 5]
        last = ENDED.match(records[job_id].get("error", "")) if code(records[job_id]) == "worker_lost" else None
        found[job_id] = Counter(int(one.group(1)) for one in (*told, last) if one)
    return found


def lost_by_a_part(seen: Evidence, job_id: str) -> bool:
    """It failed of a part whose workers died too often."""
    flat = seen.records[job_id]
    return code(flat) == "worker_lost" and max(seen.lost_parts.get(job_id, {0: 0}).values(), default=0) >= MAX_CRASHES


def badly_joined(seen: Evidence) -> Iterator[str]:
    """A completed job has of each of its parts the result of one run, all of one split, in their order."""
    whole = {f"{body.job_id}.{body.fence}" for body in _in_parts(seen, PART) if body.over == "end"}
    for job_id, flat in seen.records.items():
        if flat.get("pipeline") != PARTED.name or flat["status"] != "completed":
            continue
        data = json.loads(flat["result"])["data"]
        heard = data.get("heard", [])
        expected = list(range(parts_of(str(data.get("token", "")))))
        splits = {str(run).partition("~")[2].partition(".")[0] for _, run in heard}
        right = [number for number, run in heard if run in whole and re.match(rf"{re.escape(job_id)}~\d+\.{number}\.", str(run))]
        if [number for number, _ in heard] != expected or right != expected or len(splits) != 1:
            yield f"{job_id} was joined of {heard}, where {len(expected)} parts were to be"


def split_again(seen: Evidence) -> Iterator[str]:
    """Of a job that is never tried again, runs that split it after one had joined it."""
    runs = by_job([*_in_parts(seen, SPLIT), *_in_parts(seen, JOIN)])
    for job_id, found in runs.items():
        ordered = sorted(found, key=lambda body: body.fence)
        joined = next((body.fence for body in ordered if JOIN in body.stages), None)
        if joined is not None and any(SPLIT in body.stages and body.fence > joined for body in ordered):
            yield f"{job_id}: it was split again after run {joined} had joined it"


def parts_in_another_pool(seen: Evidence) -> Iterator[str]:
    for what, pool in ((PART, GPU), (SPLIT, DEFAULT), (JOIN, DEFAULT)):
        for body in _in_parts(seen, what):
            if pool_of(body.mark) != pool:
                yield f"{body.job_id}: {body.mark.split(':', 1)[1]} ran {what}"


def _in_parts(seen: Evidence, what: str) -> list[Body]:
    return [body for body in seen.bodies if what in body.stages]
