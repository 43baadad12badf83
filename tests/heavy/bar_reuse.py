"""Flows, bar 3: a second job with the same source takes at most a tenth of the first one's time. A changed parameter runs again, and the
same source in another workspace, in as long a time as if nobody had it.

`python -m pytest -s tests/heavy/bar_reuse.py` (FILM_MINUTES=1 for a shorter film, whose times are told and not held); needs flite.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline_jobs.events.log import read
from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from tests.acceptance.films import folder_of, serving
from tests.heavy.bar_hour import film
from tests.quality.clips import clean
from tests.quality.texts import ENGLISH, HELD_OUT
from tests.stack import MakeStack, Stack

MINUTES = float(os.environ.get("FILM_MINUTES", "5"))
#: Of the first job's time: what the second one may take, and what a stranger's takes at least.
SHARE, STRANGERS = 0.10, 0.5
#: The stages whose output other jobs are given.
SHARED = ["probe", "transcode", "transcribe", "analyse", "speakers", "render"]


def ran(stack: Stack, **fields: Any) -> tuple[Job, float, list[str]]:
    """A job that has completed, how long it ran, in seconds, and the stages whose output it was given."""
    job = stack.submit(pipeline="media", **fields)
    ended = stack.until_status(job.job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=60 * MINUTES + 600)
    assert ended.status is JobStatus.COMPLETED, ended.error
    assert ended.started_at is not None
    assert ended.completed_at is not None
    cached = [event.data["stage"] for event in read(stack.client.store, job.job_id, 0, 500).events if event.data.get("cached")]
    return ended, (ended.completed_at - ended.started_at) / 1000, cached


def test_a_second_job_with_the_same_source_takes_a_tenth_of_the_time(make_stack: MakeStack, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    sound = clean("flite-slt", " ".join(ENGLISH[name] for name in HELD_OUT), tmp_path)[0]
    source = film(tmp_path / "www" / "film.mp4", sound, 60 * MINUTES)
    stack = make_stack()
    stack.worker("jobs", "--autoscale=1,1")
    with serving(folder_of(tmp_path / "www")) as address:
        asked = {"url": f"{address}/{source.name}", "quality": "720p", "tenant_id": "acme", "workspace_id": "main"}
        whole, first, none = ran(stack, **asked)
        again, second, given = ran(stack, **asked)
        _, changed, less = ran(stack, **{**asked, "quality": "480p"})
        _, elsewhere, nothing = ran(stack, **{**asked, "workspace_id": "other"})
    print(
        f"{MINUTES:g} min: {first:.1f} s; again {second:.1f} s ({second / first:.1%}, given {', '.join(given)}); as 480p {changed:.1f} s "
        f"(given {', '.join(less) or 'nothing'}); in another workspace {elsewhere:.1f} s ({elsewhere / first:.0%})"
    )
    assert (none, given, nothing) == ([], [name for name in SHARED if name in given], [])
    assert {"transcode", "transcribe"} <= set(given)
    assert "transcode" not in less
    assert stack.result(again)["transcript"] == stack.result(whole)["transcript"]
    assert again.result["cached"] is True
    assert second / first <= SHARE or MINUTES < 5
    assert elsewhere / first >= STRANGERS or MINUTES < 5
