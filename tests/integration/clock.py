"""Pretends that the clock of the store's server was set: what lies in the store lies further back then, or ahead."""

from __future__ import annotations

from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import Store


def step_clock(store: Store, ms: int) -> None:
    """The clock is set by so many ms (negative: back), as fair shares see it: since when runs run, since when tenants have their start
    tokens, until when they wait for some, and when they had a job. Leases, hints and announcements stay as they are.
    """
    client, keys = store.client, store.keys
    for job_id in client.zrange(keys("status", JobStatus.RUNNING), 0, -1):
        client.hincrby(keys("job", job_id), "started_at", -ms)
    for share in client.scan_iter(keys("share", "*")):
        for field in ("tokens_at", "rate_at"):
            if client.hexists(share, field):
                client.hincrby(share, field, -ms)
    for of_pool in store.keys_of_pools():
        for tenant, at in client.zrange(of_pool("parked"), 0, -1, withscores=True):
            client.zadd(of_pool("parked"), {tenant: at - ms})
        if recent := client.get(of_pool("recent")):
            names = recent.split()
            client.set(of_pool("recent"), " ".join(str(int(word) - ms) if n % 2 else word for n, word in enumerate(names)))
    # When the last rescue was; see `rescue`.
    if seen := client.get(keys("server")):
        run_id, at = seen.split()
        client.set(keys("server"), f"{run_id} {int(at) - ms}")


def set_clock(store: Store, ms: int) -> None:
    """The same, and all that was given until a time: leases, hints, announcements, waits, turns of messages.

    Forward it is as if the server had stood still for so long.
    """
    step_clock(store, ms)
    client, keys = store.client, store.keys
    given = [keys(name) for name in ("delayed", "deadlines", "waits", "webhook_wake")]
    given += [of_pool(name) for of_pool in store.keys_of_pools() for name in ("leases", "hints", "workers")]
    for key in (*given, *client.scan_iter(keys("webhook_lane", "*", "*"))):
        for member, at in client.zrange(key, 0, -1, withscores=True):
            client.zadd(key, {member: at - ms})
    for job_id in client.zrange(keys("status", JobStatus.RUNNING), 0, -1):
        client.hincrby(keys("job", job_id), "run_until", -ms)
    if client.exists(keys("seen")):
        client.set(keys("seen"), int(client.get(keys("seen")) or 0) - ms)
