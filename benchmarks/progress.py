"""Bar 8: what it costs a stage to tell its progress. Ours is taken at once and written a few times a second; the last value always is."""

from __future__ import annotations

from benchmarks.kit.bench import CELERY, OURS, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios


def run(bench: Bench) -> Outcome:
    many, few = bench.size(2_000_000, 20_000), bench.size(3000, 50)

    def ours() -> float:
        bench.flush(OURS)
        seconds, last = bench.ours().call("progress", n=many)
        if last != 99.5:
            raise RuntimeError(f"the last progress was not written: {last}")
        return float(seconds / many * 1e6)

    def celery() -> float:
        bench.flush(CELERY)
        return float(bench.peer("celery").call("update_state", n=few) / few * 1e6)

    samples = alternate(bench.rounds, {"ours": ours, "celery update_state": celery})
    return Outcome(
        rows=[Row(name, "µs a call", values) for name, values in samples.items()],
        bars=[Bar(8, "progress call, ours / update_state", "<=", 1 / 300, ratios(samples["ours"], samples["celery update_state"]))],
        notes=["The value given last is read back from the record each time."],
    )


FIGURE = Figure("progress", "Progress", run, quick=True)
