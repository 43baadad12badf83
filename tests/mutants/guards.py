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
RECONCILE = "tests/integration/test_reconcile.py"
BACKPRESSURE = "tests/integration/test_backpressure.py"
EXECUTOR = "tests/integration/test_executor.py"
FAULTS = "tests/integration/test_faults.py"
MAINTENANCE = "tests/integration/test_maintenance.py"
FAIR = "tests/integration/test_fairness.py"
BATCHES = "tests/integration/test_batches.py"
IDEMPOTENCY = "tests/integration/test_idempotency.py"
DEPENDENCIES = "tests/integration/test_dependencies.py"
CAP = "tests/integration/test_max_concurrent_jobs.py"
SCRIPTS = "tests/unit/test_scripts.py"
RETRY = "tests/integration/test_retry.py"
TENANTS = "tests/integration/test_tenants_life.py"
SCHEDULES = "tests/integration/test_schedules.py"
EVENTS = "tests/integration/test_events.py"
MIXES = "tests/integration/test_mixes.py"
EVENTS_MODEL = "tests/integration/test_events_model.py"
HUB = "tests/integration/test_hub.py"
STREAMS = "tests/integration/web/test_events.py"
PAGE = "tests/integration/web/test_ui.py"
PAGE_TEXT = "tests/integration/web/test_ui_text.py"
AWAY = "tests/unit/test_run_store_away.py"
KEEPER = "tests/unit/test_lease_keeper.py"
COMMANDS = "tests/acceptance/test_celery_commands.py"
OPTIONS = "tests/integration/test_celery_options.py"
CONTINUED = "tests/integration/test_continuations.py"
GROUPS_OF_JOBS = "tests/integration/test_group_results.py"
_EVERYWHERE = 'Policy(allowed_networks=("0.0.0.0/0",), allowed_ports=frozenset(range(1, 65536)))'
WEBHOOKS = "tests/integration/test_webhooks.py"
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
    _lua("claim", "only a queued job", "if job.status ~= 'queued' then return {'no', job.status} end", ""),
    _lua("claim", "the same answer for the same run only", "and job.run == run then", "then"),
    _lua("claim", "the record's schema", "> schema then", "> 1e9 then"),
    _lua("claim", "a newer record holds no slot", "  unhint(id, job)\n", ""),
    _lua("claim", "a worker that is gone fills no slot", "then redis.call('INCR', K.stranded()) end", "then end"),
    _lua("claim", "a rescue is no new attempt", "if job.new_attempt then", "do"),
    _lua("progress", "the fence", _SAME_FENCE.replace(" then", ""), _RUNNING.replace(" then", "")),
    _lua("lib/telling", "progress never falls", "if tonumber(percent) < before then", "if false then"),
    _lua("progress", "tells of a cancel", "if job.cancel_requested or job.deadline_passed then return 'cancel' end", ""),
    _lua("finish", "the fence", _SAME_FENCE, _RUNNING),
    _lua("requeue", "the fence", _SAME_FENCE, _RUNNING),
    _lua("announce", "the fence", _SAME_FENCE, _RUNNING),
    _lua("announce", "tells of a cancel", "(job.cancel_requested or job.deadline_passed) and 'cancel' or 'ok'", "'ok'"),
    # -- one end
    _lua("finish", "the same answer when it is repeated", "if job.ended_fence == fence and", "if false and"),
    _lua("finish", "a requested cancel wins", "if stopped(id, job, ttl_ms) then", "if false then"),
    _lua("finish", "a loser's artifacts are thrown away", "if folder ~= '' and job.status ~= 'completed' then", "if false then"),
    _lua(
        "lib/ending",
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
        "lib/ending",
        "a dead worker's cancelled job ends",
        "  local ended = stopped(id, job, ttl_ms)\n  if ended then return ended end\n",
        "",
    ),
    _lua("lib/ending", "the third crash is the last", "if crashes >= max_crashes then", "if false then"),
    # -- in
    _lua("submit", "a repetition is the same job", "if known[1] ~= nonce then", "if true then"),
    _lua("submit", "a taken id is refused", "if known[1] ~= nonce then return {'taken'} end", ""),
    _lua("lib/limits", "the tenant's cap", "+ n > most then", "+ n > 1e9 then", BACKPRESSURE),
    _lua("lib/limits", "the cap of all", "+ n > most_of_all then", "+ n > 1e9 then", BACKPRESSURE),
    _py("store/guard", "refuses when the memory is nearly full", "if self._full:", "if False:", BACKPRESSURE),
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
    _lua("lib/admission", "the cap over all workers", "(tonumber(known[5]) or CAP) - running)", "1e9)"),
    _lua("lib/admission", "one cap for all processes", "(tonumber(known[5]) or CAP)", "CAP", CAP),
    _lua("lib/reasons", "one cap for all processes, when somebody asks", "tonumber(known[2] or CAP)", "CAP", CAP),
    _py(
        "jobs/pipeline_limits",
        "the default is nobody's wish",
        'if "max_concurrent_jobs" not in settings.model_fields_set:',
        "if False:",
        CAP,
    ),
    _py("store/contract", "an unknown argument is refused", "        if given:\n", "        if False:\n", SCRIPTS),
    _py("store/contract", "an argument has its type", "not isinstance(value, TYPES[self.kind][0])", "False", SCRIPTS),
    _lua("lib/admission", "hints on the broker fill slots", ") - hinted", ")"),
    _lua("lib/admission", "leases of dead workers fill no slot", "(running - stranded)", "running"),
    _lua("lib/admission", "slots of a silent worker are gone", "K.workers(), '-inf', int(NOW))", "K.workers(), '-inf', '-inf')"),
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
    # -- tenants
    _lua("lib/idempotency", "a key makes one job", "if not made then return nil end", "do return nil end", TENANTS),
    _lua("lib/idempotency", "a key belongs to one request", "if not (of and ", "if false and (of and ", TENANTS),
    _lua("lib/limits", "the tenant's submit rate", "local wait = limits.submit_rate and", "local wait = false and", TENANTS),
    _lua("lib/limits", "the sender's submit rate", "if sender_rate > 0 and", "if false and", TENANTS),
    _py("store/idempotency", "a key is its sender's own", "sender.scope if sender else", "'' if sender else", TENANTS),
    _lua("lib/idempotency", "either form of a fingerprint is taken", "' ' .. of .. ' ', 1, true)", "' ' .. of, 1, true) == 1", IDEMPOTENCY),
    _lua("lib/idempotency", "the form of the release before is remembered", "(fingerprint, '^%S*')", "(fingerprint, '%S*$')", IDEMPOTENCY),
    _lua("claim", "the first start stays", "job.first_started_at or job.started_at or int(NOW)", "int(NOW)", STORE),
    _lua("lib/fair", "a paused tenant starts nothing", "if limits.paused and limits.paused ~= 0 then", "if false then", FAIR),
    _lua("lib/fair", "the present goes back with a clock that was put right", "if now ~= present() then", "if now > present() then", FAIR),
    _lua("lib/fair", "a newcomer gains nothing from another's correction", "PEAK + turn", "now", FAIR),
    _lua("lib/queue", "hints of cancelled jobs are taken back", "    take_back(id, job)\n    slot_freed", "    slot_freed", FAIR),
    _lua("submit", "a job that may start is dispatched at once", "ENTERED and admit() or {}", "{}", STORE),
    _py("store/scripts", "a function keeps nothing from one call to the next", 'value != "{}" and ', "", "tests/integration/test_wire.py"),
    _lua("lib/fair", "a tenant's limit of running jobs", "if limits.max_concurrent and", "if false and", FAIR),
    _lua("lib/fair", "a tenant's start rate", "if have < 1 then", "if false then", FAIR),
    _lua("lib/known", "a pipeline's cap", "return pipe.cap and", "return false and", FAIR),
    _lua(
        "lib/fair",
        "being idle saves up no credit",
        "math.max(share.time, PEAK + turn)",
        "math.min(share.time, PEAK + turn)",
        FAIR,
    ),
    _lua("lib/fair", "shares are by the time that was used", "= used - tonumber(job.charged", "= 0 * tonumber(job.charged", FAIR),
    # -- what time runs out for
    _lua("rescue", "an unclaimed hint is lost", "K.hints(), '-inf', int(NOW), 'LIMIT'", "K.hints(), '-inf', '-inf', 'LIMIT'"),
    _lua("rescue", "a fresh hint is not", "K.hints(), '-inf', int(NOW), 'LIMIT'", "K.hints(), '-inf', '+inf', 'LIMIT'"),
    _lua("rescue", "a good lease is left alone", "K.leases(), '-inf', int(NOW), 'LIMIT'", "K.leases(), '-inf', '+inf', 'LIMIT'"),
    _lua("rescue", "a restarted server takes nobody's job away", "  if before then\n", "  if false then\n", RECONCILE),
    _lua("rescue", "leases are longer by the time it was away", "leases[i + 1] + down", "leases[i + 1]", RECONCILE),
    _lua("rescue", "a dead worker's job is charged for the time it lived", "job.ran_until = ", "local _ = ", FAIR),
    _lua(
        "requeue",
        "a run that gives its job up has its folder thrown away",
        "  -- It removes its folder itself, if it lives so long.\n  discard(id, job, fence)",
        "",
        STORE,
    ),
    _lua("lib/ending", "a finished run keeps its folder", "if folder ~= job.artifacts then", "if true then", STORE),
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
        "idempotency ~= '' and made_before(schedule.tenant_id, idempotency, fingerprint)\n  or no_room",
        "no_room",
        SCHEDULES,
    ),
    _lua("schedule_put", "slots that wait are skipped by a pause", "if paused then", "if false then", SCHEDULES),
    _no_oom_flag("cancel"),
    _no_oom_flag("announce"),
    _no_oom_flag("requeue"),
    _no_oom_flag("rescue"),
    _no_oom_flag("purge"),
    _no_oom_flag("delete"),
    # -- webhooks
    _lua("lib/ending", "whatever ends a job tells of it", "  outbox_job(id, job, to, number)\n", "", WEBHOOKS),
    _lua("lib/outbox", "a copy of the record", "if key then redis.call('COPY', key, snapshot) end", "", WEBHOOKS),
    _lua("lib/outbox", "a disabled endpoint is told nothing", "endpoint[3] == '1' and (event.only", "(event.only", WEBHOOKS),
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
    _py("jobs/faults", "the machine is asked before a job is blamed", "        if reason is not None:", "        if False:", FAULTS),
    _py("jobs/faults", "a run may not fill the disk", "            return WorkTooLarge\n", "            return None\n", FAULTS),
    _lua("claim", "every run has a limit", "redis.call('ZADD', K.deadlines(), 'LT', run_until, id)", "", GUARDED),
    _lua("lib/ending", "time of earlier runs counts", "int(used_ms(job)))", "0)", GUARDED),
    _lua("requeue", "a fault waits longer each time", "1000 * 2 ^ (faults - 1)", "1000", FAULTS),
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
    _py("worker/continuations", "a limit delays a chain", "StoreUnavailable, TryLater, *", "StoreUnavailable, *", CONTINUED),
    _py(
        "worker/continuations",
        "what can never be sent",
        "        app.backend.mark_as_failure(job_id, error, request=request)\n    return",
        "    return",
        CONTINUED,
    ),
    _py("worker/hints", "a hint is the same from every process", "        origin=ORIGIN,\n", "", OPTIONS),
    _py("worker/options", "an option that is none for jobs", "for name in sorted(given.keys() - ignored):", "for name in ():", OPTIONS),
    _py("worker/options", "an option of a canvas", "_NOTHING.union(CANVAS_OPTIONS, ", "_NOTHING.union((), ", OPTIONS),
    _py("worker/options", "stamps are a canvas's", 'given.get("stamped_headers") or ()', "()", OPTIONS),
    _lua("claim", "a job's own time limit", ", 1000 * (tonumber(job.max_run_seconds) or math.huge))", ")", OPTIONS),
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
    _py("worker/lease", "the job still runs when its process is killed", "if request in state.active_requests and", "if", KEEPER),
    _py("worker/lease", "the time to stop by itself", "if now >= due:", "if True:", KEEPER),
    _py("worker/lease", "no renewal for a whole lease", "if time.monotonic() - self._renewed >= self._lease:", "if False:", KEEPER),
    _py("worker/lease", "no new jobs for a worker that stops", "if self._leaving or _stopping():", "if False:", KEEPER),
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
    # -- events
    _lua("lib/telling", "what changes nothing is no event", "or message ~= (job.message or '') then", "or true then", EVENTS, EVENTS_MODEL),
    _lua("lib/ending", "a cancel is told once", "'running' and not job.cancel_requested then", "'running' then", EVENTS, EVENTS_MODEL),
    _lua("lib/ending", "a log goes with its job", "redis.call('DEL', K.job(id), K.events(id))", "redis.call('DEL', K.job(id))", EVENTS),
    _lua("lib/events", "numbers go on when the oldest go", "length + tonumber(job.events_cut or '0')", "length", EVENTS),
    _lua("feed", "the feed of a workspace", "(workspace == '' or workspace == whose)", "true", EVENTS),
    _py("events/hub", "a gap is read from the log", "if page.after > self.place:", "if False:", HUB),
    _py("events/hub", "nothing is told twice", "if event.place > self.place]", "]", HUB),
    _py("events/hub", "a lost connection is made up for", "(name, EVERYTHING if text is None else text)", '(name, text or "")', HUB),
    _py("events/hub", "a lost hint is made up for", "elif topic.looked_at < late and", "elif False and", HUB),
    _py("web/http/streams", "whoever lost the right is told no more", "if not self._is_allowed():", "if False:", STREAMS),
    _py("web/api/events", "another's job is unknown", "if not who.reaches(page.tenant_id, page.workspace_id):", "if False:", STREAMS),
    _py("web/api/events", "a token opens its own stream", "or not who.opens(job_scope(job_id)):", "or False:", STREAMS),
    _py("web/api/sockets", "a page of another origin", "    refuse_other_origin(here.settings)\n", "", STREAMS),
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
    _lua("list", "a page's budget", "or budget == 0 then", "then", MIXES),
    _lua("cancel_page", "the other filters", "(not needs or meets(id, needs)) and load(id)", "load(id)", MIXES),
    _py("jobs/listing", "the workspace of the key", "query.within if query.within != query.workspace_id else None", "None", MIXES),
    _py("jobs/listing", "what not every index says is looked up", "frozenset.intersection(*", "frozenset().union(*", MIXES),
    # -- the page
    _py("web/access/origin", "a form from elsewhere", "if not told or (site is not None and site not in _OWN_SITE):", "if False:", PAGE),
    _py("web/access/auth", "a session opens the page only", " if request.blueprint == PAGE else None", "", PAGE),
    _py("web/access/sessions", "the session's own key", " and hmac.compare_digest(session_mark(key), str(mark))", "", PAGE),
    _py("web/access/sessions", "a session has an end", "(cookie, max_age=self._seconds)", "(cookie)", PAGE),
    _py("web/ui/blueprint", "nobody is sent elsewhere", "    if not (parts.path == root", "    if False and not (parts.path == root", PAGE),
    _py("web/ui/results", "links to the web only", 'if parts.scheme in ("http", "https") and parts.netloc', "if True", PAGE_TEXT),
)
