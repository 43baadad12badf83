"""Prometheus metrics from the store's counters: exact across processes and restarts, because each is counted in the script
that makes the transition, and read here. Names and labels of the first three are the user's brief's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from pipeline_jobs.store.figures import load
from pipeline_jobs.store.store import Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Upper bounds in ms, as in `lua/lib/base.lua`.
BUCKETS_MS = (100, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000, 14400000)

_TENANT = ("tenant", "workspace")
_COUNTERS = {
    "created": ("pipeline_jobs_created", "Jobs accepted.", _TENANT),
    "completed": ("pipeline_jobs_completed", "Jobs ended, by the status they ended in.", (*_TENANT, "status")),
    "crashes": ("pipeline_job_crashes", "Times a worker died with a job.", ()),
    "schedule_slots": ("pipeline_schedule_slots", "Slots of schedules: fired, manual, or why they were skipped.", (*_TENANT, "outcome")),
    "leases_expired": ("pipeline_leases_expired", "Leases that ended without a sign of life.", ()),
    "webhook_deliveries": (
        "pipeline_webhook_deliveries",
        "Tries of webhooks by outcome: delivered, retried, dead (it was the last), gone (410), sender_lost (it comes again).",
        ("outcome",),
    ),
}
_HISTOGRAMS = {
    "duration": ("pipeline_job_duration_seconds", "From the start of the run that ended the job to its end."),
    "schedule_lag": ("pipeline_schedule_lag_seconds", "From a schedule's slot to the acceptance of its job."),
    "wait": ("pipeline_job_wait_seconds", "From acceptance to the first start."),
}


#: Label for all that have no name of their own.
OTHER = "_other"


class JobCollector:
    """Reads the store at each scrape. Series are bounded: the first tenants and workspaces by name, the rest together.

    A name once given is kept (`named` in the store), and none is given after the last: a counter that moved from `_other` to a
    name would make `_other` fall.
    """

    def __init__(self, store: Store, tenants: int, workspaces: int) -> None:
        """:param tenants: most tenants by name. :param workspaces: most workspaces of each by name."""
        self._store, self._tenants, self._workspaces = store, tenants, workspaces

    def collect(self) -> Iterable[Metric]:
        raw, gauges = self._read()
        counters = bounded(raw, self._names(raw))
        yield from _counters(counters)
        yield from _histograms(counters)
        for name, what, value in gauges:
            yield GaugeMetricFamily(name, what, value=value)

    def _names(self, raw: Mapping[str, int]) -> set[str]:
        """Tenants (`acme`) and workspaces (`acme|main`) that have series of their own."""
        names = self._store.names("named")
        made = {tuple(field.split("|")[1:3]): value for field, value in raw.items() if field.startswith("created|")}
        fresh: list[str] = []
        # The busiest first: when the places run out, they have them.
        for tenant, workspace in sorted(made, key=lambda who: -made[who]):
            known = names.union(fresh)
            if tenant not in known:
                if sum("|" not in name for name in known) >= self._tenants:
                    continue
                fresh.append(tenant)
            of_tenant = sum(name.startswith(tenant + "|") for name in known)
            if f"{tenant}|{workspace}" not in known and of_tenant < self._workspaces:
                fresh.append(f"{tenant}|{workspace}")
        if fresh:
            self._store.add_names(fresh, "named")
        return names.union(fresh)

    def _read(self) -> tuple[dict[str, int], list[tuple[str, str, float]]]:
        counters, now = self._store.record("counters"), load(self._store)
        late = now.schedules_late_seconds
        gauges = [
            ("pipeline_jobs_queued", "Jobs that wait.", float(now.queued)),
            ("pipeline_jobs_running", "Jobs whose lease a worker holds.", float(now.leases)),
            ("pipeline_slots", "Slots of the live workers on the queue `jobs`.", float(now.capacity)),
            ("pipeline_oldest_queued_age_seconds", "Age of the job that has waited longest.", now.oldest_seconds or 0.0),
            ("pipeline_schedules_late_seconds", "How long the schedule that is due for longest has not been looked at.", late),
        ]
        if now.max_concurrent_jobs is not None:
            cap = float(now.max_concurrent_jobs)
            gauges.append(("pipeline_max_concurrent_jobs", "The installation's cap on jobs that run at once.", cap))
        return {name: int(value) for name, value in counters.items()}, gauges


def bounded(raw: Mapping[str, int], names: set[str]) -> dict[str, int]:
    """The counters with everything that has no name of its own added up as `_other`; sums are kept."""
    counters: dict[str, int] = defaultdict(int)
    for field, value in raw.items():
        kind, *labels = field.split("|")
        if len(labels) >= 2:
            tenant, workspace = labels[:2]
            if tenant not in names:
                labels[:2] = [OTHER, OTHER]
            elif f"{tenant}|{workspace}" not in names:
                labels[1] = OTHER
        counters["|".join([kind, *labels])] += value
    return counters


def render(store: Store, tenants: int = 100, workspaces: int = 20) -> bytes:
    """The metrics of a cell as Prometheus text.

    :param tenants: most tenants that have series by name; `workspaces` likewise, of each tenant.

    :raises StoreUnavailable: answer 503; a scrape must not take silence for zero.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(JobCollector(store, tenants, workspaces))
    return generate_latest(registry)


def _counters(flat: Mapping[str, int]) -> Iterable[Metric]:
    families = {name: CounterMetricFamily(metric, what, labels=labels) for name, (metric, what, labels) in _COUNTERS.items()}
    for field, value in sorted(flat.items()):
        name, *labels = field.split("|")
        if name in families:
            families[name].add_metric(labels, value)
    return families.values()


def _histograms(flat: Mapping[str, int]) -> Iterable[Metric]:
    for name, (metric, what) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(metric, what, labels=_TENANT)
        counts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for field, value in flat.items():
            kind, *labels = field.split("|")
            if kind == name:
                counts[labels[0], labels[1]][labels[2]] = value
        for (tenant, workspace), by_bound in sorted(counts.items()):
            bounds = [*(str(bound) for bound in BUCKETS_MS), "inf"]
            totals = accumulate(by_bound.get(bound, 0) for bound in bounds)
            buckets = [
                ("+Inf" if bound == "inf" else f"{int(bound) / 1000:g}", float(total)) for bound, total in zip(bounds, totals, strict=True)
            ]
            seconds = flat.get(f"{name}_sum|{tenant}|{workspace}", 0) / 1000
            family.add_metric([tenant, workspace], buckets=buckets, sum_value=seconds)
        yield family
