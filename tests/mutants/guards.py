"""The guards: what each one stands against, how to take it out, and the tests that should notice.

A guard is found by its text, which must stand exactly once in its file: one that was rewritten is reported, not skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard, and the edit that removes it."""

    name: str
    #: Path in the tree.
    file: str
    #: The text that is the guard, and what stands there without it.
    old: str
    new: str
    #: Test files that are run; any failing test of theirs catches the mutant.
    tests: tuple[str, ...]


STORE = "tests/integration/test_store.py"
GUARDED = "tests/integration/test_guards.py"
AUDIT = "tests/integration/test_audit.py"
AUDIT_SCHEDULES = "tests/integration/web/test_schedules.py"
CLOCK = "tests/integration/test_clock.py"
TRIPS, OWN = "tests/integration/web/test_round_trips.py", "tests/integration/web/test_auth.py"
TWICE = "tests/integration/test_sent_twice.py"
AGAIN = "tests/integration/test_ids_used_again.py"
RECONCILE = "tests/integration/test_reconcile.py"
BACKPRESSURE = "tests/integration/test_backpressure.py"
MEMORY = "tests/integration/test_memory.py"
EXECUTOR = "tests/integration/test_executor.py"
FORMER = "tests/integration/web/test_former_names.py"
SIGNALS = "tests/acceptance/test_logs_and_traces.py"
START = "tests/unit/test_start_errors.py"
LOGS = "tests/unit/test_logs.py"
TRACING = "tests/unit/test_tracing.py"
WAYS = "tests/integration/test_every_way_in.py"
KEPT = "tests/integration/test_kept_folders.py"
FOREIGN = "tests/integration/web/test_foreign_ids.py"
KEPT_FILES = "tests/integration/web/test_kept_files.py"
RESULTS = "tests/integration/test_results.py"
LARGE = "tests/integration/web/test_large_results.py"
FAULTS = "tests/integration/test_faults.py"
MAINTENANCE = "tests/integration/test_maintenance.py"
FAIR = "tests/integration/test_fairness.py"
HOLDS = "tests/integration/test_holds.py"
BATCHES = "tests/integration/test_batches.py"
IDEMPOTENCY = "tests/integration/test_idempotency.py"
DEPENDENCIES = "tests/integration/test_dependencies.py"
CAP = "tests/integration/test_max_concurrent_jobs.py"
DEAD = "tests/integration/test_dead_workers.py"
NEW = "tests/integration/test_newcomers.py"
CLASSES = "tests/integration/test_classes.py"
MEET = "tests/integration/test_meet.py"
CLASSES_MODEL = "tests/integration/test_classes_model.py"
FLEET = "tests/acceptance/test_mixed_fleet.py"
SCRIPTS = "tests/unit/test_scripts.py"
RETRY = "tests/integration/test_retry.py"
TENANTS = "tests/integration/test_tenants_life.py"
SCHEDULES = "tests/integration/test_schedules.py"
EVENTS = "tests/integration/test_events.py"
MIXES = "tests/integration/test_mixes.py"
EVENTS_MODEL = "tests/integration/test_events_model.py"
HUB = "tests/integration/test_hub.py"
STREAMS = "tests/integration/web/test_events.py"
CONNECTIONS = "tests/unit/web/test_connections.py"
COSTS = "tests/integration/web/test_costs.py"
TURNS = "tests/unit/web/test_turns.py"
ACCOUNTS = "tests/unit/web/test_accounts.py"
SHARES = "tests/unit/web/test_shares.py"
AUTH = "tests/integration/web/test_auth.py"
BOUNDS = "tests/integration/web/test_body_bounds.py"
PAGE = "tests/integration/web/test_ui.py"
SPEED = "tests/unit/media/test_speed.py"
LAST = "tests/integration/test_reserved_slots.py"
DISK = "tests/unit/test_disk.py"
DISKS = "tests/integration/test_disk_health.py"
CONDITIONS = "tests/integration/test_conditions.py"
OPERATION = "tests/integration/web/test_operation.py"
OPERATOR = "tests/integration/test_cli_operator.py"
BACKUP = "tests/integration/test_backup.py"
FULL_DISK = "tests/integration/test_full_disk.py"
FULL_SERVER = "tests/acceptance/test_full_server.py"
SUPERVISOR = "tests/unit/up/test_supervisor.py"
UP = "tests/unit/up/test_main.py"
FAIR_MODEL = "tests/integration/test_fairness_model.py"
PAGE_TEXT = "tests/integration/web/test_ui_text.py"
JAIL = "tests/unit/media/test_jail.py"
STAGES = "tests/unit/media/test_stages.py"
SITE = "tests/unit/media/test_site.py"
PIPELINES = "tests/unit/test_pipelines.py"
AWAY = "tests/unit/test_run_store_away.py"
KEEPER = "tests/unit/test_lease_keeper.py"
NEXT, SEATS = "tests/integration/test_next_job.py", "tests/unit/test_seats.py"
PREFORK = "tests/unit/test_prefork.py"
LOOP = "tests/integration/test_jobs_in_a_child.py"
PREFIXES = "tests/integration/test_prefixes.py"
INSTALLATIONS = "tests/acceptance/test_two_installations.py"
FLOWER_CONFIG = "tests/unit/test_flowerconfig.py"
COMMANDS = "tests/acceptance/test_celery_commands.py"
OPTIONS = "tests/integration/test_celery_options.py"
FITNESS = "tests/integration/test_fitness.py"
CONTINUED = "tests/integration/test_continuations.py"
BARE = "tests/integration/test_celery_groups.py"
GROUPS_OF_JOBS = "tests/integration/test_group_results.py"
FAILURE_WRITES = "tests/integration/test_failure_writes.py"
SICK = "tests/acceptance/test_sick_worker.py"
MATRIX = "tests/acceptance/test_isolation_matrix.py"
ISOLATION = "tests/acceptance/test_isolation.py"
PROXY = "tests/acceptance/test_behind_a_proxy.py"
METRICS = "tests/integration/test_metrics_exporter.py"
REQUESTS = "tests/integration/web/test_request_metrics.py"
COUNTS = "tests/unit/test_shared_counts.py"
OPERATION = "tests/integration/web/test_operation.py"
HOSTILE = "tests/acceptance/test_hostile_messages.py"
LOST_BROKER = "tests/acceptance/test_lost_broker.py"
_EVERYWHERE = 'Policy(allowed_networks=("0.0.0.0/0",), allowed_ports=frozenset(range(1, 65536)))'
WEBHOOKS = "tests/integration/test_webhooks.py"
UPLOADS = "tests/integration/test_uploads.py"
LARGE_UPLOADS = "tests/integration/test_large_uploads.py"
PACED = "tests/unit/test_paced.py"
NICENESS = "tests/unit/test_niceness.py"
SSRF = "tests/unit/webhooks/test_ssrf.py"


def _lua(script: str, name: str, old: str, new: str, *tests: str) -> Guard:
    """:param script: its file's name, which stands once in `lua/`; of a shared one with `lib/` before it."""
    (file,) = ROOT.glob(f"pipeline_jobs/lua/**/{script}.lua")
    return Guard(f"{script}: {name}", str(file.relative_to(ROOT)), old, new, tests or (STORE, GUARDED))


def _py(module: str, name: str, old: str, new: str, *tests: str) -> Guard:
    return Guard(f"{module}: {name}", f"pipeline_jobs/{module}.py", old, new, tests)


def _no_oom_flag(script: str) -> Guard:
    return _lua(script, "works when the memory is full", "#!lua flags=allow-oom", "#!lua")


_SAME_FENCE = "job.status ~= 'running' or job.fence ~= fence then"
_RUNNING = "job.status ~= 'running' then"

GUARDS = (
    # -- the fence, the claim
    _lua("claim", "the hint's fence is the last dispatch's", "if job.fence ~= fence or job.reason", "if job.reason"),
    _lua("claim", "only a dispatched job", "if job.fence ~= fence or job.reason ~= 'dispatched' then", "if job.fence ~= fence then"),
    _lua("claim", "only a queued job", "if job.status ~= 'queued' then return {'no', job.status, {}} end", ""),
    _lua("claim", "the same answer for the same run only", "and job.run == run then", "then"),
    _lua("claim", "the record's schema", "> schema then", "> 1e9 then"),
    _lua("claim", "a newer record holds no slot", "  unhint(id, job)\n  wait_apart(id)\n", "  wait_apart(id)\n"),
    _lua("lib/starting", "a worker that is gone fills no slot", "then redis.call('INCR', K.stranded()) end", "then end"),
    _lua("lib/starting", "a rescue is no new attempt", "if job.new_attempt then", "do"),
    _lua("submit", "a repetition waits for the disk", "  redis.call('HSET', K.job(id), 'nonce', nonce)\n", "", GUARDED),
    _lua("submit_batch", "a repetition waits for the disk", "  redis.call('HSET', K.batch(id), 'nonce', nonce)\n", "", GUARDED),
    _lua("schedule_fire", "a repetition waits for the disk", "  redis.call('HSET', K.job(job_id), 'nonce', nonce)\n", "", GUARDED),
    _lua(
        "lib/idempotency",
        "a key's answer waits for the disk",
        "  redis.call('SET', K.idempotency(tenant, key), made, 'KEEPTTL')\n",
        "",
        GUARDED,
    ),
    _lua(
        "feed",
        "a job's id may look like a batch's",
        "if entry[2][1] == 'b' or before then",
        "if string.sub(id, 1, 6) == 'batch_' then",
        BATCHES,
    ),
    _lua("feed", "what the version before wrote", "if entry[2][1] == 'b' or before then", "if entry[2][1] == 'b' then", BATCHES),
    _lua(
        "lib/dependents",
        "a cancel says because of which job",
        "policy == 'fail' and end_failed or end_cancelled\n    end_so(id, job, error, ",
        "policy == 'fail' and end_failed or end_cancelled\n    end_so(id, job, policy == 'fail' and error or nil, ",
        DEPENDENCIES,
    ),
    _lua("schedule_fire", "its job holds its upload", " or bad_upload(asked)\n", "\n", UPLOADS),
    _lua("lib/uploads", "nobody's job holds another's upload", "        job.upload = nil\n", "        job.upload = job.upload\n", UPLOADS),
    _py("webhooks/retries", "what can never be made is dead at once", " or answer.error in (PAYLOAD_LOST, PAYLOAD_BROKEN)", "", WEBHOOKS),
    _py(
        "webhooks/sender",
        "what cannot be made is a try",
        "            return Answer(None, PAYLOAD_BROKEN)\n",
        "            raise\n",
        WEBHOOKS,
    ),
    _py(
        "webhooks/sender",
        "a later version's type is not dead at once",
        '            return Answer(None, "type_unknown")',
        "            return Answer(None, PAYLOAD_BROKEN)",
        WEBHOOKS,
    ),
    _lua("lib/dispatch", "fences never repeat for an id", "(known[2] or known[4]) + 1", "(known[2] or 0) + 1", AGAIN),
    _lua("lib/dispatch", "fences never repeat within a second", "(known[2] or known[4]) + 1", "(known[2] or TIME[1]) + 1", AGAIN),
    _lua("lib/ending", "a removed job's fences are used up", "then redis.call('SET', K.order(), job.fence) end", "then end", AGAIN),
    _lua(
        "lib/ending",
        "orders never go back",
        "if tonumber(job.fence or '0') > tonumber(redis.call('GET', K.order()) or '0') then redis.call('SET', K.order()",
        "if job.fence then redis.call('SET', K.order()",
        AGAIN,
    ),
    _lua("progress", "the fence", _SAME_FENCE.replace(" then", ""), _RUNNING.replace(" then", "")),
    _lua("lib/telling", "progress never falls", "if tonumber(percent) < before then", "if false then"),
    _lua("progress", "tells of a cancel", "if job.cancel_requested or job.deadline_passed then return 'cancel' end", ""),
    _lua("finish", "the fence", _SAME_FENCE, _RUNNING),
    _lua("requeue", "the fence", _SAME_FENCE, _RUNNING),
    _lua("announce", "the fence", _SAME_FENCE, _RUNNING),
    _lua("announce", "tells of a cancel", "(job.cancel_requested or job.deadline_passed) and 'cancel' or 'ok'", "'ok'"),
    # -- round trips
    _lua("jobs/cancel_job", "a cancel sent again says what the job was", "found_before(call) or job.status", "job.status", TRIPS),
    _lua("jobs/cancel_job", "another's job is unknown to a cancel", "not job or not is_of(job, tenant, workspace)", "not job", OWN),
    _lua("jobs/change", "another's job is unknown to a change", "not job or not is_of(job, tenant, workspace)", "not job", OWN),
    Guard("a job that waits is looked at in one trip", "pipeline_jobs/jobs/client.py", "if seen in self._waiting:", "if False:", (TRIPS,)),
    # -- the clock
    _lua("rescue", "leases grow by a gap", "mind_the_gap(before and", "local _ = (before and", CLOCK),
    _lua(
        "announce",
        "others' leases grow by a gap",
        "mind_the_gap()\n",
        "redis.call('SET', K.seen(), int(NOW))\n",
        CLOCK,
    ),
    _lua(
        "lib/clock", "a lease grows by a lease at most", "int(math.min(found[i + 1] + gap, NOW + most))", "int(found[i + 1] + gap)", CLOCK
    ),
    _lua(
        "lib/clock",
        "a clock that was set back is a gap",
        "gap >= 0 and gap < GAP_MS and not restarted",
        "gap < GAP_MS and not restarted",
        CLOCK,
    ),
    _lua("lib/clock", "no gap between usual looks", "gap >= 0 and gap < GAP_MS and not restarted", "gap == 0 and not restarted", CLOCK),
    _lua("lib/clock", "a hint outlives any gap", "math.max(gap, 0) + HINT_MS, HINT_MS)", "HINT_MS, HINT_MS)", MEET),
    _lua("lib/clock", "a hint is given its whole time", "math.max(gap, 0) + HINT_MS, HINT_MS)", "gap, HINT_MS)", MEET),
    _lua(
        "lib/clock",
        "a restart that a beat saw is minded once",
        "tonumber(redis.call('GET', K.seen()) or since",
        "tonumber(since or redis.call('GET', K.seen())",
        MEET,
    ),
    _lua(
        "lib/clock",
        "an announcement stays good",
        "shift(K.workers(), '-inf', gap, ALIVE_MS)",
        "shift(K.workers(), '-inf', gap, 0)",
        CLOCK,
    ),
    _lua("lib/clock", "the longest run is of its own time", "  shift_longest_runs(gap)\n", "", CLOCK),
    _lua(
        "lib/clock", "a client's deadline is of the wall", "int(math.min(longest, tonumber(known[2]) or math.huge))", "int(longest)", CLOCK
    ),
    _lua("lib/fair", "a gap that nobody noticed is no time of a run", "NOW - seen < UNREAD_MS", "true", CLOCK),
    _lua(
        "lib/fair",
        "a run is not charged for a gap while it lasts",
        "local used = used_ms(job)\n  local charged",
        "local used = NOW - tonumber(job.started_at)\n  local charged",
        CLOCK,
    ),
    _lua("lib/clock", "a lease of the present clock stays", "of_before(gap, LEASE_MS)", "'-inf'", CLOCK),
    _lua("lib/clock", "a lease of the clock before goes", "of_before(gap, LEASE_MS)", "'(' .. int(NOW + LEASE_MS)", CLOCK),
    _lua("lib/clock", "a run of the present clock keeps its longest time", "if older and known[1]", "if known[1]", CLOCK),
    _lua("lib/clock", "messages wait no longer", "  shift_deliveries(gap)\n", "", CLOCK),
    _lua("lib/clock", "a lane whose time comes is woken", "  shift(K.webhook_wake(), '-inf', gap, math.huge)\n", "", CLOCK),
    _lua("lib/clock", "rates and backoffs wait no longer", "if gap < 0 then shift_waits(gap) end", "", CLOCK),
    _lua(
        "lib/clock",
        "a start that was asked for stays",
        "if redis.call('HGET', K.job(id), 'reason') == 'retry' then redis.call('ZINC",
        "if true then redis.call('ZINC",
        CLOCK,
    ),
    _lua("lib/known", "a bucket of the future is full", "if at > NOW then return math.max(1, rate) end", "", CLOCK),
    _lua(
        "lib/known",
        "a bucket of the future is not had for ever",
        "if at > NOW then return math.max(1, rate) end",
        "at = math.min(at, NOW)",
        CLOCK,
    ),
    _lua("lib/pace", "no time passes backwards", "-math.max(0, NOW - at)", "-(NOW - at)", CLOCK),
    _lua("lib/pace", "a rate that is no number is forgotten", "if not (rate >= 0 and rate < math.huge) then return 0 end", "", CLOCK),
    _lua("lib/pace", "nan is no number", "if not (rate >= 0 and rate < math.huge) then", "if rate == math.huge then", CLOCK),
    _lua("lib/base", "a sum never falls", "  ms = math.max(0, ms)\n", "", CLOCK),
    _lua("upload_lock_at_offset", "no lock is longer than one may be", "if left > 0 and left <= lock_ms and", "if left > 0 and", CLOCK),
    _lua(
        "webhooks_claim", "no lease is longer than one may be", "shift(K.webhook_leases(), int(NOW + lease_ms), 0, lease_ms)\n", "", CLOCK
    ),
    # -- what a repetition is answered
    *(
        _lua(script, "sent again it answers the same", "--@once\n", "", TWICE)
        for script in (
            "cell/audit",
            "cancel_page",
            "change",
            "delete",
            "key_erase",
            "requeue",
            "schedule_remove",
            "set_max_concurrent_jobs",
            "upload_remove",
            "webhooks_update",
        )
    ),
    _lua("lib/once", "what was said is kept", "  redis.call('SET', K.said(CALL), cjson.encode(reply), 'EX', SAID)\n", "", TWICE),
    _py("store/runner", "each call is one of its own", "secrets.randbelow(10**14)", "7", TWICE),
    # -- the audit log
    _lua("lib/audit", "a tenant's rows are its own", "if tenant ~= '*' then", "if false then", AUDIT),
    _lua("lib/audit", "a class of a tenant has its own rows", "K.tenant_audit(class, tenant)", "K.tenant_audit('work', tenant)", AUDIT),
    _lua("lib/audit", "one order over all streams", "  redis.call('SET', K.audit_last(), id)\n", "", AUDIT),
    _lua("lib/audit", "the version before notes no id", "ipairs({K.audit(), K.audit_work()})", "ipairs({})", AUDIT),
    _lua("lib/audit", "a row that no order has", "redis.call('SET', K.audit_unordered(), '1')", "local nobody = 1", AUDIT),
    _lua("lib/audit", "the order has no row that went", "  redis.call('ZREM', K.audit_order(), unpack(places))\n", "", AUDIT),
    _lua("audit_sweep", "the order has no old row", "if #places > 0 then", "if false then", AUDIT),
    _lua("audit_order", "nobody wrote beside while rows were put in order", "found == named and ordered", "ordered", AUDIT),
    _py(
        "access/audit",
        "a page reads the streams of its rows only",
        'if store.run("audit_order", named="", ended=False):',
        "if False:",
        AUDIT,
    ),
    _py("access/audit", "rows that no order has are read", 'if store.run("audit_order", named="", ended=False):', "if True:", AUDIT),
    _py("cell", "what the version before wrote is put in order", "            audit.order(store)\n", "", AUDIT),
    _lua("audit_sweep", "only what is old goes", "'MINID', oldest", "'MINID', int(NOW + 1)", AUDIT),
    _py("cell", "old rows of the audit log go", "            audit.sweep(store, settings.audit_retention_seconds)\n", "", AUDIT),
    _py("access/audit", "daily work is no security event", '"work" if action.startswith(WORK) else "security"', '"security"', AUDIT),
    _py(
        "schedules/scheduler",
        "a schedule's rows are its tenant's",
        "{**whose, **detail}, tenant_id=schedule.tenant_id",
        "{**whose, **detail}",
        AUDIT_SCHEDULES,
    ),
    # -- a fleet of several classes
    _lua("claim", "a worker takes only what it knows", "if not known then", "if false then", CLASSES),
    _lua(
        "claim",
        "a worker without pipelines knows none",
        "local known, longest = false, run_ms",
        "local known, longest = #pipelines == 0, run_ms",
        CLASSES,
    ),
    _lua(
        "claim",
        "what a worker does not know goes back",
        "  unhint(id, job)\n  redis.call('HSET', K.job(id), 'reason', 'fair_share')\n  make_ready(id, job)\n",
        "",
        CLASSES,
    ),
    _lua("claim", "at once", "return {'no', 'pipeline', admit()}", "return {'no', 'pipeline', {}}", CLASSES),
    _lua("claim", "with no wait", "  make_ready(id, job)\n", "  wait_apart(id)\n", CLASSES),
    _lua(
        "lib/classes",
        "a hint goes to who knows the pipeline",
        "class.schema >= schema and knows(class.text, pipeline)",
        "class.schema >= schema",
        CLASSES,
    ),
    _lua("lib/classes", "and the schema", "class.schema >= schema and ", "", CLASSES),
    _lua("lib/classes", "and has a free slot", "if class.free > 0 and class.schema", "if class.schema", CLASSES),
    _lua("lib/classes", "a slot is taken once", "  class.free = class.free - 1\n  return class.name", "  return class.name", CLASSES),
    _lua("lib/classes", "a hint holds a slot of its class", "    if class then class.free = class.free - 1 end\n", "", CLASSES),
    _lua("lib/classes", "so does one in the common queue", "if (sent[1] or '') == '' and not class then", "if false then", CLASSES),
    _lua("lib/classes", "runs hold those of their worker's class", "math.max(0, slots - (running[worker] or 0))", "slots", CLASSES),
    _lua("lib/classes", "and none of another", "math.max(0, slots - (running[worker] or 0))", "slots - (running[worker] or 0)", CLASSES),
    _lua("lib/classes", "who knows less first", "if #a.text ~= #b.text then return #a.text < #b.text end", "", CLASSES),
    _lua("lib/classes", "a whole name", "';' .. pipeline .. ';'", "pipeline", CLASSES),
    _lua(
        "lib/classes",
        "one class that does not know it has no room",
        "(fleet() == '' or knows(fleet(), pipeline)) and 1e9 or 0",
        "1e9",
        CLASSES,
    ),
    _lua(
        "lib/classes",
        "who says nothing is sent what had been completed",
        "if redis.call('HEXISTS', K.classes(), '') == 0 then",
        "if false then",
        CLASSES,
    ),
    _lua("lib/classes", "before, not since", "if redis.call('HEXISTS', K.classes(), '') == 0 then", "do", CLASSES),
    _lua(
        "lib/classes",
        "workers of before are looked for",
        "class ~= before or redis.call('ZCARD', K.workers()) ~= redis.call('HLEN', K.class_of())",
        "class ~= before",
        CLASSES,
    ),
    _lua("lib/classes", "who says nothing is a class", "if redis.call('ZCARD', K.workers()) > said then live[''] = true end", "", CLASSES),
    _lua("lib/classes", "who is gone is of no class", "if redis.call('ZSCORE', K.workers(), worker) then", "if true then", CLASSES),
    _lua(
        "lib/accept",
        "a worker of before refuses what it may not know",
        "if not job.schema and is_for_classes(pipeline) then",
        "if false then",
        CLASSES,
    ),
    _lua("lib/classes", "a paused worker's runs take no slot", "several = several or slots == '0'", "", MEET),
    _lua("announce", "who is paused is noticed", "(slots == 0) ~= (before == 0)", "false", MEET),
    _lua("announce", "who goes on is noticed", "(slots == 0) ~= (before == 0)", "slots == 0", MEET),
    _lua("lib/classes", "who says nothing is sent anything", "if first and first ~= '' then\n    --", "do\n    --", MEET),
    _lua("lib/dispatch", "a lost worker's class goes", "if gone[1] then note_fleet() end", "", CLASSES),
    _lua(
        "lib/dispatch",
        "who waited for a class has its turn",
        "if free > 0 and FLEET == '*' then ask_blocked() end",
        "",
        CLASSES,
        CLASSES_MODEL,
    ),
    _lua("lib/dispatch", "the classes' own slots", "FLEET == '*' and free_of_classes() or ", "", CLASSES, CLASSES_MODEL),
    _lua("lib/dispatch", "the record says whose slot it has", "if class ~= (known[5] or '') then", "if class ~= '' then", CLASSES),
    _lua("lib/dispatch", "a newer record waits apart", "      wait_apart(id)\n", "", CLASSES),
    _lua(
        "lib/fair", "no room without a class", "if room_of(pipeline) <= 0 then", "if pipeline_full(pipeline) then", CLASSES, CLASSES_MODEL
    ),
    _lua("lib/fair", "a class that comes lets in who waited", "  ask_blocked()\nend", "end", CLASSES, CLASSES_MODEL),
    _lua("lib/hints", "taken back where it was sent", "queue_of(job.class or ''), 1", "QUEUE, 1", CLASSES),
    _lua("lib/reasons", "nobody knows it", "slots_for(pipeline, 'slots') == 0", "false", CLASSES),
    _lua("lib/reasons", "not: their slots are busy", "slots_for(pipeline, 'slots') == 0", "slots_for(pipeline, 'free') == 0", CLASSES),
    _py(
        "worker/start",
        "a worker consumes its class's queue",
        "        sender.app.amqp.queues.select_add(class_queue(sender.app, sender.app.worker_class.name))\n",
        "",
        FLEET,
    ),
    _py("worker/lease", "a worker says its class", ", kind=app.worker_class", "", FLEET),
    _py("jobs/executor", "a worker says what it knows", ", pipelines=pipelines)", ")", CLASSES),
    _py("pipelines", "the schema is of the class", "(schema, *sorted(names))", "(1, *sorted(names))", CLASSES),
    _py("pipelines", "the pool is of the class", 'f"{pool};{text}"', "text", CLASSES),
    # -- one end
    _lua("finish", "the same answer when it is repeated", "local ended = job and job.ended_fence == fence and", "local ended = false and"),
    _lua("finish", "a requested cancel wins", "if stopped(id, job) then", "if false then"),
    _lua(
        "finish",
        "what a run published too late goes",
        "  if folder ~= '' and not (job and job.artifacts == folder) then",
        "  if false then",
        EXECUTOR,
    ),
    _lua(
        "finish",
        "asked again it keeps its files",
        "  if folder ~= '' and not (job and job.artifacts == folder) then",
        "  if folder ~= '' then",
        STORE,
        EXECUTOR,
    ),
    _py(
        "jobs/executor",
        "an empty file is a file",
        "_folder(job) if self._files.any else",
        "_folder(job) if self._files.bytes else",
        EXECUTOR,
    ),
    # -- files that outlive the record
    _lua("purge", "files have a time of their own", "remove_job(id, job, true)", "remove_job(id, job)", KEPT),
    _lua("finish", "never shorter than the record", "math.max(TTL_MS, own and", "math.max(0, own and", KEPT),
    _lua("finish", "the job's own time", "own and 1000 * tonumber(own) or FILES_TTL_MS", "FILES_TTL_MS", KEPT),
    _lua(
        "lib/folders",
        "an id that is used again leaves no folder",
        "if owner == job.tenant_id then drop_folder(id) end",
        "if false then return end",
        KEPT,
    ),
    _lua(
        "lib/folders",
        "their bytes are given back",
        "  redis.call('HINCRBY', K.usage(row[1]), 'artifact_bytes', -tonumber(row[3]))\n",
        "",
        KEPT,
    ),
    _lua("lib/folders", "they go before anything is refused", "    drop_folder(oldest)\n", "    if oldest then return true end\n", KEPT),
    _lua("lib/folders", "none goes where all would not do", "if kept_bytes(tenant) - all > most and", "if false and", KEPT),
    _lua(
        "lib/folders",
        "uncounted ones go as before",
        " and redis.call('HEXISTS', K.kept(oldest), 'counted') == 1 then return",
        " then return",
        KEPT,
    ),
    _lua(
        "lib/folders",
        "with the last folder none is counted",
        "if redis.call('EXISTS', K.tenant_kept(row[1])) == 0 then",
        "if false then",
        KEPT,
    ),
    _lua("lib/folders", "what is counted is counted off", "  if row[6] then redis.call(", "  if false then redis.call(", KEPT),
    _lua(
        "lib/folders",
        "another tenant's row stays",
        "  if owner == job.tenant_id then drop_folder(id) end\n",
        "  drop_folder(id)\n  owner = nil\n",
        KEPT,
    ),
    _lua("lib/folders", "a tenant has one row of an id", "  drop_folder(name)\n  local owner", "  local owner", KEPT),
    _lua(
        "lib/submit_limits",
        "room is made last",
        "  if webhooks_full(tenant) then",
        "  if max_storage_of(tenant) then keeps_more(tenant, max_storage_of(tenant) - 1) end\n  if webhooks_full(tenant) then",
        KEPT,
    ),
    _lua("lib/folders", "only at the quota", "while kept_bytes(tenant) > most do", "while kept_bytes(tenant) > 0 do", KEPT),
    _lua("upload_create", "none goes for what can never fit", "(length > bytes or keeps_more", "(keeps_more", KEPT),
    _lua(
        "drop_kept", "another tenant's stays", "if redis.call('HGET', K.kept(name), 'tenant_id') == tenant then return", "do return", KEPT
    ),
    _py("files/kept", "a row is asked for by its tenant", 'if flat and tenant_id in (None, flat["tenant_id"]):', "if flat:", KEPT),
    _py("operation/erase", "kept files are erased", "        kept.erase(store, tenant_id)\n", "", KEPT),
    _py(
        "web/api/jobs",
        "another's kept files are unknown",
        "caller().own(cell.kept.get(path.job_id, caller().tenant(None)), UnknownJob)",
        "cell.kept.get(path.job_id)",
        KEPT_FILES,
    ),
    _py(
        "web/api/artifacts",
        "what is kept is the winner's",
        '            if folder == "/".join(folders):\n',
        "            if True:\n",
        KEPT_FILES,
    ),
    _py(
        "store/readable",
        "another's job is as little work as none",
        ' or not whose.has(flat["tenant_id"], flat["workspace_id"])',
        "",
        FOREIGN,
    ),
    _py(
        "web/api/deliveries",
        "another's delivery is as little work as none",
        '    caller().look(web().cell.store, "delivery", delivery_id, UnknownDelivery)\n',
        "",
        FOREIGN,
    ),
    _py(
        "web/api/events",
        "another's log is as little work as none",
        '    who.look(web().cell.store, "job", job_id, UnknownJob)\n',
        "",
        FOREIGN,
    ),
    # -- the former name of a field
    _py(
        "store/idempotency",
        "the same request by either name",
        "    return by_former_names(differing(new))\n",
        "    return differing(new)\n",
        FORMER,
    ),
    _py(
        "schedules/schedule",
        "a template of the release before",
        "dumps(by_former_names(template_body(self.template)))",
        "dumps(template_body(self.template))",
        FORMER,
    ),
    _py("job", "a field has one value", "    if one != other:\n", "    if False:\n", FORMER),
    _py("job", "a record of the release before", ', metadata={"stored": "ttl_seconds"})', ")", FORMER),
    _py("web/schemas/jobs", "who uses a former name is told", "                note_deprecated()\n", "", FORMER),
    # -- large results
    _py("jobs/results", "a large result leaves the record", "if len(self.text) <= MAX_IN_RECORD:", "if True:", RESULTS),
    _py("jobs/results", "what is handed on is bounded", "self.whole if len(self.text) <= MAX_BY_VALUE else kept", "self.whole", RESULTS),
    _py("jobs/results", "a chain is given the reference", 'or result["result_bytes"] > most:', "or False:", RESULTS),
    _py("jobs/results", "a preview has its room", "        if size <= left:\n", "        if True:\n", LARGE),
    _py("job", "a reference of another's is none", ' and path.split("/")[2:3] == [job_id] else None', " else None", RESULTS),
    _py("jobs/executor", "a result is written again", "self._files), PublishError)", "self._files), StoreUnavailable)", RESULTS),
    _py(
        "jobs/executor",
        "that it cannot be written is the machine's fault",
        'raise MachineFault(f"the result cannot be stored: {error}") from error',
        "raise _Raised(error) from error",
        RESULTS,
    ),
    _py("files/artifacts", "a pipeline's own file of that name", "in self._sizes.keys() - self._own:", "in ():", RESULTS),
    _py("files/artifacts", "the same name as it is written again", "        self._own.add(path)\n", "", RESULTS),
    _py("worker/backend", "a joined chord is given references", "        self._most = MAX_BY_VALUE\n", "", RESULTS),
    _py(
        "worker/result_consumer",
        "who is told of an end is given the whole",
        "self.backend.with_result(meta), message",
        "meta, message",
        RESULTS,
    ),
    _lua(
        "lib/folders",
        "a result stays until Celery was told",
        "local untold = redis.call('HGET', K.continuation(id), 'artifacts') == path",
        "local untold = false",
        RESULTS,
    ),
    _lua("continued", "and goes then", "if folder then redis.call('RPUSH', K.trash(), folder) end\n", "", RESULTS),
    _py(
        "web/http/replies", "a lost result has another ETag", "content_type=_JSON), _etag(body)", "content_type=_JSON), _etag(data)", LARGE
    ),
    _py(
        "web/http/replies",
        "the file is closed",
        "    response.call_on_close(file.close)\n    response.content_length",
        "    response.content_length",
        LARGE,
    ),
    _py("web/http/replies", "a list has no results", '    del body["result"]\n', "", LARGE),
    _py("jobs/executor", "a lost run's empty file goes", "        if self._files.any:\n", "        if self._files.bytes:\n", EXECUTOR),
    _lua("finish", "a loser's artifacts are thrown away", "if folder ~= '' and job.status ~= 'completed' then", "if false then"),
    _lua(
        "lib/cancel",
        "a cancel leaves an ended job as it is",
        "if job.status == 'queued' then\n    end_cancelled",
        "if job.status ~= 'running' then\n    end_cancelled",
    ),
    _lua(
        "lib/ending",
        "an end gives its lease and slot back",
        "if not release(id, job, to, ended_one_of(share)) then",
        "if ended_one_of(share) then",
    ),
    _lua("lib/ending", "an end leaves the queue", "if job.status == 'queued' then leave_queue(id, job) end", ""),
    _lua(
        "lib/queue",
        "a lease given back is counted down",
        "if redis.call('HINCRBY', K.running(), job.worker, -1) <= 0 then",
        "if false then",
    ),
    _lua("lib/queue", "a stranded lease that ends is counted down", "then redis.call('DECR', K.stranded()) end", "then end"),
    _lua(
        "lib/worker_lost",
        "a dead worker's cancelled job ends",
        "  local ended = stopped(id, job)\n  if ended then return ended end\n  local crashes",
        "  local crashes",
    ),
    _lua("lib/worker_lost", "the third crash is the last", "if crashes >= MAX_CRASHES then", "if false then"),
    # -- the next job of a child
    _lua(
        "finish", "a worker with more runs than slots", "if tonumber(running or '0') >= tonumber(slots or '0') then", "if false then", NEXT
    ),
    _lua("finish", "a hint of a job's own", "known[3] or tonumber", "tonumber", NEXT),
    _lua("finish", "who came by a message of its own takes no other", "and not job.celery and", "and", NEXT),
    _lua("finish", "a newer record is for newer workers", "tonumber(known[6] or '1') > schema", "false", NEXT),
    _lua("finish", "what the worker does not know", "if record or not at or", "if record or", NEXT),
    _lua("finish", "what is of another class", "if class ~= '' and class ~=", "if false and class ~=", NEXT),
    _lua("finish", "one job for one process", "if record or not at or", "if not at or", NEXT),
    _lua("finish", "the same next job when it is repeated", ", {}, unpack(handed_over())}", ", {}}", NEXT),
    _lua("finish", "the time of its pipeline", "tonumber(string.match(pipelines, '^%d+', at + 1))", "math.huge", NEXT),
    _lua("process_lost", "the hint is taken back", "  unhint(id, job)\n", "", NEXT),
    _lua("process_lost", "a late claim finds no hint", " and job.fence == fence and", " and", NEXT),
    _lua("process_lost", "the nonces of this process only", "own[known[2]] then", "true then", NEXT),
    _lua("process_lost", "the leases of this worker only", "if known[1] == worker and", "if", NEXT),
    _py("worker/seats", "noted before it is asked for", "        self._write(replace(held, asking=run))\n", "", SEATS),
    _py("worker/seats", "one half is always whole", "_HALF * (turn & 1), held.pack()", "_HALF * (1 - turn & 1), held.pack()", SEATS),
    _py(
        "worker/seats", "a child that is stopped asks for nothing", "        if self._stopped(self.number):\n", "        if False:\n", SEATS
    ),
    _py("worker/seats", "a pid that was used before", "        self.seats.clear(os.getpid())\n", "", SEATS),
    _py("worker/job_loop", "a child gives way", "self._left > 0 and time.monotonic() < self._until and", "", LOOP),
    _py("worker/job_loop", "a child that is worn", " and not self.worn()", "", LOOP),
    _py("worker/job_loop", "an answer that nobody read", "if self.seat.held.asking and", "if False and", LOOP),
    _py(
        "worker/job_loop",
        "what the child may have is said",
        "job_id, fence, self.seat.held.runs)\n        return",
        "job_id, fence)\n        return",
        LOOP,
    ),
    _py(
        "worker/lease",
        "a child that went on keeps its process",
        "        if not running.stays(",
        "        if False and running.stays(",
        KEEPER,
    ),
    _py("worker/prefork", "a time limit is of the job that the child has now", "    if left > 0:\n", "    if False:\n", PREFORK),
    _py("worker/prefork", "a child about to end its job is not killed for it", "is not None and held.asking:", "is None:", PREFORK),
    _py(
        "worker/request",
        "nobody else draws the fence of a bare message",
        "        self.request_dict.pop(DRAWN_HEADER, None)\n",
        "",
        FAILURE_WRITES,
    ),
    # -- in
    _lua("submit", "a repetition is the same job", "if known[1] ~= nonce then", "if true then"),
    _lua("submit", "a taken id is refused", "if known[1] ~= nonce then return {'taken'} end", ""),
    _lua("lib/submit_limits", "the tenant's cap", "+ n > most then", "+ n > 1e9 then", BACKPRESSURE),
    _lua("lib/submit_limits", "the cap of all", "+ n > QUEUE_MOST_OF_ALL then", "+ n > 1e9 then", BACKPRESSURE),
    _py("store/guard", "refuses when the memory is full", "if self._full:", "if False:", BACKPRESSURE),
    # -- whose the memory is
    _lua("lib/submit_limits", "a tenant's share of the memory", "if share >= 0 and ", "if share >= 1e15 and ", MEMORY),
    _py(
        "store/guard",
        "below the watermark each may hold what it will",
        "if used <= watermark * limit or not limit:",
        "if not limit:",
        MEMORY,
    ),
    _py("store/guard", "the share shrinks as the server fills", "full_at(watermark) * limit - used", "full_at(watermark) * limit", MEMORY),
    _lua("lib/accept", "a new job is charged", "  owe(tenant, owed)\n", "", MEMORY),
    _lua("submit_batch", "what each job of a batch has of its own is charged", "    own = own + #field + #value\n", "", MEMORY),
    _lua("submit_batch", "a batch is charged", "owe(tenant, bytes)\n", "", MEMORY),
    _lua("lib/batches", "a batch gives its charge back", "  owe(whose[1], -(whose[3] or 0))\n", "", MEMORY),
    _lua("lib/ending", "a result is charged", "  if bytes > 200 then job.store_bytes", "  if bytes > 1e9 then job.store_bytes", MEMORY),
    _lua("lib/ending", "a removed job gives its charge back", "  owe(job.tenant_id, -(job.store_bytes or 0))\n", "", MEMORY),
    _lua("lib/events", "a long log is charged", "  if number % 8 == 0 and number > 8", "  if number < 0", MEMORY),
    _lua("lib/events", "a log at its maximum costs no more", " and length <= LOG_MOST then job.", " then job.", MEMORY),
    _lua("lib/outputs", "kept outputs are charged", "bytes_of(#outputs - redis", "bytes_of(0 * redis", MEMORY),
    _lua("lib/idempotency", "a key is charged", "owe(tenant, REMEMBERED_BYTES)", "owe(tenant, 0)", MEMORY),
    _lua("lib/idempotency", "a key is charged once", ", key) == 1 then", ", key) then", MEMORY),
    _lua("trim", "a forgotten key gives its charge back", "  give_back_remembered(tenant)\n", "", MEMORY),
    _lua("trim", "only when its day is over", "'-inf', int(NOW)), 5000)", "'-inf', '+inf'), 5000)", MEMORY),
    _lua("trim", "a message is a record", "{K.deliveries(tenant), K.tenant_kept", "{K.tenant_kept", MEMORY),
    _lua("trim", "a kept folder is a record", ", K.tenant_kept(tenant), K.tenant_uploads", ", K.tenant_uploads", MEMORY),
    _lua("trim", "an upload is a record", "K.tenant_uploads(tenant), K.remembered", "K.remembered", MEMORY),
    _lua("trim", "what was not given back is put right", "if ended + live + others == 0 then", "if false then", MEMORY),
    _lua("trim", "a remembered key is a record", ", K.remembered(tenant)}) do", "}) do", MEMORY),
    _lua("schedule_put", "cleanup knows whoever has a key", "    redis.call('ZINCRBY', K.tenants(), 0, tenant)\n", "", MEMORY),
    _lua("upload_create", "an upload is charged", "480 + bytes_of(#metadata)", "1", MEMORY),
    _lua("upload_advance", "a part is charged", "  if parts[1] then charge_upload(", "  if false then charge_upload(", MEMORY),
    _lua("lib/uploads", "an upload gives its charge back", "  owe(known[1], -(known[4] or 0))\n", "", MEMORY),
    _lua("upload_create", "who is above its share begins no upload", "if share >= 0 and", "if false and", MEMORY),
    _lua("upload_lock_at_offset", "who is above its share goes on with none", "if share >= 0 and", "if false and", MEMORY),
    _lua("lib/outbox", "messages are charged", "  if owed > 0 then owe(event.tenant, owed) end\n", "", MEMORY),
    _lua("lib/outbox", "messages give their charge back", "  owe(row.tenant_id, -given_back)\n", "", MEMORY),
    _lua("lib/outbox", "a reference gives the rest of the charge back", "  owe(row.tenant_id, 300 - (bytes or 0))\n", "", WEBHOOKS),
    _lua(
        "lib/outbox",
        "a body stays while a receiver lacks it",
        " and other[2] ~= 'delivered' then return end",
        " and false then return end",
        WEBHOOKS,
    ),
    _lua("webhooks_redeliver", "what cannot be made again is not sent", "if kept[1] and redis", "if false and redis", WEBHOOKS),
    _py("webhooks/ledger", "a message is of its own job", 'if record.get("order") == kept["order"] else {}', "if record else {}", WEBHOOKS),
    _lua("trim", "those that ended first go first", "return a[2] < b[2]", "return a[2] > b[2]", MEMORY),
    _lua(
        "trim",
        "what has a result stays",
        "remove_oldest(tenant, {'cancelled'}, limit",
        "remove_oldest(tenant, {'completed'}, limit",
        MEMORY,
    ),
    _lua("trim", "whoever holds little keeps it", "if held > share and share >= 0", "if share >= 0", MEMORY),
    _lua("trim", "a tenant's own limit", "limits_of(tenant).max_ended or most", "most", MEMORY),
    _lua(
        "trim",
        "a workspace with jobs is remembered",
        "if not redis.call('ZSCORE', K.workspaces",
        "if true or not redis.call('ZSCORE', K.workspaces",
        MEMORY,
    ),
    _lua(
        "cancel_page",
        "one cancellation of a tenant at a time",
        "if holder and holder ~= turn then",
        "if false then",
        "tests/integration/test_bulk.py",
    ),
    _lua(
        "cancel_page",
        "no tenant is in an operator's way",
        "(operator and '*' or redis",
        "(false or redis",
        "tests/integration/test_bulk.py",
    ),
    _py("jobs/bulk", "what was done midway is said", "if reply.wait and not looked:", "if reply.wait:", "tests/integration/test_bulk.py"),
    _py(
        "jobs/batches",
        "half a batch is not all of it",
        "        if done.next_cursor is not None:\n",
        "        if False:\n",
        "tests/integration/test_bulk.py",
    ),
    _lua("cancel_page", "a turn ends with its work", "elseif holder then", "elseif false then", "tests/integration/test_bulk.py"),
    _py(
        "store/guard",
        "refuses a server that could lose jobs",
        "if self._unsafe and not self.settings.allow_unsafe_store:",
        "if False:",
        BACKPRESSURE,
    ),
    _py("store/runner", "waits for the disk", "if durably:", "if False:", BACKPRESSURE),
    _py("store/runner", "a write that did not reach the disk is not accepted", "if on_disk < 1:", "if False:", GUARDED),
    # -- slots
    _lua("lib/dispatch", "the cap over all workers", "(tonumber(known[5]) or CAP) - taken", "1e9"),
    _lua("lib/dispatch", "one cap for all processes", "(tonumber(known[5]) or CAP)", "CAP", CAP),
    _lua("lib/reserve", "one cap for all processes, when somebody asks", "tonumber(known[2] or CAP)", "CAP", CAP),
    _py(
        "jobs/pipeline_limits",
        "the default is nobody's wish",
        'if "max_concurrent_jobs" not in settings.model_fields_set:',
        "if False:",
        CAP,
    ),
    _py("store/contract", "an unknown argument is refused", "        if given:\n", "        if False:\n", SCRIPTS),
    _py("store/contract", "an argument has its type", "not isinstance(value, TYPES[self.kind][0])", "False", SCRIPTS),
    _lua("lib/dispatch", "hints on the broker fill slots", "running - stranded + hinted", "running - stranded"),
    _lua("lib/dispatch", "leases of dead workers fill no slot", "or capacity - taken,", "or capacity - taken - stranded,"),
    _lua(
        "lib/dispatch",
        "nor do they count against the cap",
        "or CAP) - taken)",
        "or CAP) - taken - stranded)",
        DEAD,
    ),
    _lua(
        "queue_position", "nor are they said to run", "redis.call('ZCARD', K.leases()) - stranded", "redis.call('ZCARD', K.leases())", DEAD
    ),
    _lua("announce", "a dead worker's leases end with its node's next one", "  if dead then end_leases_of(dead) end\n", "", DEAD),
    _lua("announce", "only of its own node", "string.sub(other, 1, #node) == node and", "other ~= worker and", DEAD),
    _lua("announce", "only if its announcement lapsed", "not redis.call('ZSCORE', K.workers(), other) then", "other ~= worker then", DEAD),
    _lua("announce", "only what is not renewed", "int(NOW + LEASE_MS - ALIVE_MS))", "'+inf')", DEAD),
    _lua("announce", "and it may still renew", "'XX', 'LT', int(NOW + ALIVE_MS), id)", "'XX', 'LT', int(NOW), id)", DEAD),
    _lua("lib/dispatch", "slots of a silent worker are gone", "K.workers(), '-inf', int(NOW))", "K.workers(), '-inf', '-inf')"),
    _lua(
        "lib/queue",
        "a lease that ends frees its tenant's slot",
        "    slot_freed(id, job, to, ...)\n",
        "",
        FAIR,
    ),
    # -- batches, dependencies, retries
    _lua("submit_batch", "a repetition is the same batch", "if known[1] ~= nonce then", "if true then", BATCHES),
    _lua(
        "submit_batch", "a taken id refuses the batch", "if redis.call('EXISTS', unpack(keys)) > 0 then return {'taken'} end", "", BATCHES
    ),
    _lua(
        "lib/batches",
        "the end of a batch is told once",
        "if redis.call('HSETNX', K.batch(id), 'completed_at', int(NOW)) == 1 then",
        "do",
        BATCHES,
    ),
    _lua("lib/batches", "a batch goes with its last job", "if redis.call('EXISTS', K.batch_jobs(id)) == 1 then return end", "", BATCHES),
    _lua("lib/dependencies", "only one's own jobs", "found[2] == tenant and (within", "(within", DEPENDENCIES),
    _lua(
        "lib/dependencies", "who stops waiting is forgotten", "if job.reason ~= 'dependency' then return end", "do return end", DEPENDENCIES
    ),
    _lua(
        "lib/dependents",
        "a policy",
        "local policy = to == 'completed' and 'run' or more[1] or 'fail'",
        "local policy = 'run'",
        DEPENDENCIES,
    ),
    _lua("lib/dependents", "all of them", "elseif redis.call('EXISTS', K.needs(id)) == 0 then", "else", DEPENDENCIES),
    _lua("keep_outputs", "the fence", _SAME_FENCE.replace(" then", ""), _RUNNING.replace(" then", ""), RETRY),
    _lua("lib/outputs", "an output stays as long as a record names it", "    if named <= 0 then\n", "    if by < 0 then\n", RETRY),
    # -- no script does very much at once
    _lua(
        "lib/dependents",
        "a cascade stops in the middle",
        "while not worked_enough() do\n    local id",
        "while true do\n    local id",
        HOLDS,
    ),
    _lua(
        "lib/dependents",
        "who is left is kept",
        "if not serve_all(ended) then redis.call('RPUSH', K.unsettled(), cjson.encode(ended)) end",
        "serve_all(ended)",
        DEPENDENCIES,
    ),
    _lua(
        "lib/dependents",
        "all were served, or some are left",
        "return redis.call('EXISTS', K.dependents(ended[1])) == 0",
        "return true",
        DEPENDENCIES,
    ),
    _lua(
        "lib/dependents", "a duty goes on with what was left", "local kept = redis.call('LPOP', K.unsettled())", "local kept", DEPENDENCIES
    ),
    _lua("announce", "only duties serve what others left", "settle_kept_and_admit()", "settle_and_admit()", DEPENDENCIES),
    _lua("cancel_page", "a page ends with its work", "looked_at < #found and not worked_enough() do", "looked_at < #found do", HOLDS),
    _lua(
        "cancel_page", "the next page begins where this one stopped", "and found[looked_at][2] or ''", "and found[#found][2] or ''", HOLDS
    ),
    _py("jobs/bulk", "no more than were asked for", "min(PAGE, most - looked)", "PAGE", HOLDS, "tests/integration/test_bulk.py"),
    _lua(
        "rescue",
        "leases that end at once are many",
        "if worked_enough() then break end\n  local job = load(id)\n  if job and job.status == 'running'",
        "local job = load(id)\n  if job and job.status == 'running'",
        HOLDS,
    ),
    _py(
        "operation/maintenance",
        "rescue goes on until nothing is left",
        "while found := self.store.rescue():",
        "if found := self.store.rescue():",
        HOLDS,
    ),
    _py("operation/maintenance", "so do those who wait", "while any(self.store.settle()):", "if any(self.store.settle()):", DEPENDENCIES),
    _lua("reconcile", "a page ends with its work", "looked_at < #ids and not worked_enough() do", "looked_at < #ids do", RECONCILE),
    _lua("reconcile", "the next page begins where this one stopped", "orders[looked_at] or", "orders[#orders] or", RECONCILE),
    _lua("reconcile", "a hint is a slot", " or share.n > 0 and hinted_tenants()[tenant]}", "}", RECONCILE),
    _lua("reconcile", "no slots that nobody has", "if not found.holds and share.n ~= 0 then", "if false then", RECONCILE),
    _py("operation/maintenance", "a tick has its end", "while looked_at < self.most:", "while True:", RECONCILE),
    _py("operation/maintenance", "a lease that came back is counted", "        if jobs:\n", "        if not self:\n", RECONCILE),
    _lua("submit_batch", "one large batch a second", "if wait > 0 then return {'rate', 'batch', '1', int(wait)} end", "", BATCHES),
    _lua("submit_batch", "small ones are not counted", "local wait = size > LARGE and", "local wait =", BATCHES),
    _lua("submit_batch", "small ones do not begin it", "if #asked > LARGE then redis.call('SET'", "if true then redis.call('SET'", BATCHES),
    _lua("lib/accept", "what all jobs of a batch have is written", "redis.call('COPY', key, asked[i].key)", "local _", BATCHES),
    _lua("lib/accept", "a job of a batch says why it waits", "if job.reason ~= 'fair_share' then redis", "if false then redis", BATCHES),
    _lua("submit_batch", "each job's fields are its own", "from_all), {}, 0", "from_all), flat, 0", CLASSES),
    _lua("lib/events", "a batch cuts the feed", "'MAXLEN', '~', FEED_MOST, '*', 'e', asked[", "'*', 'e', asked[", EVENTS),
    _lua("lib/accept", "very many tags are written later", "if job.tags and tagged >= TAGS_AT_ONCE then", "if false then", HOLDS),
    _lua(
        "lib/accept", "they are written at last", "if untagged[1] then redis.call('RPUSH', K.untagged(), unpack(untagged)) end", "", BATCHES
    ),
    _lua("lib/indexes", "the tags of one that is gone", "known[3] and cjson.decode(known[3]) or {}", "cjson.decode(known[3])", BATCHES),
    _lua("lib/indexes", "tags leave work for the others", "while spent.commands < WORK_MOST / 2 do", "while true do", HOLDS),
    _py(
        "jobs/batches",
        "tags are there when it is answered",
        "                    if reply.untagged:\n",
        "                    if False:\n",
        BATCHES,
    ),
    _py("jobs/batches", "dependencies of a batch", "> MAX_DEPENDENCIES:", "> MAX_DEPENDENCIES * MAX_JOBS:", BATCHES),
    _lua("lib/dispatch", "dispatches of a script", "math.min(free_slots(), DISPATCHES_MOST)", "free_slots()", HOLDS),
    _lua("lib/fair", "workspaces that come back are many", "while room > 0 and not worked_enough() do", "while room > 0 do", HOLDS),
    _lua("lib/fair", "those of a pipeline without a cap, too", "  -- came that knows them.\n  ask_blocked()\n", "", HOLDS),
    _lua("set_limits", "tenants that wait are many", "if worked_enough() then", "if false then", HOLDS),
    _lua("set_limits", "each of them is let in", "add_all(K.parked(), later)", "", HOLDS),
    _lua("schedule_fire", "runs that it cancels are many", "if worked_enough() then break end", "", SCHEDULES),
    _lua("webhooks_claim", "rows of an endpoint that is gone", "and not took and not worked_enough() do", "and not took do", HOLDS),
    _lua("list", "a page of very large results", " or bytes >= BYTES_MOST", "", HOLDS),
    # -- tenants
    _lua("lib/idempotency", "a key makes one job", "if not made then return nil end", "do return nil end", TENANTS),
    _lua("lib/idempotency", "a key belongs to one request", "if not (of and ", "if false and (of and ", TENANTS),
    _lua("lib/submit_limits", "the tenant's submit rate", "local wait = limits.submit_rate and", "local wait = false and", TENANTS),
    _lua("lib/submit_limits", "the sender's submit rate", "if SENDER_RATE > 0 and", "if false and", TENANTS),
    _py("store/idempotency", "a key is its sender's own", "sender.scope if sender else", "'' if sender else", TENANTS),
    _lua("lib/idempotency", "either form of a fingerprint is taken", "' ' .. of .. ' ', 1, true)", "' ' .. of, 1, true) == 1", IDEMPOTENCY),
    _lua("lib/idempotency", "the form of the release before is remembered", "(fingerprint, '^%S*')", "(fingerprint, '%S*$')", IDEMPOTENCY),
    _lua("lib/starting", "the first start stays", "job.first_started_at or job.started_at or int(NOW)", "int(NOW)", STORE),
    _lua("lib/fair", "a paused tenant starts nothing", "if limits.paused and limits.paused ~= 0 then", "if false then", FAIR),
    _lua("lib/fair", "the present goes back with a clock that was put right", "and now ~= present() then", "and now > present() then", NEW),
    _lua("lib/fair", "a newcomer gains nothing from another's correction", "PEAK + entry", "now + entry", FAIR),
    _lua("lib/fair", "a newcomer is before all", "newcomer and NEWCOMERS + entry or share.time", "newcomer and now or share.time", NEW),
    _lua("lib/fair", "who was never served is a newcomer still", " or share.time == share.came", "", NEW),
    _lua("lib/fair", "a newcomer's score is no present", "now > NEWCOMERS / 2 and ", "", NEW),
    _lua("lib/fair", "a correction is of time to come", "correction = math.max(correction, -AHEAD_MS)", "correction = correction", NEW),
    _lua("lib/fair", "a dispatch that was taken back costs something", " or job.taken_back then", " then", NEW),
    _lua("lib/fair", "a lost hint costs nothing", "if job.status == 'running' or job.taken_back then", "do", NEW),
    _lua("lib/fair", "a run that was lost is refunded", "  if job.ran_until then return 0 end\n", "", DEAD),
    _lua("lib/fair", "a refund is no credit", "  if job.ran_until then\n    --", "  if false then\n    --", DEAD),
    _lua(
        "lib/worker_lost",
        "a lost job goes first",
        "  if job.ran_until then redis.call('ZADD', K.lost()",
        "  if false then redis.call('ZADD', K.lost()",
        DEAD,
    ),
    _lua(
        "lib/worker_lost",
        "one that crashed does not",
        "  if job.ran_until then redis.call('ZADD', K.lost()",
        "  do redis.call('ZADD', K.lost()",
        DEAD,
    ),
    _lua(
        "lib/fair",
        "a lost job whose tenant is held back waits",
        "not held_back(job.tenant_id) and not most_beside_others",
        "not most_beside_others",
        DEAD,
    ),
    _lua(
        "lib/fair",
        "a lost job that is to start later is let go",
        "and take_ready(id, job) then",
        "and (take_ready(id, job) or true) then",
        DEAD,
    ),
    _lua(
        "reconcile",
        "who is to be asked is no fault",
        "if apart and redis.call('ZSCORE', K.blocked",
        "if false and redis.call('ZSCORE', K.blocked",
        MEET,
    ),
    _lua("reconcile", "who is to be asked is noted", "    redis.call('SADD', K.blocking(), job.pipeline)\n", "", MEET),
    _lua("lib/fair", "a lost job keeps its turn", "if slots_for(pipeline, 'free') > 0 then\n        redis", "do\n        redis", MEET),
    _lua("lib/fair", "all lost jobs that may start are first", "until not dropped or worked_enough()", "until true", MEET),
    _lua("lib/dispatch", "what came before leaves some work", "spent.commands = math.min(spent.commands, WORK_MOST / 2)", "", MEET),
    _lua("lib/queue", "hints of cancelled jobs are taken back", "    take_back(id, job)\n    slot_freed", "    slot_freed", FAIR),
    _lua("submit", "a job that may start is dispatched at once", "ENTERED and admit() or {}", "{}", STORE),
    _py("store/scripts", "a function keeps nothing from one call to the next", 'value != "{}" and ', "", "tests/integration/test_wire.py"),
    _lua("lib/fair", "a tenant's limit of running jobs", "if limits.max_concurrent and", "if false and", FAIR),
    _lua("lib/fair", "a tenant's start rate", "if have < 1 then", "if false then", FAIR),
    _lua("lib/known", "a pipeline's cap", "return pipe.cap and", "return false and", FAIR),
    _lua(
        "lib/fair",
        "being idle saves up no credit",
        "math.max(share.time, PEAK + ",
        "math.min(share.time, PEAK + ",
        FAIR,
    ),
    _lua("lib/fair", "shares are by the time that was used", "= used - tonumber(job.charged", "= 0 * tonumber(job.charged", FAIR),
    # -- what time runs out for
    _lua("rescue", "an unclaimed hint is lost", "K.hints(), '-inf', int(NOW), 'LIMIT'", "K.hints(), '-inf', '-inf', 'LIMIT'"),
    _lua("rescue", "a fresh hint is not", "K.hints(), '-inf', int(NOW), 'LIMIT'", "K.hints(), '-inf', '+inf', 'LIMIT'"),
    _lua("progress", "a run renews its lease", "redis.call('ZADD', K.leases(), 'XX', NOW + LEASE_MS, id)", "", GUARDED),
    _lua(
        "progress",
        "not one that must stop",
        "if job.cancel_requested or job.deadline_passed then return 'cancel' end",
        "redis.call('ZADD', K.leases(), 'XX', NOW + LEASE_MS, id)\nif job.cancel_requested or job.deadline_passed then return 'cancel' end",
        GUARDED,
    ),
    _lua(
        "progress",
        "nor one that another has overtaken",
        "if not job or job.status",
        "redis.call('ZADD', K.leases(), 'XX', NOW + LEASE_MS, id)\nif not job or job.status",
        GUARDED,
    ),
    _lua("rescue", "a good lease is left alone", "K.leases(), '-inf', int(NOW), 'LIMIT'", "K.leases(), '-inf', '+inf', 'LIMIT'"),
    _lua(
        "rescue",
        "a restarted server takes nobody's job away",
        "mind_the_gap(before and before ~= server, ",
        "mind_the_gap(false, ",
        RECONCILE,
    ),
    _lua("rescue", "the time that a dead worker's job lay dead is not its own", "job.ran_until = ", "local _ = ", FAIR),
    _lua(
        "lib/worker_lost",
        "a run that gives its job up has its folder thrown away",
        "  -- The run removes its folder itself, if it lives that long.\n  discard(id, job, job.fence)",
        "",
        STORE,
    ),
    _lua("lib/requeueing", "a finished run keeps its folder", "if folder ~= job.artifacts then", "if true then", STORE),
    _lua(
        "rescue",
        "a deadline",
        "job.deadline_passed = run and 'run' or '1'\n    redis.call('HSET', K.job(id), 'deadline_passed', job.deadline_passed)",
        "",
    ),
    _lua("rescue", "a job that waited too long", "K.waits(), '-inf', int(NOW)", "K.waits(), '-inf', '-inf'"),
    _lua("lib/ending", "a passed deadline wins over a finish", "elseif job.deadline_passed then", "elseif false then"),
    _lua("lib/fair", "a backoff has passed", "K.delayed(), '-inf', int(NOW), 'LIMIT'", "K.delayed(), '-inf', '+inf', 'LIMIT'"),
    # -- out
    _lua("delete", "ended jobs only", "if job.status == 'queued' or job.status == 'running' then return 'live' end", ""),
    _lua("purge", "ended jobs only", "K.ended(), '-inf', int(NOW)", "K.status('queued'), '-inf', '+inf'"),
    _lua("purge", "expired jobs only", "K.ended(), '-inf', int(NOW)", "K.ended(), '-inf', '+inf'"),
    _py("operation/maintenance", "a folder in use is not swept", "if not held:", "if True:", MAINTENANCE),
    # -- a full server
    _no_oom_flag("finish"),
    _no_oom_flag("progress"),
    _no_oom_flag("tick"),
    _no_oom_flag("beat"),
    # -- schedules
    _lua("schedule_plan", "a slot is planned once", " or schedule.next_run_at ~= now then", " then", SCHEDULES),
    _lua("schedule_fire", "a slot is fired once", "redis.call('ZSCORE', K.schedule_slots(id), slot)", "true", SCHEDULES),
    _lua(
        "schedule_fire",
        "a slot that was fired waits no more",
        "  redis.call('ZREM', K.schedule_slots(id), slot)\n  slots_done",
        "  slots_done",
        SCHEDULES,
    ),
    _lua(
        "schedule_fire",
        "no template but the newest",
        "if schedule.revision ~= revision then return {'stale'} end",
        "",
        SCHEDULES,
    ),
    _lua("schedule_fire", "overlap skip", "if schedule.overlap == 'skip' then return skipped('overlap') end", "", SCHEDULES),
    _lua("schedule_fire", "one after the other", "if left > 0 then", "if false then", SCHEDULES),
    _lua("schedule_fire", "a limit refuses a slot too", "if refused then\n", "if false then\n", SCHEDULES),
    _lua("schedule_put", "two changes at once", "if known.revision ~= before then return {'changed'} end", "", SCHEDULES),
    _lua(
        "schedule_put",
        "a slot that is due is reported before a change",
        "<= NOW then return {'due'} end",
        "<= 0 then return {'due'} end",
        SCHEDULES,
    ),
    _lua("schedule_put", "a key makes one schedule", "if made then return made end", "", SCHEDULES),
    _lua(
        "schedule_fire",
        "a key makes one run by hand",
        "idempotency ~= '' and made_before(schedule.tenant_id, idempotency, fingerprint) or bad_upload",
        "bad_upload",
        SCHEDULES,
    ),
    _lua("schedule_put", "slots that wait are skipped by a pause", "if paused then", "if false then", SCHEDULES),
    _no_oom_flag("cancel_job"),
    _no_oom_flag("announce"),
    _no_oom_flag("requeue"),
    _no_oom_flag("rescue"),
    _no_oom_flag("purge"),
    _no_oom_flag("delete"),
    # -- webhooks
    _lua("lib/ending", "whatever ends a job tells of it", "  outbox_job(id, job, to, number)\n", "", WEBHOOKS),
    _lua("lib/outbox", "a copy of the record", "if key then redis.call('COPY', key, snapshot) end", "", WEBHOOKS),
    _lua(
        "lib/outbox", "a disabled endpoint is told nothing", "if endpoint[1] and endpoint[3] == '1' then", "if endpoint[1] then", WEBHOOKS
    ),
    _lua("lib/outbox", "a tenant with too many waiting", ">= MOST_PENDING end", ">= 1e15 end", WEBHOOKS),
    _lua("webhooks_claim", "a dead sender's deliveries come again", "    await_turn(id, tenant, host, NOW)\n", "", WEBHOOKS),
    _lua(
        "webhooks_claim",
        "a cap for each tenant",
        "(by_tenant[tenant] or 0) < tenant_cap and serve_tenant(tenant)",
        "serve_tenant(tenant)",
        WEBHOOKS,
    ),
    _lua("webhooks_claim", "a cap for each host", "(by_lane[lane] or 0) < cap and left", "left", WEBHOOKS),
    _lua("webhooks_claim", "slow hosts have threads of their own", " and left[kind] > 0 then", " then", WEBHOOKS),
    _lua("webhooks_claim", "whoever was served goes to the back", "'XX', next_turn(), tenant)", "'XX', 0, tenant)", WEBHOOKS),
    _lua("webhooks_claim", "a lease that is over is not renewed", "'XX', int(NOW + lease_ms)", "int(NOW + lease_ms)", WEBHOOKS),
    _lua(
        "webhooks_settle",
        "the lease",
        "if redis.call('ZREM', K.webhook_leases(), lease) == 0 then",
        "if redis.call('ZREM', K.webhook_leases(), lease) == 2 then",
        WEBHOOKS,
    ),
    *(
        _lua(f"webhooks_{name}", "works when the memory is full", "#!lua flags=allow-oom", "#!lua", WEBHOOKS)
        for name in ("claim", "settle", "purge", "erase")
    ),
    _py(
        "webhooks/post",
        "every address is asked about",
        "_Adapter(cut, policy=policy,",
        f"_Adapter(cut, policy={_EVERYWHERE},",
        SSRF,
    ),
    _py("webhooks/post", "the time for the whole", "        self._timer.start()\n", "", SSRF),
    _py("addresses", "translated addresses", "_AZURE_HOST, _TRANSLATED", "_AZURE_HOST", SSRF),
    # -- the run
    _py("jobs/executor", "a finish is repeated while the store is away", "if time.monotonic() >= deadline:", "if True:", EXECUTOR),
    _py(
        "jobs/executor",
        "a run that lost its job leaves no artifact",
        "        except LeaseLost:\n            self._discard()\n",
        "        except LeaseLost:\n",
        EXECUTOR,
    ),
    _py(
        "jobs/executor",
        "a failed run leaves no artifact",
        "        if outcome is not JobStatus.COMPLETED:\n            self._discard()\n",
        "",
        EXECUTOR,
    ),
    _py(
        "jobs/executor",
        "an error outside the stages ends no job",
        "        except Exception as error:\n            # What the pipeline",
        "        except ZeroDivisionError as error:\n            # What the pipeline",
        FAULTS,
    ),
    _py(
        "jobs/executor",
        "only what the stages raised ends a job",
        "        except _Raised as raised:\n            return self._fail(raised.error, context)",
        "        except Exception as raised:\n            return self._fail(_named(getattr(raised, 'error', raised)), context)",
        FAULTS,
    ),
    _py(
        "jobs/results",
        "a result that is no Unicode is refused here",
        "dumps(whole).encode()",
        'dumps(whole).encode("utf-8", "replace")',
        FAULTS,
    ),
    _py(
        "jobs/outputs",
        "no error of a kept output is the job's",
        "except Exception as error:  # each",
        "except (OSError, ValueError, PublishError) as error:  # each",
        FAULTS,
    ),
    _py(
        "jobs/outputs", "nor is one of keeping it", "except Exception as error:  # likewise", "except OSError as error:  # likewise", FAULTS
    ),
    _py("jobs/outputs", "what cannot be kept is not in the record", "            del self._outputs[kept:]\n", "", FAULTS),
    _py("records", "text that the store cannot take", 'text.encode("utf-8", "replace").decode()', "text", FAULTS),
    _py("store/connection", "a busy server is away", '"MASTERDOWN", "BUSY",', '"MASTERDOWN",', FAULTS),
    _py(
        "worker/backend", "a failure that is no pipeline's ends no job", "if not isinstance(error, JobFailed):", "if False:", FAILURE_WRITES
    ),
    _py(
        "worker/backend",
        "it is not said to be the job's",
        'self._cell.store.requeue(job_id, fence, "crash" if isinstance(error, TimeLimitExceeded) else "fault")',
        "self._cell.store.finish(job_id, fence, JobStatus.FAILED, error=str(error))",
        FAILURE_WRITES,
    ),
    _py(
        "worker/backend",
        "a time limit of Celery's is counted",
        '"crash" if isinstance(error, TimeLimitExceeded) else "fault"',
        '"fault"',
        FAILURE_WRITES,
    ),
    _py(
        "worker/request",
        "what a child could not say is owed",
        "if isinstance(error, JobGivenUpSignal) or not isinstance(error, (JobFailed, Ignore, Reject, Retry)):",
        "if isinstance(error, JobGivenUpSignal):",
        FAILURE_WRITES,
    ),
    _py(
        "worker/request",
        "a pipeline's failure is not owed",
        "(JobFailed, Ignore, Reject, Retry)",
        "(Ignore, Reject, Retry)",
        FAILURE_WRITES,
    ),
    _py("jobs/faults", "the machine is asked before a job is blamed", "        if reason is not None:", "        if False:", FAULTS),
    _py("jobs/faults", "a run may not fill the disk", "            return WorkTooLarge\n", "            return None\n", FAULTS),
    _lua("lib/clock", "a lease that progress renewed tells nothing", " or started > NOW or started < NOW - GAP_MS\n", "\n", CLOCK),
    _lua("lib/clock", "a start is of the present clock", "    if older and known[4] then", "    if false then", CLOCK),
    _lua("lib/starting", "every run has a limit", "redis.call('ZADD', K.deadlines(), 'LT', job.run_until, id)", "", GUARDED),
    _lua("lib/requeueing", "time of earlier runs counts", "int(used_ms(job)))", "0)", GUARDED),
    _lua("lib/requeueing", "hand-backs are counted", "  count('handbacks', why)\n", "", EVENTS),
    _lua("lib/requeueing", "a warning from the tenth hand-back on", "if n >= 10 then", "if n == 10 then", EVENTS),
    _lua("lib/worker_lost", "a fault waits longer each time", "1000 * 2 ^ (faults - 1)", "1000", FAULTS),
    _py(
        "jobs/outputs",
        "small outputs are noted as their stage ends",
        "            self.note(sources)\n            return\n",
        "            return\n",
        RETRY,
    ),
    _py("jobs/run", "a store that is away stops no run", "except StoreUnavailable:", "except ZeroDivisionError:", AWAY),
    _py(
        "context",
        "a cancelled job's children are killed",
        "        finally:\n            kill_group(process)",
        "        finally:\n            pass",
        "tests/unit/test_context.py",
    ),
    # -- the worker's main process
    _lua("lib/ending", "a row of what is to be told", "  note_continuation(id, job, to, extra)\n", "", CONTINUED),
    _lua("lib/ending", "the child has its chance first", "job.told_by_run and NOW + TELL_MS or NOW", "NOW", CONTINUED),
    _lua("lib/ending", "who has no child waits for none", "job.told_by_run and NOW + TELL_MS or NOW", "NOW + TELL_MS", CONTINUED),
    _lua("continued", "only what was told as it is", "if outcome ~= '' and", "if false and", CONTINUED),
    _lua("continue", "a row that is taken is taken", "int(NOW + TELL_MS), id", "int(NOW), id", CONTINUED),
    _py("worker/tasks", "the run removes the row", "if getattr(self.request, CONTINUES_HEADER, False):", "if False:", CONTINUED),
    _py("worker/tasks", "a cancelled run tells", "if getattr(request, CONTINUES_HEADER, False):", "if False:", CONTINUED),
    _py("worker/backend", "a completed job's errbacks are not called", "if getattr(request, COMPLETED, False):", "if False:", CONTINUED),
    _py(
        "worker/backend",
        "the job that a broken chain never makes",
        'fence is None and not store.exists("job", task_id)',
        "False",
        CONTINUED,
    ),
    _py(
        "worker/continuations",
        "a job of a chain is made once",
        "    with suppress(IdTaken):\n        following",
        "    if True:\n        following",
        CONTINUED,
    ),
    _py(
        "worker/tasks",
        "a bare message waits for the store",
        "patiently(lambda: client.store.submit(",
        "(lambda call: call())(lambda: client.store.submit(",
        BARE,
    ),
    _py("worker/tasks", "a bare message's chain is in the record", "message=own, adopt", "adopt", BARE),
    _py(
        "worker/tasks",
        "a bare message's run tells of its end",
        "        setattr(request, CONTINUES_HEADER, own is not None)\n",
        "",
        BARE,
    ),
    _py("worker/result", "a collected result says nothing", ".drop_pending_result(self)", ".remove_pending_result(self)", GROUPS_OF_JOBS),
    _py("worker/result_consumer", "a collected result ends its subscription", "self._pending_unsubscribe.add(", "(", GROUPS_OF_JOBS),
    _py(
        "worker/backend",
        "what was sent and collected unsubscribes",
        "if (any(self._pending_results) or self.result_consumer.subscribed_to) and",
        "if any(self._pending_results) and",
        GROUPS_OF_JOBS,
    ),
    _py("worker/continuations", "who tells of an end is no run", ", FENCE_HEADER: None})", "})", CONTINUED),
    _py(
        "worker/continuations",
        "a chord that is claimed is told again",
        "        if claimed or _chord_claimed(app, request):\n            return False\n",
        "",
        CONTINUED,
    ),
    _py("worker/continuations", "it is looked at before", "if claimed or _chord_claimed", "if _chord_claimed", CONTINUED),
    _py("worker/continuations", "a limit delays a chain", "StoreUnavailable, TryLater, *", "StoreUnavailable, *", CONTINUED),
    _py(
        "worker/continuations",
        "what can never be sent",
        "        app.backend.mark_as_failure(job_id, error, request=request)\n    return",
        "    return",
        CONTINUED,
    ),
    _py("worker/hints", "a hint is the same from every process", "        origin=ORIGIN,\n", "", OPTIONS),
    _py(
        "worker/hints",
        "the scripts push to the installation's own list",
        '.get(PREFIX_OPTION, "")) + queue',
        '.get(None, "")) + queue',
        PREFIXES,
    ),
    _py(
        "worker/app",
        "the broker has the prefix",
        "broker_transport_options[prefixed.PREFIX_OPTION] = prefix",
        "result_expires = 3600",
        INSTALLATIONS,
    ),
    _py("worker/app", "a full server ends no worker", "channel_error_retry = True", "channel_error_retry = False", FULL_SERVER),
    _py("worker/app", "results have the prefix", "{prefixed.PREFIX_OPTION: prefix}", "{}", PREFIXES),
    _py("worker/app", "a broker without a prefix is refused", "    _check_prefix(settings)\n", "", PREFIXES),
    _py(
        "worker/prefixed",
        "a queue is prefixed where it is the key",
        "key = routing_key if exchange else self._named(routing_key)",
        "key = routing_key",
        INSTALLATIONS,
    ),
    _py(
        "worker/prefixed",
        "what a message came by has no prefix",
        "return exchange.removeprefix(self._prefix), key",
        "return exchange, key",
        PREFIXES,
    ),
    _py("worker/prefixed", "every AMQP connection", "    pyamqp.Connection.Channel = PrefixedChannel\n", "    return\n", INSTALLATIONS),
    _py(
        "worker/tasks",
        "a tick goes to the installation's own list",
        "list_of(self.app, MAINTENANCE_QUEUE), ",
        "MAINTENANCE_QUEUE, ",
        PREFIXES,
    ),
    _py(
        "worker/backend",
        "Celery's results are an installation's own",
        "setattr(self, name, prefix + getattr(self, name))",
        "setattr(self, name, getattr(self, name))",
        PREFIXES,
    ),
    _lua("lib/ending", "the end of a job is told to its own installation", "(P == 'pj:' and '' or P) .. 'celery", "'celery", PREFIXES),
    _py("jobs/client", "a wait hears its own installation", "{self.settings.celery_prefix}celery-task", "celery-task", PREFIXES),
    _py("job", "an id says its cell", "_{cell:x}{secrets.token_hex(4)[1:]}", "_{secrets.token_hex(4)}", PREFIXES),
    _py("operation/flower_columns", "stages are asked of jobs alone", " and about(state.tasks.data[one].kwargs)]", "]", FLOWER_CONFIG),
    _py("operation/flower_columns", "Flower bears that the store is away", "except StoreUnavailable:", "except KeyError:", FLOWER_CONFIG),
    _py("operation/flower_columns", "a stage can be searched", "        state.search_engine.upsert(task)\n", "", FLOWER_CONFIG),
    _py("operation/flower_columns", "RabbitMQ 4's default virtual host", 'if self.vhost == "/":', "if False:", INSTALLATIONS),
    _py("operation/canary", "a canary's id says its cell", "{self.client.settings.cell:x}{CANARY_SUFFIX}", "0ca0a4b0", PREFIXES),
    _py("jobs/batches", "an id of a batch's job says its cell", "{int(time.time())}_{cell:x}", "{int(time.time())}_0", PREFIXES),
    _py("worker/options", "an option that is none for jobs", "for name in sorted(given.keys() - ignored):", "for name in ():", OPTIONS),
    _py("worker/options", "an option of a canvas", "_NOTHING.union(CANVAS_OPTIONS, ", "_NOTHING.union((), ", OPTIONS),
    _py("worker/options", "stamps are a canvas's", 'given.get("stamped_headers") or ()', "()", OPTIONS),
    _lua("lib/starting", "a job's own time limit", ", 1000 * (tonumber(job.max_run_seconds) or math.huge))", ")", OPTIONS),
    _py("worker/control", "a rate limit starves jobs", "if task_name == JOB_TASK:", "if False:", OPTIONS),
    _py("worker/control", "an unknown job is no success", "    if unknown:", "    if False:", OPTIONS),
    _py("worker/start", "no other pool runs jobs", "    _refuse_other_pools(sender)\n", "", COMMANDS),
    _py(
        "worker/start",
        "tasks that are no jobs may have any pool",
        "JOBS_QUEUE in worker.app.amqp.queues.consume_from and not issubclass",
        "not issubclass",
        COMMANDS,
    ),
    _py("worker/result", "one line in the command", 'if context is None or context.info_name != "result":', "if True:", COMMANDS),
    _py("worker/app", "what a team sets afterwards holds", '    app.__dict__.pop("amqp", None)\n', "", OPTIONS),
    _py("worker/result_consumer", "a look now and then", "if time.monotonic() >= due:", "if False:", GROUPS_OF_JOBS),
    _py(
        "worker/result_consumer",
        "members of nested groups",
        "in self._pending_results for task_id in tuple(mapping)",
        "in () for task_id in mapping",
        GROUPS_OF_JOBS,
    ),
    _py("worker/backend", "ended jobs among several tasks", "if job and job.ended:", "if False:", GROUPS_OF_JOBS),
    _py(
        "worker/request",
        "an id that goes into scripts",
        "if not isinstance(self.id, str) or not ANY_ID.fullmatch(self.id):",
        "if False:",
        FAILURE_WRITES,
    ),
    _py("worker/request", "a fence that goes into scripts", "type(fence) is not int or not 0 < fence < MAX_FENCE", "False", FAILURE_WRITES),
    _py(
        "worker/consumer",
        "a message that is no request ends no worker",
        "            except Exception as error:  # what a message may",
        "            except ZeroDivisionError as error:  # what a message may",
        HOSTILE,
    ),
    _py(
        "worker/consumer",
        "what is no message ends no worker",
        "            except Exception as error:  # JSON has",
        "            except ZeroDivisionError as error:  # JSON has",
        HOSTILE,
    ),
    _py("worker/consumer", "a poll that is not answered", "        bound_open_broker_sockets(", "        (", LOST_BROKER),
    _py("worker/consumer", "no acknowledgement on a closed channel", "if message.channel.connection is None:", "if False:", LOST_BROKER),
    _py(
        "worker/consumer",
        "the channel is looked at when the acknowledgement is due",
        "super().call_soon_ack(_unless_closed, p, *args, **kwargs)",
        "super().call_soon_ack(p, *args, **kwargs) if p.__self__.channel.connection else None",
        LOST_BROKER,
    ),
    _py(
        "worker/lease",
        "one that stops is not taken for drained",
        "leaving = self._leaving or _stopping()",
        "leaving = self._leaving",
        KEEPER,
    ),
    _py("worker/lease", "a paused worker has no slots", "_stopping() or self._paused():", "_stopping():", KEEPER),
    _py(
        "worker/prefork",
        "a child whose job was forgotten is listened to",
        "            for fd in list(alive):\n",
        "            for fd in ():\n                break\n            break\n            for fd in list(alive):\n",
        "tests/acceptance/test_worker.py",
    ),
    _py("worker/fitness", "a paused worker takes no hints", "consumer.cancel_task_queue(queue)", "pass", SICK),
    _py("worker/fitness", "it takes them again", "consumer.add_task_queue(queue)", "pass", SICK),
    _py(
        "worker/fitness",
        "what was found stands before it is told",
        "        self.reason = reason\n        self._worker.consumer.call_soon(self._consume)\n",
        "        self._worker.consumer.call_soon(self._consume)\n        self.reason = reason\n",
        FITNESS,
    ),
    _py(
        "worker/fitness",
        "it is told at each look",
        "        self.reason = reason\n        self._worker.consumer.call_soon(self._consume)\n",
        "        before, self.reason = self.reason, reason\n        if before != reason:\n"
        "            self._worker.consumer.call_soon(self._consume)\n",
        FITNESS,
    ),
    _py("worker/fitness", "an operator's cancel stays", "sorted(self._left)", "job_queues(app)", FITNESS),
    _py("worker/fitness", "it looks again and again", "            if self._stop.wait(LOOK_SECONDS):\n", "            if True:\n", SICK),
    _lua("announce", "a worker that goes on is said to", " else redis.call('HDEL', K.paused(), worker) end", " end", SICK),
    _py(
        "worker/lease",
        "a worker that stops does not wait for a store that is away",
        "(0.0 if away else self._grace + HANG_SECONDS)",
        "(self._grace + HANG_SECONDS)",
        KEEPER,
    ),
    _py("worker/lease", "no beat is missed after the last", "        self._asked = None\n", "", KEEPER),
    _py("worker/lease", "it waits for one that answers", "(0.0 if away else self._grace + HANG_SECONDS)", "0.0", KEEPER),
    _py(
        "worker/lease",
        "the end is watched beside the beat",
        '("lease-keeper", self._loop), ("guard", self._guard)',
        '("lease-keeper", self._loop),',
        SICK,
    ),
    _py("worker/lease", "the job still runs when its process is killed", "if request in state.active_requests and", "if", KEEPER),
    _py("worker/lease", "the time to stop by itself", "if now >= due:", "if True:", KEEPER),
    _py("worker/lease", "no renewal for a whole lease", "if time.monotonic() - self._renewed >= self._lease:", "if False:", KEEPER),
    _py(
        "worker/lease",
        "no new jobs for a worker that stops",
        "if self._leaving or _stopping() or self._paused():",
        "if self._paused():",
        KEEPER,
    ),
    _py(
        "worker/lease",
        "the grace of a shutdown",
        "if now - self._told_to_stop < self._shutdown_grace:",
        "if False:",
        KEEPER,
    ),
    _py(
        "worker/autoscale",
        "a job on its way to a child keeps it",
        "if any(request not in state.active_requests for request in tuple(state.reserved_requests)):",
        "if False:",
        "tests/unit/test_autoscale.py",
    ),
    # -- the last slots
    _lua(
        "lib/reserve",
        "the last slot is for others",
        "  if held >= most then return most, held end\n",
        "",
        LAST,
    ),
    _lua("lib/reserve", "after an hour alone a tenant has all slots", " or NOW - at >= 3600000 then", " then", LAST),
    _lua("lib/reserve", "a time to come holds nobody up", " or NOW - at < 0 or", " or", LAST),
    _lua("lib/reserve", "the canary is nobody", "tenant == CANARY or", "false or", LAST),
    _lua("lib/reserve", "a dead worker's slots are not the last ones", "(free or 0) > reserved", "false", LAST),
    _lua(
        "lib/reserve",
        "the last slot of a pipeline",
        "local slots, apart = live_slots(), pipeline and fleet() == '*'",
        "local slots, apart = live_slots(), false",
        LAST,
    ),
    _lua(
        "lib/reserve",
        "others' slots are no reason to wait",
        "if apart and held + redis.call('ZCARD', K.hints()) <= HELD_MOST then",
        "if false then",
        LAST,
    ),
    _lua("lib/reserve", "slots that can run it are free", "free = free and math.min(free, slots_for(pipeline, 'free'))", "", LAST),
    _lua("lib/reserve", "runs count where they run", "slots[worker] and (class_of[worker] or '') or 'gone'", "''", LAST),
    _lua("lib/dispatch", "what this script gave counts", "if held then held[class] = (held[class] or 0) + 1 end", "", CLASSES_MODEL, LAST),
    _lua(
        "lib/fair", "who waits for a last slot goes on elsewhere", "        waiting = waiting + 1\n", "        passed = passed + 1\n", LAST
    ),
    _lua(
        "lib/fair", "a last slot has no room to wait for", "      kept = true\n", "      full[#full + 1] = pipeline\n", CLASSES_MODEL, LAST
    ),
    _lua("lib/fair", "a lost job does not take the last slot", " and not most_beside_others(job.tenant_id, free, pipeline)", "", LAST),
    _lua("lib/fair", "a run of hours is a job of the last hour", "note_recent(job.tenant_id)\n    charge(", "charge(", LAST),
    _lua(
        "lib/fair",
        "who may not have the last slot is passed over",
        "elseif fleet() ~= '*' and most_beside_others(tenant, free) then",
        "elseif false then",
        FAIR_MODEL,
    ),
    # -- disks and restarts
    _py("files/paced", "a step is synced before the next", "if step and size + len(part) > STEP_BYTES:", "if False:", PACED),
    _py(
        "files/paced",
        "a tenant's next step is behind the others'",
        "self._waiting[tenant_id] = queue\n",
        "self._waiting = {tenant_id: queue, **self._waiting}\n",
        PACED,
    ),
    _py("files/paced", "a step is on the disk", "            os.fsync(file.fileno())\n", "            pass\n", PACED),
    _py("files/paced", "all of a step is", "        file.flush()\n", "", PACED),
    _py(
        "files/paced",
        "a step that fails ends its turn",
        "        finally:\n            if self.waiting:",
        "        except ZeroDivisionError:\n            raise\n        else:\n            if self.waiting:",
        PACED,
    ),
    _py("files/paced", "the disk rests", "            if self.waiting:\n", "            if False:\n", PACED),
    _py("files/paced", "it rests for others", "            if self.waiting:\n", "            if True:\n", PACED),
    _py("files/paced", "a turn ends", "                self._is_busy = False\n", "                pass\n", PACED),
    _py("files/paced", "one step at a time", "                self._is_busy = True\n", "                pass\n", PACED),
    _py("files/paced", "a small file takes no turn", "sum(map(len, pieces)) > STEP_BYTES", "True", PACED, LARGE_UPLOADS),
    _py("files/upload", "uploads take turns", ", partial(TURNS.turn, self._upload.tenant_id))", ")", LARGE_UPLOADS),
    _py(
        "files/upload",
        "a part is not joined",
        "                yield pieces\n",
        "                yield [bytearray().join(pieces)]\n",
        LARGE_UPLOADS,
    ),
    _py("web/server/client_connection", "a body is not read ahead", "max_body_chunk = 65_536", "max_body_chunk = 1 << 20", CONNECTIONS),
    _py("worker/start", "jobs' processes are nicer", "        os.nice(JOB_NICENESS)\n", "        pass\n", NICENESS),
    _py("worker/start", "those of maintenance are not", " and MAINTENANCE_QUEUE not in queues:", ":", NICENESS),
    _py("disk", "room comes back with hysteresis", "needed + (needed // 8 if self._short else 0)", "needed", DISK),
    _py("disk", "the reserve", "if self._short or left - size < needed:", "if self._short:", DISK),
    _py(
        "files/artifacts",
        "an artifact leaves the reserve",
        "if self.folder and self._room.lacks(self.folder, size):",
        "if False:",
        FULL_DISK,
    ),
    _py("store/presence", "nobody is lost for ever", " and one.silent_seconds(now) <= KEEP_SECONDS]", "]", CONDITIONS),
    _py("store/presence", "queues without a prefix are not beside those with one", "    if earlier:\n", "    if False:\n", PREFIXES),
    _py("web/gunicorn_conf", "no API with other queues", "if _settings.celery_prefix:", "if False:", PREFIXES),
    _py("worker/start", "no worker with other queues", "        _refuse_other_queues(cell)\n", "", PREFIXES),
    _py("operation/watch", "one process writes to try", 'or "" if writes or self._writes() else ""', 'or ""', CONDITIONS),
    _lua(
        "cell/try_artifacts",
        "in the place of one that left",
        "HEXISTS', K.processes(), by) == 1",
        "EXISTS', K.processes()) == 1",
        CONDITIONS,
    ),
    _lua("cell/announce_process", "an API leaves at once", "  redis.call('ZREM', K.apis(), process)\n", "", CONDITIONS),
    _py("web/processes", "what was announced as it left is taken back", "if not goes_on():", "if False:", CONDITIONS),
    _py("worker/lease", "what it is comes before its slots", "            self._worker.app.watch.until_announced()\n", "", KEEPER),
    _py(
        "store/presence",
        "nobody is lost while nobody could announce itself",
        "if not any(now - one.steady >= 1000 * LOST_SECONDS and one.silent_seconds(now) <= LOST_SECONDS for one in known):",
        "if False:",
        CONDITIONS,
    ),
    _py(
        "store/presence",
        "one in whose place another has begun is not lost",
        "one.silent_seconds(now) > LOST_SECONDS and newest[one.node] <= one.last",
        "one.silent_seconds(now) > LOST_SECONDS",
        CONDITIONS,
    ),
    _lua(
        "announce_process",
        "a gap in announcements is noticed",
        "if NOW - last <= life and NOW >= tonumber(last) then steady",
        "if true then steady",
        CONDITIONS,
    ),
    _py(
        "operation/watch",
        "an announcement on its way is taken back",
        "if self._stop.is_set() and not refused:",
        "if False:",
        CONDITIONS,
    ),
    _py(
        "operation/watch",
        "a hanging try is told of",
        "if since is None or time.monotonic() - since < HANGS_SECONDS:",
        "if True:",
        CONDITIONS,
    ),
    _py(
        "operation/watch",
        "the disk of a server that is away is remembered",
        "if self._store_folder is None:",
        "if True:",
        CONDITIONS,
    ),
    _py(
        "operation/conditions",
        "what the API alone acts on may differ elsewhere",
        'if field not in OF_THE_API or one.about.kind == "api":',
        "if True:",
        CONDITIONS,
    ),
    _py(
        "operation/conditions",
        "duties that are late name who is missing",
        'missing = [name for name, kind in (("beat_away", "beat"), ("maintenance_away", "maintenance")) if kind not in kinds]',
        "missing = []",
        CONDITIONS,
    ),
    _py(
        "operation/health",
        "a look that hangs holds up nobody",
        "return self._accepts and time.monotonic() - self._began < ACCEPT_HANGS_SECONDS",
        "return self._accepts",
        OPERATION,
    ),
    _py(
        "operation/health",
        "one look a second however many ask",
        "if time.monotonic() - self._looked < ACCEPT_SECONDS:",
        "if False:",
        OPERATION,
    ),
    _py(
        "starting",
        "no part of a password is in an error",
        '        # Its own text may quote a part of the password.\n        raise ValueError("this',
        '        raise\n        raise ValueError("this',
        START,
    ),
    _py("worker/app", "nor in that of a broker", 'used ({type(error).__name__})")', 'used ({type(error).__name__}): {error}")', START),
    _py("operation/effective", "each of several URLs is masked", 'for one in text.split(";"))', "for one in [text])", START),
    _py(
        "operation/effective",
        "a query may have a password",
        '_QUERY.sub(rf"\\1?{MASK}", _PASSWORD.sub(rf"\\1{MASK}@", one))',
        '_PASSWORD.sub(rf"\\1{MASK}@", one)',
        START,
    ),
    _py(
        "tracing/spans",
        "a variable that is refused ends nothing",
        "    except Exception as error:  # its",
        "    except AssertionError as error:  # its",
        START,
    ),
    _py(
        "tracing/spans", "a package that is missing is no error", "    except ModuleNotFoundError:\n", "    except AssertionError:\n", START
    ),
    _py(
        "worker/own_metrics",
        "a taken port keeps no worker from its jobs",
        "        except OSError as error:\n",
        "        except AssertionError as error:\n",
        START,
    ),
    _py("worker/own_metrics", "one without a server has none to start", "if self._server is not None:", "if True:", START),
    _py("metrics_exporter", "it logs as the setting says", "logs.configure(settings.log_format)", "logs.configure()", METRICS),
    _py("metrics_exporter", "libraries log as it does", "        logs.take_over()\n", "", METRICS),
    _py(
        "operation/effective",
        "passwords in URLs are masked",
        'rf"\\1{MASK}@"',
        'r"\\g<0>"',
        OPERATOR,
    ),
    _py(
        "cli/backup_commands",
        "a running server is left alone",
        "if runs is not None and not force:",
        "if False:",
        BACKUP,
    ),
    _py("store/backup", "the owner's alone from the first byte on", "os.open(path, flags, 0o600)", "os.open(path, flags, 0o644)", BACKUP),
    _py(
        "store/backup",
        "one whose length is told is whole",
        '            raise StoreUnavailable("the server broke off its copy")\n        left',
        "            return\n        left",
        BACKUP,
    ),
    _py(
        "store/backup",
        "data that is there is left alone",
        "if (there := aof.is_dir() and any(aof.iterdir())) and not force:",
        "if (there := aof.is_dir()) and False:",
        BACKUP,
    ),
    _py(
        "web/api/health",
        "readiness knows the disk",
        'parts["disk"] = health.disk(cell.store if parts["store"]["ok"] else None, cell.settings, cell.artifacts)',
        "pass",
        DISKS,
    ),
    _py(
        "operation/health",
        "a shared disk is told of",
        "if any(disks.device(folder) == disks.device(other) for other in others):",
        "if False:",
        DISKS,
    ),
    _py("up/main", "what has ended is started again", "supervisor.revive()", "pass", UP),
    _py("up/supervisor", "a pause before it is started again", "if now >= self._due[child.name]:", "if True:", SUPERVISOR),
    _py("up/supervisor", "what it has left goes first", "child.signal_group(signal.SIGKILL)\n        try:", "try:", SUPERVISOR),
    _py("up/supervisor", "its log goes on", '"ab" if again else "wb"', '"wb"', SUPERVISOR),
    # -- media
    _py("media/speed", "a source is not below the floor", "if now - self._began > SLOW_SECONDS + self.came / FLOOR:", "if False:", SPEED),
    _py("media/speed", "a quick beginning buys no trickle", "if self.came - self._before < SLOW_BYTES:", "if False:", SPEED),
    # -- events
    _lua("lib/telling", "what changes nothing is no event", "or message ~= (job.message or '') then", "or true then", EVENTS, EVENTS_MODEL),
    _lua("lib/cancel", "a cancel is told once", "'running' and not job.cancel_requested then", "'running' then", EVENTS, EVENTS_MODEL),
    _lua("lib/ending", "a log goes with its job", "redis.call('DEL', K.job(id), K.events(id))", "redis.call('DEL', K.job(id))", EVENTS),
    _lua("lib/events", "numbers go on when the oldest go", "length + tonumber(job.events_cut or '0')", "length", EVENTS),
    _lua("feed", "the feed of a workspace", "(workspace == '' or workspace == whose)", "true", EVENTS),
    _py("events/hub", "a gap is read from the log", "if page.after > self.place:", "if False:", HUB),
    _py("events/hub", "nothing is told twice", "if event.place > self.place]", "]", HUB),
    _py("events/hub", "a lost connection is made up for", "(name, EVERYTHING if text is None else text)", '(name, text or "")', HUB),
    _py("events/hub", "a lost hint is made up for", "elif topic.looked_at < late and", "elif False and", HUB),
    _py("web/http/streams", "whoever lost the right is told no more", "if not self._is_allowed():", "if False:", STREAMS),
    _py("web/access/caller", "what is named is the key's", "if own is None:", "if own is None or named:", MATRIX),
    _py("web/access/caller", "another workspace's is unknown", " and self.workspace_id in (None, workspace_id)", "", MATRIX),
    _py("web/access/caller", "a workspace's Idempotency-Keys", "f\"{route}\\n{self.workspace_id or ''}\"", "route", MATRIX),
    _py("web/access/caller", "another's is unknown", "if not self.reaches(thing.tenant_id, thing.workspace_id):", "if False:", STREAMS),
    _py(
        "web/api/events",
        "another's job is unknown",
        "who.own(log.read(web().cell.store, job_id, after, limit), UnknownJob)",
        "log.read(web().cell.store, job_id, after, limit)",
        STREAMS,
    ),
    _py("web/api/events", "a token opens its own stream", "or not who.opens(job_scope(job_id)):", "or False:", STREAMS),
    _py("web/api/sockets", "a page of another origin", "    refuse_other_origin(here.settings)\n", "", STREAMS),
    # -- walls around media
    _py("media/jail", "Landlock", "    _call(_LANDLOCK_RESTRICT, rules, 0)\n", "", JAIL),
    _py("media/jail", "no links in the folder", "_REMOVE | _MAKE | _REFER", "_REMOVE | _MAKE | 1 << 10 | 1 << 12 | _REFER", JAIL),
    _py("media/jail", "ports", "0 if ports is None else _CONNECT_TCP", "0", JAIL),
    _py("media/jail", "no signal beyond the walls", "rights, network, 3)", "rights, network, 0)", JAIL),
    _py("media/jail", "no service's socket", "allowed=(socket.AF_INET, socket.AF_INET6, _AF_NETLINK)", "allowed=(1, 2, 10, 16)", JAIL),
    _py("media/jail", "limits of others", "allowed=(0,))]", "mask=0, allowed=(0,))]", JAIL),
    _py("media/jail", "no process", "mask=_CLONE_THREAD, allowed=(_CLONE_THREAD,)", "mask=0, allowed=(0,)", JAIL),
    _py(
        "media/jail", "calls that are refused", "[(_IF_EQUAL, 0, 1, self.number), refuse]", "[(_IF_EQUAL, 1, 1, self.number), refuse]", JAIL
    ),
    _py("media/stage_child", "the walls", "return jail.enter(Path.cwd(),", "return jail.Walls(7, True) or jail.enter(Path.cwd(),", JAIL),
    _py("media/stage_child", "offline", "            jail.go_offline()\n", "            pass\n", JAIL),
    _py("media/stage_child", "a job's memory", "(limit := self.settings.job_memory_bytes) and", "(limit := 0) and", STAGES),
    _py(
        "media/stages",
        "a download that fails is the machine's fault",
        'raise MachineFault(f"the speech model',
        'raise InternalError(f"the speech model',
        STAGES,
    ),
    _py("media/self_test", "a self-test ends", "if time.monotonic() >= self._deadline:", "if False:", "tests/unit/media/test_jail.py"),
    _py(
        "jobs/executor",
        "a fault of the machine in process",
        "raise StoreUnavailable(str(fault)) from fault",
        "raise",
        "tests/integration/web/test_run.py",
    ),
    _py("media/stages", "an environment of its own", "        **kept,\n", "        **os.environ,\n", STAGES),
    _py("media/stages", "only what media needs of the settings", ", include=SETTINGS)", ")", STAGES),
    _py("media/stages", "a cancel is looked for", "                self._context.check_cancelled()\n", "", STAGES),
    _py("media/stages", "a line has an end", "if len(self._pending) > MAX_LINE:", "if False:", STAGES),
    _py("media/stages", "a number", "if not math.isfinite(fraction):", "if False:", STAGES),
    _py("media/stages", "an answer has its shape", '    raise ValueError("no answer")', "    return dict(said)", STAGES),
    _py(
        "media/stages",
        "an error of its own",
        "in _tree(SourceError, MediaError, BadParameters, OutOfMemory)",
        "in _tree(StageError)",
        STAGES,
    ),
    _py("media/stages", "log lines have an end", "self._logs <= MAX_LOGS and ", "", STAGES),
    _py("media/stages", "an OOM kill", " or (code == -signal.SIGKILL and _oom_kills() > self._oom_kills)", "", STAGES),
    _py("media/publish", "its own file only", "name not in OUTPUTS or ", "", STAGES),
    _py("media/publish", "no link", " or path.is_symlink()", "", STAGES),
    _py("media/site_child", "ports of the public", "if address[1] not in self.policy.allowed_ports:", "if False:", SITE),
    _py("media/site_child", "no ftp", 'event == "ftplib.connect"', 'event == ""', SITE),
    _py("pipelines", "a test that fails takes the pipeline out", "                del self._pipelines[pipeline.name]\n", "", PIPELINES),
    # -- lists and cancels by filter
    _lua("lib/pages", "the index with the fewest is walked", "if not best or members < least then", "if not best then", MIXES),
    _lua("lib/pages", "a record's status", " or needs.statuses and not needs.statuses[record[1]] then", " then", MIXES),
    _lua("lib/pages", "a record's fields", "if record[i + 2] ~= value then return false end", "", MIXES),
    _lua(
        "lib/pages",
        "a record's tags",
        "return not needs.tag or redis.call('ZSCORE', K.tag(record[2], needs.tag), id)",
        "return true",
        MIXES,
    ),
    _lua("list", "a page's budget", "or budget == 0 or bytes", "or bytes", MIXES),
    _lua("cancel_page", "the other filters", "(not needs or meets(id, needs)) and load(id)", "load(id)", MIXES),
    _py("jobs/listing", "the workspace of the key", "query.within if query.within != query.workspace_id else None", "None", MIXES),
    _py("jobs/listing", "what not every index says is looked up", "frozenset.intersection(*", "frozenset().union(*", MIXES),
    # -- clients that do not play along
    _py(
        "web/server/gunicorn_worker",
        "a head is gathered without a thread",
        "elif head is Head.PARTIAL:\n            self._await_head(conn)\n        elif",
        "elif",
        CONNECTIONS,
    ),
    _py(
        "web/server/gunicorn_worker",
        "a small body is gathered without a thread",
        "if size := conn.body(_settings.max_body_bytes):\n                    self._await_body",
        "if size := 0:\n                    self._await_body",
        CONNECTIONS,
    ),
    _py(
        "web/server/gunicorn_worker",
        "a small body of a kept connection is gathered without a thread",
        "            if is_sending:\n                return Head.PARTIAL\n",
        "",
        CONNECTIONS,
    ),
    _py("web/server/gunicorn_worker", "who waits for a word may send its body", "        conn.invite()\n", "", CONNECTIONS),
    _py(
        "web/server/client_connection",
        "a client is asked for its body once",
        "if self.is_invited and data == _CONTINUE:",
        "if False:",
        CONNECTIONS,
    ),
    _py(
        "web/server/client_connection",
        "what is behind a small body is not of it",
        "self.missing = data.find(_END, 1) + len(_END) + size - len(data)",
        "self.missing = size",
        CONNECTIONS,
    ),
    _py(
        "web/server/client_connection",
        "a length that is none is not waited for",
        "if len(lengths) != 1 or len(_BODY.findall(data[:end])) != 1 or",
        "if not lengths or",
        CONNECTIONS,
    ),
    _py("web/server/body_room", "the bodies of one are bounded", "self._taken[group] + size > self._most_of_one", "False", CONNECTIONS),
    _py("web/server/gunicorn_worker", "whoever has most makes room", "self._take_room_of(max(", "self._take_room_of(min(", CONNECTIONS),
    _py("web/server/gunicorn_worker", "room is given back", "            self._room.give_back(conn.group, conn.room)\n", "", CONNECTIONS),
    _py("web/server/gunicorn_worker", "an answer is read to its end", "if graceful and conn.shut():", "if False:", CONNECTIONS),
    _py(
        "web/server/client_connection",
        "a close holds up nobody",
        "if not self._closing(self, graceful):\n            super().close()",
        "super().close(graceful)",
        CONNECTIONS,
    ),
    _py("web/server/gunicorn_worker", "the threads of an address", "max(1, self.cfg.threads * 7 // 8)", "self.cfg.threads", CONNECTIONS),
    _py(
        "web/server/gunicorn_worker",
        "a thread that is free again",
        "        for group in list(self._parked):\n",
        "        for group in ():\n",
        CONNECTIONS,
    ),
    _py("web/server/gunicorn_worker", "turns", "if self._at_work[group] >= self", "if 0 > self", CONNECTIONS),
    _py("web/server/client_connection", "turns by tenant", "return owners.of(self._credentials) or (", "return (", TURNS),
    _py(
        "web/server/client_connection",
        "a cookie beside a key says nothing",
        'return b"key " + b",".join(keys).strip()',
        'return b"key " + b",".join(keys + _COOKIE.findall(head)).strip()',
        TURNS,
    ),
    _py("files/paced", "who waits for a disk that hangs gives up", "mine.acquire(timeout=TURN_SECONDS)", "mine.acquire()", PACED),
    _py("files/paced", "who gave up is given no turn", "self._waiting[tenant_id].remove(mine)", "pass", PACED),
    _py("web/server/gunicorn_worker", "the queue of a tenant", "if len(parked) >= self._most_parked:", "if False:", TURNS),
    _py(
        "web/server/gunicorn_worker",
        "heavy requests are charged",
        "        if conn.cost:\n            self",
        "        if False:\n            self",
        TURNS,
    ),
    _py("web/server/gunicorn_worker", "a long request is at work", "conn.is_at_work and not conn.waits and", "False and", TURNS),
    _py("web/server/gunicorn_worker", "large heads again and again", "if not self._oversized.wait(conn.address):", "if True:", TURNS),
    _py(
        "web/server/gunicorn_worker",
        "whom an address turned out to be of",
        "            self._turns.latest.rename(conn.group, conn.learnt)\n",
        "            pass\n",
        TURNS,
    ),
    _py(
        "web/server/accounts",
        "who is alone need not take turns",
        "            return MOST_ALONE\n",
        "            return MOST_AT_WORK\n",
        ACCOUNTS,
    ),
    _py("web/server/accounts", "another was served lately", "< OTHERS_SECONDS", "< 1e9", ACCOUNTS),
    _py("web/server/accounts", "what is large is heavy", "if not large and not self", "if not self", ACCOUNTS),
    _py("web/server/accounts", "what is heavy is paid for", "return int(self.debts.left(group, now) <= 0)", "return 1", ACCOUNTS),
    _py(
        "web/server/accounts",
        "who has paid is heavy for a while",
        "self.left(group, now) > -REMEMBERED",
        "self.left(group, now) > 0",
        ACCOUNTS,
    ),
    _py("web/server/accounts", "and no longer", "self.left(group, now) > -REMEMBERED", "True", ACCOUNTS),
    _py("web/server/accounts", "a debt has a most", "min(paid, now + MOST_OWED)", "paid", ACCOUNTS),
    _py(
        "web/server/accounts",
        "no heavy request saves up nothing",
        "max(self._by_name.get(group, now), now)",
        "self._by_name.get(group, now)",
        ACCOUNTS,
    ),
    _py("web/server/accounts", "names are bounded", "if len(self._by_name) >= MAX_NAMES:", "if False:", ACCOUNTS),
    _py("web/server/accounts", "a known name takes nobody's room", "            self._by_name.pop(name, None)\n", "", ACCOUNTS),
    _py(
        "web/server/accounts",
        "an address has its tenant's name",
        "(owner, at) if name == address else",
        "(name, at) if name == address else",
        ACCOUNTS,
    ),
    _py("web/server/accounts", "others keep their names", "(owner, at) if name == address else (name, at)", "(owner, at)", ACCOUNTS),
    _py(
        "web/server/accounts",
        "an address and its tenant are one",
        '            self._other = "", -OTHERS_SECONDS',
        "            pass",
        ACCOUNTS,
    ),
    _py(
        "web/access/auth",
        "whose a request is",
        "        if who.key_id is not None:\n            belongs_to",
        "        if False:\n            belongs_to",
        COSTS,
    ),
    _py("web/api/batches", "what a batch costs", "    if not made.replayed:\n        _cost", "    if False:\n        _cost", COSTS),
    _py("web/api/batches", "a batch is charged once", "    if not made.replayed:\n        _cost", "    if True:\n        _cost", COSTS),
    _py("web/api/batches", "what its bytes cost", " + (request.content_length or 0) * BYTE_SECONDS", "", COSTS),
    _py("web/api/batches", "a part of the store's time", "seconds * SHARE / STORE_SHARE", "seconds", COSTS),
    _py("web/api/batches", "over all processes", " * web().processes.count", "", COSTS),
    _py(
        "web/api/batches", "what a cancel by filter costs", "    if not body.dry_run:\n        _cost", "    if False:\n        _cost", COSTS
    ),
    _py(
        "web/api/batches",
        "what a batch's cancel costs",
        "    _cost(done.matched * CANCELLED_SECONDS)\n    return reply(_done(done), 202",
        "    return reply(_done(done), 202",
        COSTS,
    ),
    _py(
        "web/server/gunicorn_worker",
        "connections of an address",
        "if self._held[conn.address] > self._most_held:",
        "if False:",
        CONNECTIONS,
    ),
    _py("web/server/client_connection", "an answer's budget", "        if self._left <= 0:", "        if False:", CONNECTIONS),
    _py(
        "web/server/client_connection",
        "the whole head is bounded",
        "if len(data) <= MAX_HEAD or 0 <= data.find(_END) <= MAX_HEAD:",
        "if True:",
        CONNECTIONS,
    ),
    _py("web/server/client_connection", "the last proxy's word", "addresses[-proxies]", "addresses[0]", CONNECTIONS),
    _py("web/server/client_connection", "a body says nothing", "head = data[: data.find(_END, 1)]", "head = data", CONNECTIONS),
    _py(
        "web/http/waiting", "a tenant leaves places free", "self._taken[tenant_id] < self._places - self", "0 < self._places - self", SHARES
    ),
    _py("web/http/places", "streams over all processes", "self._processes.share(self._most_of_tenant)", "self._most_of_tenant", SHARES),
    _py(
        "web/access/throttle",
        "wrong keys over all processes",
        "(self._share(BURST) - 1) * SECONDS_EACH\n        return math",
        "(BURST - 1) * SECONDS_EACH\n        return math",
        SHARES,
    ),
    _py(
        "web/access/auth",
        "unknown keys are throttled",
        "        if key is None:\n            raise Refused(429",
        "        if False:\n            raise Refused(429",
        AUTH,
    ),
    _py(
        "web/access/auth",
        "guesses wait for each other",
        "if not self._guesses.acquire(timeout=GUESS_SECONDS):",
        "if not self._guesses.acquire(timeout=GUESS_SECONDS) and False:",
        AUTH,
    ),
    _py("web/app", "as many proxies as are trusted", "x_for=proxies,", "x_for=1,", AUTH),
    _py("web/http/validation", "elements are counted first", "if has_too_many(data, most):", "if False:", BOUNDS),
    _py("web/http/validation", "keys of an object", "len(data) > 4 * MAX_KEYS and", "False and", BOUNDS),
    _py("web/http/validation_errors", "very many faults", "if (count := error.error_count()) > MAX_COUNTED:", "if (count := 0):", BOUNDS),
    # -- the page
    _py("web/access/origin", "a form from elsewhere", "if not told or (site is not None and site not in _OWN_SITE):", "if False:", PAGE),
    _py(
        "web/http/sealing",
        "a cursor is the caller's own",
        'who.tenant_id.encode(), (who.workspace_id or "").encode(), plain',
        "plain",
        ISOLATION,
    ),
    _lua("list", "that others follow is not told", "full and not own or budget", "full or budget", ISOLATION),
    _py(
        "web/access/auth",
        "a proxy here sees no metrics",
        "(needs.here or not self._has_store)",
        "(needs.all_tenants or not self._has_store)",
        PROXY,
    ),
    _py(
        "web/access_line",
        "the line has no query",
        "    rule, ids = environ.get(_ROUTE, (None, {}))\n",
        '    rule, ids = environ.get("RAW_URI"), {}\n',
        SIGNALS,
    ),
    _py(
        "logs",
        "no text begins a line of the log",
        '    event["event"] = text if text.isprintable() else',
        '    event["event"] = text if True else',
        LOGS,
    ),
    _py("logs", "a level holds for our errors", "    root.setLevel(level)\n", "", LOGS),
    _py("worker/celery_logs", "what repeats is worth DEBUG", ".startswith(DUTIES) or", '.startswith("-") or', LOGS),
    _py("worker/start", "a child's last spans are sent", "    spans.stop(SPANS_SECONDS)\n", "", SIGNALS),
    _py("tracing/spans", "a span has no text of an error", "one.fail(type(error).__name__)", "one.fail(str(error))", TRACING),
    _py(
        "tracing/correlation",
        "no odd trace goes on",
        "if isinstance(value, str) and form.fullmatch(value) else",
        "if isinstance(value, str) else",
        TRACING,
    ),
    _py("jobs/batches", "a batch's jobs are of its request", "*packed.common, *of_request,", "*packed.common,", WAYS),
    # -- metrics
    _py("operation/metrics", "slots are within the cap", "min(now.capacity, cap)", "now.capacity", METRICS),
    _py("operation/metrics", "the largest are kept", "key=lambda name: (-size[name], name)", "key=lambda name: name", METRICS),
    _py("operation/metrics", "series are bounded", "elif (one := one + at_once[tenant]) <= most // 2:", "else:", METRICS),
    _py(
        "operation/metrics",
        "who had no room has none later",
        "elif (one := one + at_once[tenant]) <= most // 2:",
        "elif one + at_once[tenant] <= most // 2 and (one := one + at_once[tenant]):",
        METRICS,
    ),
    _py(
        "operation/metrics",
        "what others leave is nobody's",
        "elif (one := one + at_once[tenant]) <= most // 2:",
        "elif (one := one + at_once[tenant]) <= most - sum(costs[name] for name, own in shown.items() if own):",
        METRICS,
    ),
    _lua("cell/rank_tenants", "a rank is kept", "'NX', redis.call", "redis.call", METRICS),
    _lua("cell/rank_tenants", "works when the memory is full", "#!lua flags=allow-oom", "#!lua", METRICS),
    _lua("lib/base", "names stay below the series", " or named_workspaces() >= NAMED_OF_ALL then", " then", METRICS),
    _lua("waiting", "a tenant in the ring may be at its limit", "look_at(redis.call('ZRANGE', K.ring(), 0, WORK_MOST))\n", "", METRICS),
    _lua("waiting", "what is held back has no age", "not held_back(job[1]) and ", "", METRICS),
    _lua("waiting", "behind the held back the ring is asked", "if not since and #oldest == 400 then", "if false then", METRICS),
    _py("operation/metrics_server", "no page of another name", "if _is_local(host) and not", "if False and not", METRICS),
    _py("web/http/request_counts", "a route is its rule", "NO_ROUTE if rule is None else rule.rule", 'environ["PATH_INFO"]', REQUESTS),
    _py("web/http/request_counts", "no method of a client's own", "method if method in _METHODS else NO_METHOD", "method", REQUESTS),
    _py("operation/shared_counts", "a row goes on", "key: place for key, place, _ in _entries(memory)", "", COUNTS),
    _py("web/api/metrics", "no replica shows the store's", '_ELSEWHERE if scope == "process" else', "", OPERATION),
    _py("web/gunicorn_conf", "no header moves the path", 'forwarder_headers = ""\n', "", PROXY),
    _py("web/access/auth", "a session opens the page only", " if request.blueprint == PAGE else None", "", PAGE),
    _py("web/ui/session", "signing out ends the session", '    web().access.sessions.end(request.cookies.get(COOKIE, ""))\n', "", PAGE),
    _py("web/access/sessions", "no session that has ended", "if self._lasts(key_id, session_id) else None", "", PAGE),
    _lua("session_begin", "signing in fills no memory", "redis.call('ZREMRANGEBYRANK', K.sessions(key), 0, -most - 1)\n", "", PAGE),
    _py("web/access/sessions", "the session's own key", " or not hmac.compare_digest(session_mark(key), mark)", "", PAGE),
    _py("web/access/sessions", "a session has an end", "(cookie, max_age=self._seconds)", "(cookie)", PAGE),
    _py("web/ui/blueprint", "nobody is sent elsewhere", "    if not (parts.path == root", "    if False and not (parts.path == root", PAGE),
    _py("web/ui/results", "links to the web only", 'if parts.scheme in ("http", "https") and parts.netloc', "if True", PAGE_TEXT),
)
