"""A film of an hour in parts: what of four slots the engine leaves to parts that only wait, and how much sooner a real film is done on two.

`python -m pytest -s tests/heavy/bar_parts.py` (HOUR_MINUTES=2 for a shorter film, whose times are told and not held); needs flite, and
jiwer, which is in `requirements/quality.lock`.
Bar: 3.2 times as fast on four slots, 1.6 times on two slots of two cores that nobody else uses; every picture there, the duration exact,
the words within a WER of 0.02 of those of the film as a whole.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from pipeline_jobs.job import Job
from pipeline_jobs.states import JobStatus
from tests.acceptance.films import folder_of, serving
from tests.heavy.bar_hour import film
from tests.heavy.waiting_parts import MODULE
from tests.quality.clips import clean
from tests.quality.scores import word_error_rate
from tests.quality.texts import ENGLISH, HELD_OUT
from tests.stack import MakeStack, Stack

SECONDS = float(os.environ.get("HOUR_MINUTES", "60")) * 60
#: Are the times held, too?
WHOLE_HOUR = SECONDS >= 3600
#: Of the hour: parts of five minutes, which wait ten seconds each.
PARTS, WAIT = 12, SECONDS / 360
#: How much sooner: on four slots, and the real film on two.
WAITING, REAL = 3.2, 1.6
WER = 0.02
PATIENCE = 3 * SECONDS + 600


def done(stack: Stack, pipeline: str, **fields: Any) -> tuple[Job, float]:
    """A job that has completed, and how long it took from its start on, in seconds."""
    job = stack.submit(pipeline=pipeline, reuse=False, **fields)
    ended = stack.until_status(job.job_id, JobStatus.COMPLETED, JobStatus.FAILED, seconds=PATIENCE)
    assert ended.status is JobStatus.COMPLETED, ended.error
    assert ended.started_at is not None
    assert ended.completed_at is not None
    return ended, (ended.completed_at - ended.started_at) / 1000


def test_the_engine_leaves_four_slots_to_parts_that_wait(make_stack: MakeStack) -> None:
    stack = make_stack(modules=MODULE)
    stack.maintenance()
    stack.worker("jobs", "--autoscale=4,4")
    params = {"parts": PARTS, "seconds": WAIT}
    (whole, at_once), (parted, in_parts) = (done(stack, name, params=params) for name in ("waits_whole", "waits_in_parts"))
    print(f"{PARTS} parts of {WAIT:.1f} s: {at_once:.1f} s at once, {in_parts:.1f} s in parts on 4 slots: {at_once / in_parts:.2f} times")
    assert whole.result["data"] == parted.result["data"] == {"waited": PARTS}
    assert at_once / in_parts >= WAITING or not WHOLE_HOUR


def pictures(stack: Stack, job: Job) -> tuple[list[Fraction], float]:
    """When each picture of the published film is shown, and how long it plays, in seconds."""
    (path,) = (stack.settings.data_dir / "artifacts").rglob(f"{job.job_id}/*/video.mp4")
    with av.open(str(path)) as opened:
        shown = [packet.pts * packet.time_base for packet in opened.demux(video=0) if packet.size and packet.pts is not None]
        return sorted(shown), (opened.duration or 0) / av.time_base


def test_a_film_of_an_hour_in_parts(make_stack: MakeStack, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    source = film(tmp_path / "www" / "film.mp4", clean("flite-slt", " ".join(ENGLISH[name] for name in HELD_OUT), tmp_path)[0])
    stack = make_stack(media_max_bytes=2 * source.stat().st_size)
    stack.maintenance()
    stack.worker("jobs", "--autoscale=2,2")
    cut = {"whole_seconds": min(600, int(SECONDS / 4)), "part_seconds": max(30, int(SECONDS / PARTS))}
    with serving(folder_of(tmp_path / "www")) as address:
        asked = {"url": f"{address}/{source.name}", "quality": "720p"}
        parted, in_parts = done(stack, "media_in_parts", params=cut, **asked)
        whole, at_once = done(stack, "media", **asked)
    results = [stack.result(job) for job in (whole, parted)]
    texts = [one["transcript"] for one in results]
    wer = word_error_rate(*texts)
    print(
        f"{SECONDS / 60:g} min, {len(texts[0].split())} words: {at_once:.0f} s as a whole, {in_parts:.0f} s in parts on 2 slots: "
        f"{at_once / in_parts:.2f} times; WER {wer:.4f} of one by the other; load {os.getloadavg()[0]:.1f}"
    )
    assert pictures(stack, parted) == pictures(stack, whole), "every picture, at its time"
    assert results[1]["output_media"]["duration"] == results[0]["output_media"]["duration"]
    assert len(texts[0].split()) > SECONDS
    assert wer <= WER
    assert at_once / in_parts >= REAL or not WHOLE_HOUR
