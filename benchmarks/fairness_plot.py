"""Who ran when, for first-in-first-out and for fair shares.

`python -m benchmarks.fairness_plot` writes `docs/fairness.svg` and prints figures.

Four slots. At 0 s tenant A sends 300 jobs of 100 ms; at 1 s B sends 10 and at 2 s C sends 40 of 50 ms. FIFO is the same store with all of
them in one tenant: within a workspace jobs of equal priority start in the order they came.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from examples.demo_pipelines import SLEEP
from pipeline_jobs.job import NewJob
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.pipelines import Registry
from pipeline_jobs.settings import load_settings
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused, HintTemplate, Store, connect
from tests.servers import Server

SLOTS = 4
#: When, who, how many, seconds each.
PLAN = ((0.0, "A", 300, 0.1), (1.0, "B", 10, 0.1), (2.0, "C", 40, 0.05))
COLOURS = {"A": "#9aa5b1", "B": "#d6453d", "C": "#2f6fde"}
TEMPLATE = HintTemplate("jobs", '{"id":"@ID@","fence":@FENCE@}')


@dataclass
class Run:
    """One run: `(slot, who, start, end)` of each job, seconds from the start; when each tenant submitted."""

    title: str
    spans: list[tuple[int, str, float, float]] = field(default_factory=list)

    def waits(self, who: str) -> list[float]:
        sent = next(when for when, name, _, _ in PLAN if name == who)
        return sorted(start - sent for _, name, start, _ in self.spans if name == who)


def measure(server: Server, title: str, *, fair: bool) -> Run:
    """Run the plan with real time and four threads as slots."""
    with server.client() as raw:
        raw.flushall()
    settings = load_settings(
        {"PIPELINE_REDIS_URL": server.url, "PIPELINE_MAX_CONCURRENT_JOBS": str(SLOTS), "PIPELINE_ANNOUNCE_SECONDS": "100"}
    )
    registry = Registry()
    registry.register(SLEEP)
    store = Store(connect(server.url), settings, template=TEMPLATE)
    client = Client(store, registry, settings)
    store.announce("w", SLOTS, [])
    run, lock, began = Run(title), threading.Lock(), time.monotonic()
    total = sum(n for _, _, n, _ in PLAN)

    def slot(number: int) -> None:
        while len(run.spans) < total:
            popped = store.client.brpop("jobs", timeout=1)
            if popped is None:
                continue
            hint = json.loads(popped[1])
            job = store.claim(hint["id"], hint["fence"], worker="w", run=f"{number}")
            assert not isinstance(job, ClaimRefused)
            start = time.monotonic() - began
            time.sleep(float(job.params["seconds"]))
            with lock:
                run.spans.append((number, job.tags[0], start, time.monotonic() - began))
            store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={})

    threads = [threading.Thread(target=slot, args=(n,)) for n in range(SLOTS)]
    for thread in threads:
        thread.start()
    for when, who, n, seconds in PLAN:
        time.sleep(max(0.0, when - (time.monotonic() - began)))
        for _ in range(n):
            client.submit(NewJob(pipeline="sleep", params={"seconds": seconds}, tenant_id=who if fair else "everybody", tags=(who,)))
    for thread in threads:
        thread.join()
    store.client.close()
    return run


def svg(runs: list[Run]) -> str:
    """One strip of slots for each run, a colour for each tenant."""
    longest = max(end for run in runs for *_, end in run.spans)
    width, left, bar, gap = 900, 20, 18, 90
    scale = (width - 2 * left) / longest
    parts = []
    top = 30
    for run in runs:
        parts.append(f'<text x="{left}" y="{top}" font-weight="bold">{run.title}</text>')
        for slot, who, start, end in run.spans:
            place = f'x="{left + start * scale:.1f}" y="{top + 10 + slot * (bar + 2)}" height="{bar}"'
            parts.append(f'<rect {place} width="{max((end - start) * scale - 0.3, 0.5):.1f}" fill="{COLOURS[who]}"/>')
        base = top + 10 + SLOTS * (bar + 2)
        for row, (when, who, n, seconds) in enumerate(PLAN):
            x, colour = left + when * scale, COLOURS[who]
            parts.append(f'<line x1="{x:.1f}" y1="{top + 5}" x2="{x:.1f}" y2="{base}" stroke="{colour}" stroke-dasharray="3 2"/>')
            label = f"{who} sends {n} x {seconds * 1000:.0f} ms"
            parts.append(f'<text x="{x + 2:.1f}" y="{base + 14 + 14 * row}" fill="{colour}">{label}</text>')
        top = base + gap
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top - 30}" font-family="sans-serif" font-size="12"'
        ' fill="#52606d">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder)).start()
        try:
            runs = [measure(server, "First in, first out", fair=False), measure(server, "Fair shares", fair=True)]
        finally:
            server.stop()
    target = Path(__file__).resolve().parents[1] / "docs" / "fairness.svg"
    target.write_text(svg(runs))
    for run in runs:
        print(run.title)
        for who in ("A", "B", "C"):
            waits = run.waits(who)
            print(f"  {who}: first start after {waits[0]:.2f} s, median {waits[len(waits) // 2]:.2f} s, last {waits[-1]:.2f} s")


if __name__ == "__main__":
    main()
