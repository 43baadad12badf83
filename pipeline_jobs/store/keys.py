"""Every key of the store: its shape, type, who writes it and when it goes. Python and Lua build keys from this one table.

All keys begin with the prefix of the cell (`settings.key_prefix`); no key of a job carries an EXPIRE: TTL is the purge's
business, and only ended jobs are ever purged.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Key(NamedTuple):
    """One family of keys."""

    #: With `{}` for each part, and `@` where the pool stands if each pool has such keys of its own.
    pattern: str
    type: str
    what: str


KEYS: dict[str, Key] = {
    "job": Key("job:{}", "hash", "The record of a job. Written by every script; goes by delete, purge."),
    "status": Key("status:{}", "zset order->id", "Jobs in a status. Moved by every transition. All jobs: the union of the five."),
    "tenant_status": Key("tenant:{}:status:{}", "zset order->id", "Jobs of a tenant in a status. All of its jobs: the union of the five."),
    "workspace": Key("workspace:{}:{}", "zset order->id", "Jobs of a workspace. A member goes with its record, as in the next three."),
    "pipeline": Key("pipeline:{}:{}", "zset order->id", "Jobs of a tenant and a pipeline."),
    "tag": Key("tag:{}:{}", "zset order->id", "Jobs of a tenant with a tag."),
    "batch_jobs": Key("batch:{}:jobs", "zset order->id", "Jobs of a batch."),
    "batch": Key("batch:{}", "hash", "The record of a batch, with a count for each status. Goes with its last job's record."),
    "batches": Key("batches:{}:{}", "zset order->batch", "Batches of a tenant's workspace; `*` stands for all."),
    "workflows": Key("workflows:{}:{}", "zset order->batch", "Those of them that are workflows."),
    "needs": Key("needs:{}", "set of ids", "Jobs that a waiting job depends on and that have not ended. Goes as they end."),
    "dependents": Key("dependents:{}", "set of ids", "Waiting jobs that depend on a job. Goes with its end."),
    "continuation": Key(
        "continuation:{}", "hash", "What is to be told of the end of a job with callbacks, a chain or a chord. Goes when it has been told."
    ),
    "later_continuation": Key(
        "continuation:{}:{}", "hash", "The same, by id and fence, of a job that ends while the end of an earlier one with its id is untold."
    ),
    "continuations": Key("continuations", "zset ms->id or id@fence", "Those rows, and from when on maintenance tells what they are about."),
    "unsettled": Key("unsettled", "list", "Ended jobs whose dependents were too many for one script; the next ones go on."),
    "untagged": Key("untagged", "list", "Jobs of large batches that are not yet in `tag`; the next duties go on."),
    "bulk": Key("bulk:{}", "string, 200 ms", "The cancellation of many jobs that has its turn, of a tenant or (`*`) of operators."),
    "large_batch": Key("large_batch:{}", "string 1, 1 s", "A tenant's last batch of more than 200 jobs is so young."),
    "ready": Key(
        "ready@:{}:{}:{}", "zset -priority->order:id", "A lane: jobs of a tenant's workspace and pipeline that may be dispatched."
    ),
    "lanes": Key("lanes@:{}:{}", "zset 0->pipeline", "The lanes of a workspace that are not empty."),
    "workspaces": Key("workspaces@:{}", "zset time->workspace", "A tenant's ring: its workspaces that can be served, by virtual time."),
    "ring": Key("ring@", "zset time->tenant", "Tenants that can be served, by virtual time. Who is at a limit is not in it."),
    "present": Key("present@", "float", "Virtual time of the last dispatch: where a tenant that comes (back) is served next."),
    "peak": Key("peak@", "float", "The highest it ever was: from where that tenant's time goes on."),
    "entries": Key("entries@", "int", "How often a tenant came into the ring: breaks ties by age."),
    "share": Key(
        "share:{}",
        "hash",
        "A tenant's virtual time (`came`: as it came), those of its workspaces (`w:X`), slots (`n`), start tokens, how fast its jobs end. "
        "Of another pool: `time:P`, `n:P`, `w:P:X`; `others`: slots in all of those.",
    ),
    "recent": Key("recent@", "string tenant ms tenant ms", "The two tenants that had a job last. Written by dispatch, left by erase."),
    "waiting": Key("waiting@", "set of tenants", "Tenants outside the ring because of a limit, for a changed default."),
    "parked": Key("parked@", "zset ms->tenant", "Tenants over their start rate, and when they may start again."),
    "blocked": Key(
        "blocked@:{}", "zset time->tenant:workspace", "Workspaces whose lanes all wait for full pipelines; noted under each of these."
    ),
    "blocking": Key(
        "blocking@", "set of pipelines", "Those with an entry in `blocked`. Written with it, left by the look that finds none."
    ),
    "limits": Key("limits", "hash tenant->x=1;y=2", "Limits of a tenant; of `*` for all that have none of their own."),
    "rate": Key("rate:{}", "string `tokens ms`, 1 h", "Submit tokens of a tenant."),
    "sender_rate": Key("sender_rate:{}", "string `tokens ms`, 1 h", "Those of an API key (`key:X`) or an address (`address:X`)."),
    "idempotency": Key(
        "idempotency:{}:{}", "string `id fingerprint`, 24 h", "Which job, batch or schedule an Idempotency-Key made, and of what request."
    ),
    "remembered": Key("remembered:{}", "zset ms->key", "A tenant's Idempotency-Keys, and when each is forgotten. Left by trim, erase."),
    "pipelines": Key(
        "pipelines",
        "hash",
        "Of each pipeline its cap (`cap:X` set, `own:X` declared), slots (`n:X`, hinted and running), ms of a run (`ms:X`). Of other pools "
        "than `default`: slots in all of them (`others:X`), ms of a run in each (`ms:X:P`).",
    ),
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
    "awaiting": Key(
        "awaiting", "zset ms->id", "Parked jobs, and since when each waits for its signal. Left by signal, its timeout, the end."
    ),
    "tenant_awaiting": Key("awaiting:{}", "zset ms->id", "Those of a tenant."),
    "splitting": Key("splitting", "zset ms->id", "Jobs that wait for their parts, and since when. Left with the last part, by the end."),
    "parts": Key(
        "parts:{}",
        "hash",
        "The table of a split (`lua/lib/parts.lua`). By stage_parts, split, ends of parts; goes by retire_split.",
    ),
    "open_parts": Key("open_parts:{}", "set of ids", "Parts of a split that have been opened and have not ended."),
    "parts_blobs": Key("parts_blobs:{}", "list of blobs", "What inputs and results of a split name in the artifact store."),
    "parts_ran": Key(
        "parts_ran:{}",
        "stream job, begin, end; 1 h",
        "A tenant's last runs of parts that ended, of which job, from when to when (ms): about 500. Written by end_part; goes by erase.",
    ),
    "parts_ran_tenants": Key("parts_ran_tenants", "zset ms->tenant", "Whose parts ended in the last hour. By end_part, left by erase."),
    "ended_splits": Key("ended_splits", "list of `split tenant`", "Splits that are over, with parts or files left. Left by end_splits."),
    "ready_since": Key(
        "ready_since", "zset ms->id", "Queued jobs that could start, dispatched or not, and since when. Left by claim, delay, end."
    ),
    "said": Key(
        "said:{}",
        "string, 5 min",
        "What a call was answered whose repetition would find nothing left to do. Of a tenant's changes of its jobs 10,000 at most.",
    ),
    "lost": Key(
        "lost@",
        "zset order->id pipeline",
        "Jobs that were lost with their worker: next. Not now: order + 1e15, hinted: + 4e15, apart: +inf. Left by start and end.",
    ),
    "apart": Key(
        "apart@:{}",
        "string ms ms, until then",
        "Until when jobs that were lost with a worker (empty: with several) start one by one, and when that was written. By rescue.",
    ),
    "hints": Key("hints@", "zset ms->id", "Dispatched jobs and when an unclaimed hint counts as lost. Left by claim, cancel, rescue."),
    "leases": Key(
        "leases@", "zset ms->id", "Running jobs and when their lease ends. Renewed by announce, left by finish, requeue, rescue."
    ),
    "deadlines": Key("deadlines", "zset ms->id", "Live jobs with a deadline. Left by whatever ends them."),
    "waits": Key("waits", "zset ms->id", "Jobs that must have started by then. Left by claim."),
    "events": Key("events:{}", "list", "A job's event log, oldest first (`lua/lib/events.lua`). Goes with its record."),
    "logs": Key("logs:{}", "list", "The newest pieces of a job's log (`lua/lib/logs.lua`). Goes with its record."),
    "feed": Key(
        "feed:{}",
        "stream, 7 days after a job's end",
        "Events of a tenant: of a job the one with this number, `id:number`; the first ones of n jobs of a batch, `/id:n`. The newest.",
    ),
    "news": Key("news:{}", "channel", "Tells who listens that a job of the tenant has a new event: its id. A hint; the log is the truth."),
    "pace": Key("pace", "hash rate, rate_at", "How fast jobs end. Written by whatever ends one."),
    "ended": Key("ended", "zset ms->id", "Ended jobs and when they expire. Read by purge."),
    "unmoved": Key("unmoved:{}", "zset ms->id", "Ended jobs of a tenant that are not in the history yet. Left by history_moved, purge."),
    "unmoved_tenants": Key("unmoved_tenants", "zset ms->tenant", "Tenants that have some, by their last turn."),
    "history_turn": Key("history_turn:{}", "string token, some seconds", "The evaluation of the history that a tenant has going."),
    "warnings": Key("warnings@", "hash worker->text", "What an operator should know of live workers. Written by announce."),
    "paused": Key("paused@", "hash worker->text", "Live workers that take no jobs, and why. Written by announce."),
    "workers": Key("workers@", "zset ms->worker", "Live job workers and when their announcement ends."),
    "apis": Key("apis", "zset ms->process", "API processes and when their announcement ends. Written by announce_api."),
    "feed_readers": Key(
        "feed_readers", "zset ms->process", "Those of `apis` that read an entry of a feed for several jobs. Written by announce_api."
    ),
    "processes": Key(
        "processes",
        "hash process->`began steady last JSON`",
        "Processes of every kind: since when, since when without a gap, when last announced (ms), what they are. Written by "
        "announce_process; goes as they end, or an hour after the last word.",
    ),
    "artifacts_tried_by": Key(
        "artifacts_tried_by", "string process", "The process that tries the artifact store by a write. Written by try_artifacts; expires."
    ),
    "slots": Key("slots@", "hash worker->int", "Slots of each live worker. Written by announce."),
    "running": Key("running@", "hash worker->int", "Leases each worker holds. Written by claim and by whatever ends a lease."),
    "capacity": Key("capacity@", "int", "Sum of `slots`."),
    "stranded": Key("stranded@", "int", "Leases held by workers that are no longer live: they fill no slot of a live worker."),
    "class_of": Key("class_of@", "hash worker->class", "Class of each live worker that says what it knows. Written by announce."),
    "classes": Key("classes@", "hash class->`1;X;Y;`", "Schema and pipelines that a class of workers knows (``: those that do not say)."),
    "fleet": Key("fleet@", "string", "What the only class of the live workers knows; `*`: there are several; empty: it does not say."),
    "max_concurrent_jobs": Key("max_concurrent_jobs@", "int", "The cap of a pool. Set as a process starts that has the setting."),
    "pool_turn": Key("pool_turn", "string", "The pool that was last given a job under a limit that counts over all pools."),
    "pools": Key("pools", "string X Y", "The names of the pools besides `default` that there ever were, in no order."),
    "order": Key("order", "int", "The last `order` given out (microseconds)."),
    "counters": Key("counters", "hash", "Counters for metrics, written in the script of the transition itself. Never goes."),
    "named": Key("named", "set", "Tenants (`X`) and workspaces (`X|Y`) that have metrics by name. Written at their first event."),
    "named_count": Key("named_count", "hash", "How many tenants (field ``) and workspaces of each (field its name) those are."),
    "ranks": Key("ranks", "zset int->tenant", "Order in which tenants keep series of their own. Written by rank_tenants. Never goes."),
    "tenants": Key("tenants", "zset jobs->tenant", "Tenants that had a job, and about how many. Written by accept, left by erase."),
    "usage": Key(
        "usage:{}",
        "hash",
        "Figures of a tenant: `artifact_bytes`, `output_bytes` (of kept stage outputs), `upload_bytes` (whole lengths); `reuse_bytes` "
        "(of outputs for other jobs; in `output_bytes`, too); `store_bytes` (the memory of its records: `lua/lib/memory.lua`).",
    ),
    "outputs": Key("outputs:{}", "hash blob->int", "A tenant's kept stage outputs, and how many records name each."),
    "reuse": Key(
        "reuse:{}",
        "hash workspace:key->row",
        "A tenant's outputs of stages that other jobs use again (`lua/lib/reuse.lua`). Left by delete, trim, eviction, drop_reused.",
    ),
    "reuse_used": Key("reuse_used:{}", "zset ms->workspace:key", "Those, by their last use."),
    "upload": Key("upload:{}", "hash", "The record of an upload. Written by upload_*; goes by upload_remove, upload_sweep."),
    "upload_parts": Key("upload:{}:parts", "list", "Names of an upload's parts, in order. Written by upload_advance; goes with it."),
    "upload_jobs": Key("upload:{}:jobs", "set of ids", "Live jobs that need an upload. Written by submit, left by whatever ends a job."),
    "uploads": Key("uploads", "zset ms->upload", "All uploads and when the sweep looks at them. A member goes with its record."),
    "tenant_uploads": Key("uploads:{}", "zset order->upload", "Those of a tenant, by when they began."),
    "kept": Key(
        "kept:{}", "hash", "A folder of artifacts that is kept after its job's record, by `id` or `id@tenant`. Goes by drop, purge_kept."
    ),
    "tenant_kept": Key("kept:{}:jobs", "zset order->id", "Those of a tenant, the oldest job first."),
    "kept_until": Key("kept_until", "zset ms->id", "All of them, and when they may go."),
    "trash": Key("trash", "list", "Folders of artifacts whose job is gone. Emptied by maintenance."),
    "seen": Key("seen", "int", "When a worker's beat or a rescue last looked at the clock, in ms (`lua/lib/clock.lua`)."),
    "server": Key(
        "server", "string", "Run id of the server that the last rescue saw (another one: it was restarted), and when that was in ms."
    ),
    "reconciled": Key("reconciled", "string `status order`", "Up to where the live jobs were looked at. Left by the last page of a pass."),
    "canary": Key("canary@", "string id", "The canary job that is on its way in a pool."),
    "secret": Key("secret", "string", "Key that signs links, drawn once, unless a setting gives one."),
    "endpoints": Key("webhook_endpoints", "zset order->id", "All webhook endpoints. A member goes with its endpoint."),
    "tenant_endpoints": Key("webhook_endpoints:{}", "zset order->id", "Those of a tenant."),
    "endpoint": Key(
        "webhook_endpoint:{}", "hash", "A webhook endpoint; of its secret a nonce (`webhooks.signing`). Goes by delete, erase."
    ),
    "webhook_secret": Key("webhook_secret:{}", "hash", "The same of the secret for a tenant's webhooks of jobs. Goes by erase."),
    "webhook_event": Key(
        "webhook_event:{}",
        "hash",
        "The record as it was at its end, for payloads; a reference, when all receivers have it. Goes with its last delivery.",
    ),
    "delivery": Key("delivery:{}", "hash", "A row of the webhook ledger. Written by outbox, claim, settle; goes by purge, erase."),
    "delivery_attempts": Key("delivery:{}:attempts", "list of `ms JSON`", "Its tries, the last 50. Goes with it."),
    "deliveries": Key("deliveries:{}", "zset order->id", "Deliveries of a tenant."),
    "deliveries_in": Key("deliveries:{}:{}", "zset order->id", "Deliveries of a tenant that are pending, delivered, dead."),
    "subject_deliveries": Key("subject_deliveries:{}", "zset order->id", "Deliveries of a job, or tests of an endpoint."),
    "deliveries_ended": Key("deliveries_ended", "zset ms->id", "Ended deliveries and when their rows expire."),
    "webhook_lane": Key("webhook_lane:{}:{}", "zset ms->id", "A lane: pending deliveries to a host of a tenant, and when each is due."),
    "webhook_lanes": Key("webhook_lanes:{}", "zset turn->host", "A tenant's ring: its hosts with something due."),
    "webhook_ring": Key("webhook_ring", "zset turn->tenant", "Tenants with something due."),
    "webhook_turn": Key("webhook_turn", "int", "The last turn given out."),
    "webhook_wake": Key("webhook_wake", "zset ms->tenant host", "Lanes outside the ring, and when their next delivery is due."),
    "webhook_leases": Key("webhook_leases", "zset ms->lease", "Deliveries that are being sent (`id fence tenant host slow`), until when."),
    "webhook_health": Key("webhook_health", "hash tenant host->int", "Slow answers of a host in a row. A quick one ends it."),
    "webhook_slow": Key("webhook_slow:{}", "zset ms->host", "The hosts of a tenant in it, by their last slow answer: the newest 1,000."),
    "api_key": Key("api_key:{}", "hash", "An API key. Written by key_create, revoke, touch; goes by key_erase, or for a newer one."),
    "api_keys": Key("api_keys", "zset ms->key_id", "All API keys and when they were made. A member goes with its key."),
    "tenant_api_keys": Key("api_keys:{}", "zset ms->key_id", "Those of a tenant, or of `*`."),
    "api_keys_on": Key("api_keys_on", "string 1", "A key was made once: from then on the API asks for one. Never goes."),
    "sessions": Key(
        "sessions:{}", "zset ms->session", "Sessions of the page with an API key, and when they began. Goes with the last one."
    ),
    "audit": Key(
        "audit", "stream actor, action, target, detail", "The audit log of the installation: keys, limits, erasures. About 50,000 rows."
    ),
    "audit_work": Key("audit:work", "stream, likewise", "The same of its daily work. About 10,000 rows."),
    "tenant_audit": Key(
        "audit:{}:{}", "stream, likewise", "A class (`security`, `work`) of a tenant's audit log. About 10,000 and 2,000 rows."
    ),
    "audit_streams": Key("audit_streams", "zset ms->class:tenant", "The streams of the audit log, by the age of the oldest row."),
    "audit_order": Key(
        "audit_order",
        "zset 0->{ms}-{n}:class:tenant",
        "The stream of each row of the audit log, in order. A member goes with its row.",
    ),
    "audit_ordered": Key("audit_ordered", "string id", "The newest row that was put there as it was written."),
    "audit_unordered": Key("audit_unordered", "string", "Some rows are not in that order: a process of the version before wrote them."),
    "audit_last": Key("audit_last", "string id", "The id of its newest row: all streams have one order."),
    "heartbeat": Key("heartbeat:{}", "string ms", "When a maintenance duty last ran, for readiness; when a canary came back."),
}


#: What stands in the keys of the pool `default`: nothing, so that they are those of the versions that knew no pools. Of the pool X: `:X`.
POOL = ""


class Keys:
    """Builds keys for one cell: `keys("job", job_id)`."""

    def __init__(self, prefix: str, pool: str = POOL) -> None:
        """:param pool: name of a pool, for the keys that each pool has of its own; empty: `default`."""
        self.prefix = prefix
        part = f":{pool}" if pool else POOL
        self._patterns = {name: prefix + key.pattern.replace("@", part) for name, key in KEYS.items()}

    def __call__(self, name: str, *parts: str) -> str:
        return self._patterns[name].format(*parts)


def built_in_place(lua: str) -> str:
    """The same table for Lua: each `K.job(id)` of a text becomes `(P .. 'job:' .. id)`, where P is the prefix, `KEYS[1]`,
    and each `K.ring()` becomes `(P .. 'ring' .. POOL)`.

    :raises ValueError: it names no key of the table, or another number of parts than the key has.
    """
    text, done = "", 0
    while found := _KEY.search(lua, done):
        end = _closing(lua, found.end())
        inner = built_in_place(lua[found.end() : end])
        text += lua[done : found.start()] + _term(found[1], inner)
        done = end + 1
    return text + lua[done:]


_KEY = re.compile(r"\bK\.(\w+)\(")


def _closing(lua: str, start: int) -> int:
    """Where the bracket closes that was opened right before `start`."""
    depth = 1
    for i in range(start, len(lua)):
        depth += {"(": 1, ")": -1}.get(lua[i], 0)
        if depth == 0:
            return i
    raise ValueError("a bracket stays open")


def _arguments(inner: str) -> list[str]:
    """What stands between commas outside any bracket."""
    parts, depth = [""], 0
    for char in inner:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts] if inner.strip() else []


def _term(name: str, inner: str) -> str:
    if name not in KEYS:
        raise ValueError(f"there is no key {name}")
    first, *rest = KEYS[name].pattern.split("{}")
    parts = _arguments(inner)
    if len(parts) != len(rest):
        raise ValueError(f"key {name} has {len(rest)} parts, not {len(parts)}")
    terms = _constant(first)
    for part, piece in zip(parts, rest, strict=True):
        terms += [part, *_constant(piece)]
    return f"(P .. {' .. '.join(terms)})"


def _constant(piece: str) -> list[str]:
    """`ready@:` as Lua has it: `'ready'`, `POOL`, `':'`."""
    parts = [f"'{part}'" if part else "" for part in piece.split("@")]
    return [term for part in parts for term in ("POOL", part) if term][1:]
