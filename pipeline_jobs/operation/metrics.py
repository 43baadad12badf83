"""Prometheus metrics from the store's counters: exact across processes and restarts, because each is counted in the script
that makes the transition, and only read here. Names and labels of the first three are the user's brief's.

Series are bounded: the first tenants and workspaces have names, the rest are `_other` together (`series_of` in `lua/lib/base.lua`).
A series that is known to come is there with zero before its first event: `increase()` sees no event that a series begins with.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pipeline_jobs.operation.canary import TENANT as CANARY
from pipeline_jobs.states import TERMINAL, JobStatus
from pipeline_jobs.store.figures import Scrape, scrape
from pipeline_jobs.store.store import Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Upper bounds in ms, as in `lua/lib/base.lua`.
BUCKETS_MS = (100, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000, 14400000)
#: Names of the buckets in the store and in the text (there in seconds).
_BOUNDS = (*((str(bound), f"{bound / 1000:g}") for bound in BUCKETS_MS), ("inf", "+Inf"))

_TENANT = ("tenant", "workspace")
_COUNTERS = {
    "created": ("pipeline_jobs_created", "Jobs accepted.", _TENANT),
    "completed": ("pipeline_jobs_completed", "Jobs that ended, by status.", (*_TENANT, "status")),
    "crashes": ("pipeline_job_crashes", "Crashes: times that a worker died with a job.", ()),
    "handbacks": (
        "pipeline_job_handbacks",
        "Jobs that a worker gave back: handback (it stops), fault (its machine is at fault).",
        ("reason",),
    ),
    "schedule_slots": (
        "pipeline_schedule_slots",
        "Slots of schedules by outcome: fired, manual, or the reason why they were skipped.",
        (*_TENANT, "outcome"),
    ),
    "leases_expired": ("pipeline_leases_expired", "Leases that expired without a heartbeat.", ()),
    "webhook_deliveries": (
        "pipeline_webhook_deliveries",
        "Webhook attempts by outcome: delivered, retried, dead (it was the last), gone (410), sender_lost (it is sent again).",
        ("outcome",),
    ),
    "canary_created": ("pipeline_canary_jobs_created", "Canary jobs sent. They are not counted for a tenant.", ()),
    "canary_completed": ("pipeline_canary_jobs_completed", "Canary jobs that ended, by status.", ("status",)),
}
_HISTOGRAMS = {
    "duration": ("pipeline_job_duration_seconds", "From the start of a job's last run (attempt_started_at) to its end."),
    "schedule_lag": ("pipeline_schedule_lag_seconds", "Time from a schedule's slot to the acceptance of its job."),
    "wait": ("pipeline_job_wait_seconds", "Time from the acceptance of a job to its first start."),
}

_ENDS = tuple(status.value for status in JobStatus if status in TERMINAL)
WEBHOOK_OUTCOMES = ("delivered", "retried", "dead", "gone", "sender_lost")
HANDBACKS = ("handback", "fault")
#: docs/schedules.md says when.
SLOT_OUTCOMES = (
    "fired", "manual", "missed", "overlap", "superseded", "overlap_queue_full", "rate_limited", "queue_full", "storage_full",
    "webhooks_full", "memory_full", "store_full", "paused", "changed", "invalid",
)  # fmt: skip

#: Label for all that have no name of their own.
OTHER = "_other"

#: Of each kind of counter its values by their labels: `{"created": {("acme", "main"): 3}}`.
Counts = dict[str, dict[tuple[str, ...], int]]


def render(store: Store, workspaces: int = 20, disk: tuple[int, int] | None = None) -> bytes:
    """The metrics of a cell as Prometheus text. Reads only.

    :param workspaces: most workspaces of a tenant that have names, as the store has it from its settings.
    :param disk: bytes that are free on the disk of the artifacts, and that must stay free, where it is a disk.

    :raises StoreUnavailable: answer 503; a scrape must not take silence for zero.
    """
    now = scrape(store)
    counts = bounded(now.counters, now.names)
    _add_zeros(counts, _full_tenants(now.names, workspaces))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(counts, _gauges(now, disk)))
    return generate_latest(registry) + "".join(_histograms(counts)).encode()


def _gauges(now: Scrape, disk: tuple[int, int] | None) -> Iterator[tuple[str, str, float]]:
    """Name, meaning and value of each."""
    yield "pipeline_jobs_queued", "Jobs that wait for a slot. Jobs that cannot start yet are counted separately.", now.ready
    yield "pipeline_jobs_scheduled", "Jobs that wait for a point in time: their `run_at`, or the next attempt.", now.delayed
    yield "pipeline_jobs_dependent", "Jobs that wait for other jobs to end.", max(0, now.queued - now.ready - now.delayed)
    yield "pipeline_jobs_running", "Running jobs: a worker holds their lease.", now.leases
    yield "pipeline_slots", "Slots of the live workers that consume the queue `jobs`.", now.capacity
    yield "pipeline_workers_paused", "Workers that take no jobs now, because their machine cannot run any.", now.paused
    yield "pipeline_oldest_queued_age_seconds", "How long the first of the jobs that wait for a slot has been waiting.", now.ready_seconds
    late = "How long the most overdue schedule has been due."
    yield "pipeline_schedules_late_seconds", late, now.schedules_late_seconds
    if now.canary_seconds is not None:
        yield "pipeline_canary_age_seconds", "Time since the last canary job completed.", now.canary_seconds
    if disk is not None:
        yield "pipeline_disk_free_bytes", "Free space on the disk of the artifacts and uploads.", disk[0]
        yield "pipeline_disk_reserve_bytes", "Free space below which nothing more is stored on that disk.", disk[1]
    if now.max_concurrent_jobs is not None:
        yield "pipeline_max_concurrent_jobs", "The installation's cap on jobs that run at once.", now.max_concurrent_jobs


def bounded(raw: Mapping[str, str], names: set[str]) -> Counts:
    """The counters by kind and labels. What has no name of its own (older versions kept all apart) is added up as `_other`."""
    counts: Counts = defaultdict(lambda: defaultdict(int))
    for field, value in raw.items():
        kind, *labels = field.split("|")
        if len(labels) > 1:
            tenant = labels[0]
            if tenant == CANARY:
                kind, labels = f"canary_{kind}", labels[2:]
            elif tenant not in names:
                labels[0] = labels[1] = OTHER
            elif f"{tenant}|{labels[1]}" not in names:
                labels[1] = OTHER
        counts[kind][tuple(labels)] += int(value)
    return counts


def _full_tenants(names: set[str], workspaces: int) -> list[str]:
    """Tenants whose next workspace has no name."""
    named = Counter(tenant for tenant, bar, _ in (name.partition("|") for name in names) if bar)
    return [name for name in names if "|" not in name and named[name] >= workspaces]


def _add_zeros(counts: Counts, full: Iterable[str]) -> None:
    """What may come next begins with zero."""
    jobs = {(OTHER, OTHER), *((tenant, OTHER) for tenant in full), *counts["created"], *(labels[:2] for labels in counts["completed"])}
    slots = {labels[:2] for labels in counts["schedule_slots"]}
    for kind, places, lasts in (
        ("created", jobs, None), ("completed", jobs, _ENDS), ("schedule_slots", slots, SLOT_OUTCOMES),
        ("crashes", {()}, None), ("handbacks", {()}, HANDBACKS), ("leases_expired", {()}, None),
        ("webhook_deliveries", {()}, WEBHOOK_OUTCOMES),
        ("canary_created", {()}, None), ("canary_completed", {()}, _ENDS),
        ("duration_sum", jobs, None), ("wait_sum", jobs, None), ("schedule_lag_sum", slots, None),
    ):  # fmt: skip
        for place in places:
            for labels in ((*place, last) for last in lasts) if lasts else (place,):
                counts[kind].setdefault(labels, 0)


class _Families:
    """Counters and gauges as the library wants them."""

    def __init__(self, counts: Counts, gauges: Iterable[tuple[str, str, float]]) -> None:
        self._counts, self._gauges = counts, gauges

    def collect(self) -> Iterator[Metric]:
        for kind, (name, what, labels) in _COUNTERS.items():
            family = CounterMetricFamily(name, what, labels=labels)
            for values, count in sorted(self._counts[kind].items()):
                family.add_metric(values, count)
            yield family
        for name, what, value in self._gauges:
            yield GaugeMetricFamily(name, what, value=value)


def _histograms(counts: Counts) -> Iterator[str]:
    """Their text. Written here: there may be a hundred thousand lines, and the library takes 12 us for each. Names need no escaping."""
    for kind, (name, what) in _HISTOGRAMS.items():
        yield f"# HELP {name} {what}\n# TYPE {name} histogram\n"
        found = counts[kind]
        for (tenant, workspace), ms in sorted(counts[f"{kind}_sum"].items()):
            labels = f'tenant="{tenant}",workspace="{workspace}"'
            totals = list(accumulate(found.get((tenant, workspace, bound), 0) for bound, _ in _BOUNDS))
            for (_, le), total in zip(_BOUNDS, totals, strict=True):
                yield f'{name}_bucket{{le="{le}",{labels}}} {total}.0\n'
            yield f"{name}_count{{{labels}}} {totals[-1]}.0\n{name}_sum{{{labels}}} {ms / 1000}\n"
