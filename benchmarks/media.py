"""Bar 14: a real media job, from the submit to the end, against the same stages called by a bare script."""

from __future__ import annotations

import sys
import time

from benchmarks import noop
from benchmarks.kit.bench import EVERYSEC, ROOT, Bench
from benchmarks.kit.figure import Bar, Figure, Outcome, Row, alternate, ratios
from benchmarks.kit.peer import Peer
from pipeline_jobs.job import NewJob
from pipeline_jobs.states import JobStatus
from pipeline_jobs.up import sample
from tests.stack import environment

QUALITY = "360p"


def run(bench: Bench) -> Outcome:
    folder = ROOT / "samples"
    clip = next(iter(sorted(folder.glob("*.mp4"))))
    settings = bench.settings(PIPELINE_ALLOW_PRIVATE_URLS="1")
    with sample.serve(folder) as address, noop.ours(bench, EVERYSEC, PIPELINE_ALLOW_PRIVATE_URLS="1"):
        url = f"{address}/{clip.name}"
        bare = Peer("stages", "stages_peer.py", sys.executable, environment(settings), bench.folder / "stages.log")
        client = bench.jobs().client

        def ours() -> float:
            start = time.perf_counter()
            job = client.wait(client.submit(NewJob(url=url, quality=QUALITY, tenant_id="acme", reuse=False)).job_id, 300)
            if job.status is not JobStatus.COMPLETED:
                raise RuntimeError(f"the job ended as {job.status}: {job.error}")
            return time.perf_counter() - start

        def stages() -> float:
            seconds, _transcript = bare.call("media", url=url, quality=QUALITY)
            return float(seconds)

        def whole_script() -> float:
            start = time.perf_counter()
            script = Peer("stages", "stages_peer.py", sys.executable, environment(settings), bench.folder / "stages.log")
            try:
                script.call("media", url=url, quality=QUALITY)
            finally:
                script.stop()
            return time.perf_counter() - start

        try:
            stages(), ours()
            samples = alternate(bench.rounds, {"ours": ours, "bare script": stages, "bare script, started for it": whole_script})
        finally:
            bare.stop()
    return Outcome(
        rows=[Row(name, "s", values) for name, values in samples.items()],
        bars=[
            Bar(
                14,
                "media job, (ours - 1 s) / bare script",
                "<=",
                1.1,
                ratios([value - 1 for value in samples["ours"]], samples["bare script"]),
            )
        ],
        notes=[
            f"`samples/{clip.name}` over loopback HTTP to {QUALITY}. Ours with leases, progress, Flower, signed artifacts, and for each "
            f"job a new process behind walls, which imports the libraries and loads the model; the bare script has them loaded."
        ],
    )


FIGURE = Figure("media", "A media job", run)
