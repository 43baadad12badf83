"""Every key of the store: its shape, type, who writes it and when it goes. Python and Lua build keys from this one table.

All keys begin with the prefix of the cell (`settings.key_prefix`); no key of a job carries an EXPIRE: TTL is the purge's
business, and only ended jobs are ever purged.
"""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """One family of keys."""

    #: With `{}` for each part.
    pattern: str
    type: str
    what: str


KEYS: dict[str, Key] = {
    "job": Key("job:{}", "hash", "The record of a job. Written by every script; goes by delete, purge."),
    "jobs": Key("jobs", "zset order->id", "All jobs. Written by submit; a member goes with its record."),
    "status": Key("status:{}", "zset order->id", "Jobs in a status. Moved by every transition."),
    "tenant": Key("tenant:{}", "zset order->id", "Jobs of a tenant."),
    "tenant_status": Key("tenant:{}:status:{}", "zset order->id", "Jobs of a tenant in a status."),
    "workspace": Key("workspace:{}:{}", "zset order->id", "Jobs of a tenant's workspace."),
    "ready": Key("ready:{}:{}:{}", "zset -priority->order:id", "A lane: jobs of a tenant's workspace and pipeline that may be dispatched."),
    "lanes": Key("lanes:{}:{}", "set of pipelines", "The lanes of a workspace that are not empty."),
    "workspaces": Key("workspaces:{}", "zset time->workspace", "A tenant's ring: its workspaces that can be served, by virtual time."),
    "ring": Key("ring", "zset time->tenant", "Tenants that can be served, by virtual time. Who is at a limit is not in it."),
    "present": Key("present", "float", "Virtual time of the last dispatch: where a tenant starts that comes (back)."),
    "entries": Key("entries", "int", "How often a tenant came into the ring: breaks ties by age."),
    "share": Key("share:{}", "hash", "A tenant's virtual time, those of its workspaces (`w:X`), its slots (`n`), its start tokens."),
    "waiting": Key("waiting", "set of tenants", "Tenants outside the ring because of a limit, for a changed default."),
    "parked": Key("parked", "zset ms->tenant", "Tenants over their start rate, and when they may start again."),
    "blocked": Key("blocked:{}", "zset time->tenant:workspace", "Workspaces whose lanes all wait for a pipeline that is full."),
    "limits": Key("limits:{}", "hash", "Limits of a tenant, of `*` for all that have none of their own. Written by set_limits."),
    "rate": Key("rate:{}", "hash, 1 h", "Submit tokens of a tenant."),
    "idempotency": Key("idempotency:{}:{}", "hash, 24 h", "Which job an Idempotency-Key made, and of what request."),
    "estimates": Key("estimates", "hash pipeline->ms", "What a run usually takes: a moving average."),
    "pipeline_caps": Key("pipeline_caps", "hash pipeline->int", "Most slots of a pipeline. Written by set_pipeline_cap."),
    "pipeline_slots": Key("pipeline_slots", "hash pipeline->int", "Slots that a pipeline has now (hinted and running)."),
    "usage_day": Key(
        "usage:{}:{}", "hash, 400 days", "A tenant's figures of a day (days since 1970): created, ended by status, slot_ms, waits."
    ),
    "schedule": Key(
        "schedule:{}", "hash", "Written by schedule_put, its figures by schedule_plan, schedule_fire. Goes by schedule_remove."
    ),
    "schedules": Key("schedules", "zset order->id", "All schedules. A member goes with its schedule."),
    "tenant_schedules": Key("schedules:{}", "zset order->id", "Those of a tenant."),
    "workspace_schedules": Key("schedules:{}:{}", "zset order->id", "Those of a tenant's workspace."),
    "schedules_due": Key("schedules_due", "zset ms->id", "When to look at a schedule: its next slot, or sooner if one waits."),
    "schedule_slots": Key("schedule_slots:{}", "zset ms->ms", "Slots to be fired. Written by schedule_plan; left by schedule_fire."),
    "schedule_jobs": Key("schedule_jobs:{}", "set of job ids", "Jobs of a schedule that may not have ended, to see an overlap."),
    "schedule_log": Key("schedule_log:{}", "list", "What became of the last slots: outcome, ms, first, last, n, job, between bars."),
    "delayed": Key("delayed", "zset ms->id", "Queued jobs that may not be dispatched before then."),
    "hints": Key("hints", "zset ms->id", "Dispatched jobs and when an unclaimed hint counts as lost. Left by claim, cancel, rescue."),
    "leases": Key("leases", "zset ms->id", "Running jobs and when their lease ends. Renewed by announce, left by finish, requeue, rescue."),
    "deadlines": Key("deadlines", "zset ms->id", "Live jobs with a deadline. Left by whatever ends them."),
    "waits": Key("waits", "zset ms->id", "Jobs that must have started by then. Left by claim."),
    "drain": Key("drain:{}", "hash rate, at", "How fast jobs end: of `all`, of `tenant:X`. Written by whatever ends one."),
    "ended": Key("ended", "zset ms->id", "Ended jobs and when they expire. Read by purge."),
    "workers": Key("workers", "zset ms->worker", "Live job workers and when their announcement ends."),
    "slots": Key("slots", "hash worker->int", "Slots of each live worker. Written by announce."),
    "running": Key("running", "hash worker->int", "Leases each worker holds. Written by claim and by whatever ends a lease."),
    "capacity": Key("capacity", "int", "Sum of `slots`."),
    "stranded": Key("stranded", "int", "Leases held by workers that are no longer live: they fill no slot of a live worker."),
    "order": Key("order", "int", "The last `order` given out (microseconds)."),
    "counters": Key("counters", "hash", "Counters for metrics, written in the script of the transition itself. Never goes."),
    "named": Key("named", "set", "Tenants and workspaces that have metrics by name. Written at scrapes."),
    "usage": Key("usage:{}", "hash", "Figures of a tenant: `artifact_bytes`."),
    "trash": Key("trash", "list", "Folders of artifacts whose job is gone. Emptied by maintenance."),
    "server": Key("server", "string", "Run id of the server that the last rescue saw: another one means that it was restarted."),
    "canary": Key("canary", "string id", "The canary job that is on its way."),
    "secret": Key("secret", "string", "Key that signs links, drawn once, unless a setting gives one."),
    "heartbeat": Key("heartbeat:{}", "string ms", "When a maintenance duty last ran, for readiness."),
}


class Keys:
    """Builds keys for one cell: `keys("job", job_id)`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._patterns = {name: prefix + key.pattern for name, key in KEYS.items()}

    def __call__(self, name: str, *parts: str) -> str:
        return self._patterns[name].format(*parts)


def lua_builder() -> str:
    """The same table for Lua: `K.job(id)`, with the prefix from `KEYS[1]`."""
    lines = ["local P = KEYS[1]", "local K = {}"]
    for name, key in KEYS.items():
        first, *rest = key.pattern.split("{}")
        arguments = [f"a{i}" for i in range(len(rest))]
        terms = [f"'{first}'"]
        for argument, piece in zip(arguments, rest, strict=True):
            terms += [argument, f"'{piece}'"] if piece else [argument]
        lines.append(f"function K.{name}({', '.join(arguments)}) return P .. {' .. '.join(terms)} end")
    return "\n".join(lines) + "\n"
