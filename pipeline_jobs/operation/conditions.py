"""Everything that an operator should know of: each condition with its severity and what to do, in one table, and a look that says which
of them hold. `GET /health/installation`, `jobs doctor` and the metric `pipeline_condition` are made of it, so they cannot disagree.

A look reads the store only, in a few round trips. What takes longer (a write to the artifact store, the broker) or is a matter of one
machine (its disks, its clock) each process finds by itself (`operation.watch`) and announces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.operation import checks
from pipeline_jobs.operation.watch import OF_THE_API
from pipeline_jobs.settings import Settings, env_names
from pipeline_jobs.store import presence
from pipeline_jobs.store.figures import Load, history, load
from pipeline_jobs.store.guard import share_of_memory, unbounded, used_share
from pipeline_jobs.store.presence import Process
from pipeline_jobs.store.store import Store

#: `error`: jobs are refused, lost sight of or not run. `warning`: that may come. `advice`: how it is set up; nothing is wrong now.
ERROR, WARNING, ADVICE = "error", "warning", "advice"
#: How far clocks may be apart, in ms.
SKEW_MS = 2_000


@dataclass(frozen=True, slots=True)
class Condition:
    """One kind of thing that can be wrong."""

    #: What of the installation it is about: a part of `/health/installation`.
    part: str
    severity: str
    #: In a few words.
    what: str
    to_do: str


CONDITIONS: Mapping[str, Condition] = {
    "store_away": Condition(
        "store", ERROR, "The store cannot be reached.",
        "Start the server, or correct PIPELINE_REDIS_URL. If its log says that it could not write, make room on its disk first.",
    ),
    "store_unsafe": Condition(
        "store", ERROR, "The server could lose accepted jobs, so it is given none.",
        "Set appendonly yes and maxmemory-policy noeviction on a master; if it could not write its AOF, make room on its disk.",
    ),
    "store_memory_full": Condition(
        "store", ERROR, "The server's memory is full: no new jobs are accepted.",
        "Raise maxmemory, or remove ended jobs: lower PIPELINE_JOB_TTL_SECONDS or the tenants' max_ended.",
    ),
    "store_memory_high": Condition(
        "store", WARNING, "The server's memory is nearly full: tenants that hold more than their share get no new jobs.",
        "Raise maxmemory, or remove ended jobs: lower PIPELINE_JOB_TTL_SECONDS or the tenants' max_ended.",
    ),
    "store_memory_unbounded": Condition(
        "store", ADVICE, "The server has no memory limit (maxmemory is 0).",
        "Set maxmemory to at most half of the memory of its machine or container.",
    ),
    "store_disk_full": Condition(
        "store", ERROR, "The disk of the server's data is nearly full: a server that cannot write its log ends.",
        "Make room on that disk; the server starts again by itself where it is supervised.",
    ),
    "store_disk_shared": Condition(
        "store", ADVICE, "Artifacts or working folders can fill the disk of the server's data.",
        "Give the server a disk of its own.",
    ),
    "files_disk_full": Condition(
        "files", ERROR, "The disk of artifacts and uploads is nearly full: nothing more is stored there.",
        "Make room on it, or lower PIPELINE_ARTIFACT_TTL_SECONDS.",
    ),
    "artifacts_unwritable": Condition(
        "artifacts", ERROR, "The artifact store takes no files: jobs that publish are handed back again and again.",
        "Correct PIPELINE_ARTIFACTS_URL, its credentials or its permissions, or start it.",
    ),
    "broker_away": Condition(
        "broker", ERROR, "The broker cannot be reached: jobs are accepted and wait.",
        "Start the broker, or correct CELERY_BROKER_URL.",
    ),
    "beat_away": Condition(
        "beat", ERROR, "Beat does not run: nothing is rescued, purged or fired.",
        "Start it: celery -A celery_app beat.",
    ),
    "maintenance_away": Condition(
        "beat", ERROR, "No maintenance worker runs: nothing is rescued, purged or fired, and no webhook is sent.",
        "Start one: celery -A celery_app worker -n maintenance@%h -Q maintenance -c 1 -E.",
    ),
    "duties_late": Condition(
        "beat", ERROR, "The duties of maintenance do not run, although beat and a maintenance worker are there.",
        "Look at the maintenance worker's log; restart it if it stands still.",
    ),
    "canary_late": Condition(
        "canary", ERROR, "No canary job has come back: workers announce themselves but run no jobs.",
        "Look at the workers' logs; restart those that stand still.",
    ),
    "workers_away": Condition(
        "workers", ERROR, "No worker takes jobs.",
        "Start one, mend the machines of those that are paused, or let those that are drained go on (jobs drain --undo WORKER).",
    ),
    "worker_paused": Condition(
        "workers", WARNING, "A worker takes no jobs because its machine cannot run any.",
        "Mend what it names; it goes on by itself within ten seconds.",
    ),
    "worker_drained": Condition(
        "workers", WARNING, "A worker takes no jobs because it was told so.",
        "Restart it, or: jobs drain --undo WORKER.",
    ),
    "worker_limited": Condition(
        "workers", WARNING, "A worker does not run every pipeline as it should.",
        "Mend what its self-test names, and restart it.",
    ),
    "history_behind": Condition(
        "history", WARNING, "Ended jobs are not moved into the history.",
        "Start its database, or correct PIPELINE_HISTORY_URL; the log of the maintenance worker says why.",
    ),
    "history_full": Condition(
        "history", ERROR, "More ended jobs wait for the history than are kept: those past their time are deleted without it.",
        "Start its database, or correct PIPELINE_HISTORY_URL; until then raise PIPELINE_HISTORY_MAX_WAITING if the server has the memory.",
    ),
    "process_lost": Condition(
        "processes", ERROR, "A process has ended without a word, or stands still.",
        "If it is there (ps), look at its log and kill it; then start it again. Its jobs go on elsewhere.",
    ),
    "process_refused": Condition(
        "processes", ERROR, "A process does not start.", "Correct what it names.",
    ),
    "clock_skew": Condition(
        "clock", WARNING, "A process and the server do not agree on the time.",
        "Set both clocks by NTP.",
    ),
    "versions_differ": Condition(
        "versions", WARNING, "Processes of several versions run.",
        "Finish the deployment, or roll it back.",
    ),
    "settings_differ": Condition(
        "settings", WARNING, "Processes have different settings.",
        "Give all processes the same environment and restart those that differ (jobs config shows them).",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A condition that holds."""

    name: str
    #: Where, and by how much.
    detail: str

    @property
    def condition(self) -> Condition:
        return CONDITIONS[self.name]

    @property
    def severity(self) -> str:
        return self.condition.severity

    def to_dict(self) -> dict[str, str]:
        kind = self.condition
        return {
            "condition": self.name, "part": kind.part, "severity": kind.severity, "what": kind.what, "detail": self.detail,
            "to_do": kind.to_do,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found: the conditions that hold, and the processes that there are."""

    found: tuple[Found, ...]
    processes: tuple[Process, ...] = ()
    #: The server's clock, in ms; 0: it could not be asked.
    now: int = 0

    @property
    def worst(self) -> str:
        """`ok`, `warning` or `error`."""
        severities = {one.severity for one in self.found}
        return ERROR if ERROR in severities else WARNING if WARNING in severities else "ok"


def look(store: Store, settings: Settings, local: Mapping[str, str]) -> Seen:
    """Which conditions hold. Never raises for a store that is away: that is one.

    :param local: what this process found itself (`Watch.findings`).
    """
    own = [Found(name, detail) for name, detail in local.items()]
    try:
        seen = presence.census(store)
        now, known = seen.now, seen.processes
        found = [*_store(store, settings), *_load(load(store)), *_duties(store, settings, known, now), *_processes(known, now)]
        found += [*_versions(known, seen.earlier, now), *_history(store, settings)]
    except StoreUnavailable as error:
        return Seen((Found("store_away", error.message), *own))
    told = {one.name for one in own}
    found += [one for one in _findings(known, now) if one.name not in told]
    return Seen(tuple(sorted((*own, *found), key=_place)), tuple(known), now)


def _place(one: Found) -> tuple[int, int]:
    """The worst first; of the same severity in the order of the table."""
    return (ERROR, WARNING, ADVICE).index(one.severity), list(CONDITIONS).index(one.name)


def _store(store: Store, settings: Settings) -> Iterator[Found]:
    if reason := checks.refused(store, settings):
        yield Found("store_unsafe", reason)
    memory = store.info("memory")
    if unbounded(memory):
        yield Found("store_memory_unbounded", f"it uses {memory.get('used_memory_human')}")
    share = share_of_memory(memory, settings.memory_watermark)
    if share is not None:
        yield Found("store_memory_high" if share else "store_memory_full", f"{used_share(memory):.0%} is used")


def _load(now: Load) -> Iterator[Found]:
    paused = now.paused
    drained = [worker for worker, slots in now.slots.items() if not slots and worker not in paused]
    here = now.default.slots
    if all(worker in paused or worker in drained for worker in here):
        yield Found("workers_away", f"{len(here)} workers are live, and none takes jobs" if here else "no worker is live")
    yield from _each("worker_paused", paused)
    yield from _each("worker_drained", dict.fromkeys(drained, "it has left the queue `jobs`"))
    yield from _each("worker_limited", now.warnings)


def _duties(store: Store, settings: Settings, known: Sequence[Process], now: int) -> Iterator[Found]:
    age = checks.age(store, "rescue", now)
    if age is None or checks.is_late(settings, age):
        kinds = {one.about.kind for one in presence.live(known, now)}
        missing = [name for name, kind in (("beat_away", "beat"), ("maintenance_away", "maintenance")) if kind not in kinds]
        for name in missing or ["duties_late"]:
            yield Found(name, "maintenance has never run" if age is None else f"maintenance last ran {age:.0f} s ago")
    canary = checks.age(store, "canary", now)
    if settings.canary_seconds and canary is not None:
        yield from _canary(load(store), settings, canary)


def _canary(load_now: Load, settings: Settings, age: float) -> Iterator[Found]:
    if checks.is_canary_late(settings, age, load_now.default):
        yield Found("canary_late", f"the canary last ran {age:.0f} s ago")
    for pool in load_now.pools[1:]:
        if pool.slots and checks.is_canary_late(settings, pool.canary_seconds, pool):
            yield Found("canary_late", f"that of the pool {pool.pool} came back {pool.canary_seconds:.0f} s ago")


def _history(store: Store, settings: Settings) -> Iterator[Found]:
    if not settings.history_url:
        return
    waiting = history(store)
    detail = f"{waiting.jobs} wait, the first for {waiting.seconds:.0f} s"
    if checks.is_behind(settings, waiting):
        yield Found("history_behind", detail)
    if waiting.jobs > settings.history_max_waiting:
        yield Found("history_full", detail)


def _processes(known: Sequence[Process], now: int) -> Iterator[Found]:
    for one in presence.lost(known, now):
        yield Found("process_lost", f"{one.node} ({one.about.kind}) has said nothing for {one.silent_seconds(now):.0f} s")
    for one in known:
        if one.about.refused and one.silent_seconds(now) <= 3 * presence.LOST_SECONDS:
            yield Found("process_refused", f"{one.node} ({one.about.kind}): {one.about.refused}")
    for one in presence.live(known, now):
        skew = one.about.skew_ms
        if skew is not None and abs(skew) > SKEW_MS:
            yield Found("clock_skew", f"{one.node} is {abs(skew) / 1000:.1f} s {'ahead of' if skew > 0 else 'behind'} the server")


def _versions(known: Sequence[Process], earlier: Sequence[str], now: int) -> Iterator[Found]:
    here = presence.live(known, now)
    by_version: dict[str, list[str]] = defaultdict(list)
    for one in here:
        by_version[one.about.version].append(one.node)
    # Job workers and API processes of earlier versions announce themselves, but not what they are.
    by_version["earlier"] += [name.partition("/")[0] for name in earlier]
    several = {version: sorted(set(nodes)) for version, nodes in by_version.items() if nodes}
    if len(several) > 1:
        yield Found("versions_differ", "; ".join(f"{version}: {', '.join(nodes)}" for version, nodes in sorted(several.items())))
    for field, values in drift(here).items():
        variable = next(env for env, name in env_names().items() if name == field)
        shown = "; ".join(f"{text or 'default'}: {', '.join(nodes)}" for text, nodes in sorted(values.items()))
        yield Found("settings_differ", f"{variable} ({shown})")


def drift(processes: Iterable[Process]) -> dict[str, dict[str, list[str]]]:
    """Settings that differ: of each field the hashes of its values (empty: the default), and the nodes that have each.

    Processes of another version are left out: defaults and names may have changed. `versions_differ` tells of those.
    """
    of_one = _of_most(processes)
    found = {}
    for field in sorted({field for one in of_one for field in one.about.settings} & set(Settings.model_fields)):
        values: dict[str, set[str]] = defaultdict(set)
        for one in of_one:
            if field not in OF_THE_API or one.about.kind == "api":
                values[dict(one.about.settings).get(field, "")].add(one.node)
        if len(values) > 1:
            found[field] = {text: sorted(nodes) for text, nodes in values.items()}
    return found


def _of_most(processes: Iterable[Process]) -> list[Process]:
    by_version: dict[str, list[Process]] = defaultdict(list)
    for one in processes:
        by_version[one.about.version].append(one)
    return max(by_version.values(), key=len, default=[])


def _findings(known: Sequence[Process], now: int) -> Iterator[Found]:
    """What processes found by themselves. The same of several is told once."""
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in presence.live(known, now):
        for name, text in one.about.findings.items():
            if name in CONDITIONS:
                texts[name, text].append(one.node)
    for (name, text), nodes in texts.items():
        yield Found(name, f"{text} ({', '.join(sorted(set(nodes)))})")


def _each(name: str, texts: Mapping[str, str]) -> Iterator[Found]:
    for worker, text in sorted(texts.items()):
        yield Found(name, f"{worker.partition('/')[0]}: {text}")


def parts(seen: Seen) -> dict[str, dict[str, object]]:
    """Of each part whether it works: `{"store": {"ok": bool, "reason": str | None, "warning": str}, ...}`."""
    found: dict[str, dict[str, object]] = {}
    for part in dict.fromkeys(one.part for one in CONDITIONS.values()):
        of_part = [one for one in seen.found if one.condition.part == part]
        errors = [f"{one.condition.what} {one.detail}" for one in of_part if one.severity == ERROR]
        warnings = [f"{one.condition.what} {one.detail}" for one in of_part if one.severity != ERROR]
        found[part] = {"ok": not errors, "reason": "; ".join(errors) or None}
        if warnings:
            found[part]["warning"] = "; ".join(warnings)
    return found


def exposition(seen: Seen) -> str:
    """The metric `pipeline_condition` as Prometheus text: of each condition 1 if it holds, else 0. To be put behind other metrics."""
    holds = {one.name for one in seen.found}
    lines = [
        "# HELP pipeline_condition Conditions that an operator should know of: 1 if it holds. `jobs doctor` says what to do.",
        "# TYPE pipeline_condition gauge",
        *(f'pipeline_condition{{condition="{name}",severity="{kind.severity}"}} {int(name in holds)}' for name, kind in CONDITIONS.items()),
    ]
    return "\n".join(lines) + "\n"
