"""Fetch from a site's page with yt-dlp, in a child process of its own (`site_child.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline_jobs.context import JobContext, kill_group
from pipeline_jobs.exceptions import (
    MediaTooLarge,
    NotMedia,
    SourceError,
    SourceForbidden,
    SourceNotFound,
    SourceTooLarge,
    SourceUnavailable,
    StageError,
)
from pipeline_jobs.media.speed import Speed

#: Runs `site_child`. Behind the walls our package's folder can be read, but not the one that it lies in: it is not found there by name.
_RUN = """
import importlib.util, runpy, sys
folder = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location("pipeline_jobs", f"{folder}/__init__.py", submodule_search_locations=[folder])
sys.modules["pipeline_jobs"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
runpy.run_module("pipeline_jobs.media.site_child", run_name="__main__", alter_sys=True)
"""
#: Seconds between two looks at the child's report and for a cancel.
POLL = 0.1
#: The extractor may take so long before a file must come, in seconds.
PAGE_SECONDS = 120.0

_ERRORS: Mapping[str, type[StageError]] = {
    error.code: error for error in (SourceForbidden, SourceNotFound, SourceUnavailable, SourceTooLarge, NotMedia, MediaTooLarge)
}


def download_from_site(context: JobContext, url: str, height: int, stem: str) -> dict[str, Any]:
    """Fetch what the page at `url` shows into the workdir, as files whose names begin with `stem`.

    :param height: the picture wanted, in lines; the site's nearest is taken.
    :return: `{"files": [names], "title": str | None}`: one file, or the picture and the sound apart.
    :raises NotMedia: no extractor knows the page, it is a playlist, or a live stream.
    :raises SourceError: one of its classes.
    """
    settings = context.settings
    order = {
        "url": url,
        "stem": stem,
        "height": height,
        "max_bytes": settings.media_max_bytes,
        "max_seconds": settings.media_max_seconds,
        "allow_private": settings.allow_private_urls,
    }
    order_file, report_file = context.workdir / f"{stem}.order.json", context.workdir / f"{stem}.report"
    order_file.write_text(json.dumps(order), encoding="utf-8")
    with report_file.open("wb") as out:
        # -P: the workdir holds files that the outside named; nothing there may be imported.
        process = context.popen(
            [sys.executable, "-P", "-c", _RUN, str(Path(__file__).parents[1]), str(order_file)],
            stdout=out,
            # Not closed: by it `stages.Child` knows when the last process of its job is gone.
            stderr=None,
            env=_environment(context.workdir),
        )
        end: dict[str, Any] | None = None
        speed = Speed(urlsplit(url).hostname or "the site", PAGE_SECONDS)
        told = 0.0  # picture and sound may come one after the other, each from 0 to 1
        try:
            with report_file.open(encoding="utf-8") as reports:
                for report in _follow(context, process, reports, speed):
                    if "bytes" in report:
                        speed.came += int(report["bytes"])
                        told = max(told, float(report["progress"]))
                        context.progress(told, "downloading")
                    else:
                        end = report
        finally:
            kill_group(process)
    if end is None:
        raise SourceError("the site's extractor ended without an answer")
    if "error" in end:
        raise _ERRORS.get(end["error"], SourceError)(end.get("message"))
    return end


def _environment(workdir: Path) -> dict[str, str]:
    """No proxy, no config of the user and no plugin folders; the import path is this process's own."""
    return {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "HOME": str(workdir),
        "XDG_CACHE_HOME": str(workdir),
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "YTDLP_NO_PLUGINS": "1",
    }


def _follow(context: JobContext, process: subprocess.Popen[bytes], lines: Any, speed: Speed) -> Iterator[dict[str, Any]]:
    """Each line the child writes, until it has ended and all is read; looks for a cancel meanwhile, and whether anything comes."""
    pending = ""
    while True:
        ended = process.poll() is not None
        while piece := lines.readline():
            pending += piece
            if pending.endswith("\n"):
                yield json.loads(pending)
                pending = ""
        if ended:
            return
        context.check_cancelled()
        speed.check()
        try:
            process.wait(timeout=POLL)
        except subprocess.TimeoutExpired:
            pass
