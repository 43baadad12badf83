"""Many ended jobs in no time: one is run through the real scripts, and whatever they left of it is copied under new ids.

Where a job is, is found by looking: every key that holds its id. So a script that writes one index more is copied with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipeline_jobs.job import NewJob
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused, Store

#: KEYS: record of the exemplar, then the zsets that hold its id.
#: ARGV: exemplar, its order, prefix of the new records, first order, step, ids.
#: A score that is the order becomes the new job's order; any other (a time) stays.
_COPY = """#!lua
local old, order, prefix, base, step = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local record = redis.call('HGETALL', KEYS[1])
local id_at, order_at
for i = 1, #record, 2 do
  if record[i] == 'job_id' then id_at = i + 1 elseif record[i] == 'order' then order_at = i + 1 end
end
local scores = {}
for k = 2, #KEYS do
  local score = redis.call('ZSCORE', KEYS[k], old)
  if tonumber(score) ~= tonumber(order) then scores[k] = score end
end
local added = {}
for k = 2, #KEYS do added[k] = {} end
for n = 6, #ARGV do
  local id, mine = ARGV[n], string.format('%.0f', base + (n - 6) * step)
  if id_at then record[id_at] = id end
  record[order_at] = mine
  redis.call('HSET', prefix .. id, unpack(record))
  for k = 2, #KEYS do
    local flat = added[k]
    flat[#flat + 1] = scores[k] or mine
    flat[#flat + 1] = id
  end
end
for k = 2, #KEYS do redis.call('ZADD', KEYS[k], unpack(added[k])) end
"""
BATCH = 1000


def populate(store: Store, client: Any, total: int, new: Sequence[NewJob], first: int = 0) -> None:
    """`total` completed jobs more, spread evenly over the kinds of job in `new`. They are older than every other.

    :param first: how many were made before.
    """
    store.announce("populate", 1, [])
    copy = store.client.register_script(_COPY)
    for number, one in enumerate(new):
        exemplar = _ended(store, client, one)
        places = _places(store, exemplar)
        order = store.get(exemplar).order
        record = store.keys("job", exemplar)
        share = total // len(new)
        begin = first // len(new)
        for start in range(begin, begin + share, BATCH):
            ids = [f"job_1795000000_{number:03x}{index:05x}" for index in range(start, min(start + BATCH, begin + share))]
            copy(
                keys=[record, *places],
                args=[exemplar, order, record.removesuffix(exemplar), 1_795_000_000_000_000 + start * len(new) + number, len(new), *ids],
            )
    store.announce("populate", 0, [], leaving=True)


def _ended(store: Store, client: Any, new: NewJob) -> str:
    """A job that went the whole way."""
    job = client.submit(new)
    # No worker will take the hint.
    store.client.rpop("jobs")
    claimed = store.claim(job.job_id, job.fence, worker="populate", run="r")
    assert not isinstance(claimed, ClaimRefused), claimed
    result = {"success": True, "data": json.loads('{"at": 1795531908.123456}')}
    assert store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result=result) is JobStatus.COMPLETED
    return str(job.job_id)


def _places(store: Store, job_id: str) -> list[str]:
    """The zsets that hold a job's id."""
    found = []
    for key in store.client.scan_iter(match=f"{store.keys.prefix}*", _type="zset", count=1000):
        if store.client.zscore(key, job_id) is not None:
            found.append(key)
    return sorted(found)
