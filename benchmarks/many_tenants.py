"""Bar 11: what a worker ends a second with the jobs of a thousand tenants queued, beside those of one."""

from __future__ import annotations

from benchmarks import noop
from benchmarks.kit.bench import EVERYSEC, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios
from benchmarks.peers.talk import FIELDS
from pipeline_jobs.job import NewJob


def run(bench: Bench) -> Outcome:
    many = bench.size(1000, 10)
    with noop.ours(bench, EVERYSEC) as contender:
        client = bench.jobs().client

        def with_tenants(tenants: int) -> float:
            def submit(jobs: int) -> None:
                for number in range(jobs):
                    client.submit(NewJob(pipeline="noop", **{**FIELDS, "tenant_id": f"t{number % tenants}"}))

            contender.submit, contender.jobs = submit, bench.size(2000, 40)
            return contender.drain()

        with_tenants(1), with_tenants(many)
        samples = alternate(bench.rounds, {"one tenant": lambda: with_tenants(1), f"{many:,} tenants": lambda: with_tenants(many)})
    one, all_ = samples.values()
    return Outcome(
        rows=[Row(f"ours, {name}", "jobs/s", values) for name, values in samples.items()],
        bars=[Bar(11, f"no-op jobs ended, {many:,} tenants / one", ">=", 0.95, ratios(all_, one))],
        notes=["The worker of the no-op figure, on jobs that were submitted while it stood still."],
    )


FIGURE = Figure("many_tenants", "Throughput with many tenants", run)
