"""A film of an hour through all stages of `media`, with the outputs of the preset `podcast`: its CPU, its memory, how long it takes.

`python -m pytest -s tests/heavy/bar_hour.py` (HOUR_MINUTES=2 for a shorter film); needs flite. The film is a talk: a tenth of the picture
moves, before a background that stands, with a little grain. With HOUR_FILM=all everything moves, with much grain: nothing costs an encoder
more. Bar: 0.35 of real time on two cores that nobody else uses, 700 MB of memory in the job's process. Where others work beside it, the CPU
seconds are what counts.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline_jobs.context import JobContext
from pipeline_jobs.jobs.stage_runs import run_stages
from pipeline_jobs.media.outputs.catalogue import PRESETS
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.settings import load_settings
from tests.living import running
from tests.quality.clips import clean
from tests.quality.measuring import Silent, peak
from tests.quality.texts import ENGLISH, HELD_OUT
from tests.quality.voices import RATE, Samples
from tests.unit.media.fakes import FakeSite

SECONDS = float(os.environ.get("HOUR_MINUTES", "60")) * 60
#: Of the picture: a third of a minute that is shown again and again, and what it is made of.
SCENE, FPS, WIDTH, HEIGHT = 20, 25, 1280, 720
#: What moves in a talk, as rows and columns.
MOVING = (slice(180, 540), slice(512, 768))
CPU, MEMORY = 0.70, 700e6

Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def scenes(*, all_moves: bool = True) -> Iterator[Picture]:
    """An outline that moves, with a grain that changes, and every five seconds another subject."""
    moving, most = ((slice(None), slice(None)), 12) if all_moves else (MOVING, 4)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    grain = np.random.default_rng(16).integers(0, most, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for subject in range(SCENE // 5):
        outline = np.stack([rows % 240, columns // (2 + subject) % 240, (rows + columns * (1 + subject)) // 8 % 240], axis=-1).astype(
            np.uint8
        )
        for number in range(5 * FPS):
            image = outline.copy()
            image[moving] = np.roll(outline[moving], 3 * number, axis=(0, 1))
            yield image + np.roll(grain, 37 * number, axis=0)


def film(path: Path, sound: Samples, seconds: float = SECONDS, *, all_moves: bool = True) -> Path:
    """Both tracks are encoded once, and their packets written again and again until the film is long enough."""
    once = path.with_name("once.mp4")
    with av.open(str(once), "w") as output:
        picture = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "20", "bf": "0", "g": str(FPS * 5)})
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        voice = output.add_stream("aac", rate=RATE, layout="mono")
        for image in scenes(all_moves=all_moves):
            output.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(picture.encode(None))
        for begin in range(0, len(sound), RATE):
            frame = av.AudioFrame.from_ndarray(sound[None, begin : begin + RATE], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
            output.mux(voice.encode(frame))
        output.mux(voice.encode(None))
    with av.open(str(path), "w") as output, ExitStack() as stack:
        sources = [stack.enter_context(av.open(str(once))) for _ in range(2)]
        streams = [sources[0].streams.video[0], sources[1].streams.audio[0]]
        targets = [output.add_stream_from_template(stream) for stream in streams]
        lengths = [float(SCENE), len(sound) / RATE]
        tracks = [_again(*of) for of in zip(sources, streams, lengths, strict=True)]
        waiting = [next(track) for track in tracks]
        while min(at for at, _ in waiting) < seconds:
            number = min((0, 1), key=lambda one: waiting[one][0])
            packet = waiting[number][1]
            packet.stream = targets[number]
            output.mux(packet)
            waiting[number] = next(tracks[number])
    return path


def _again(source: Any, stream: Any, length: float) -> Iterator[tuple[float, Any]]:
    """Its packets without an end: when each is due, in seconds, and the packet."""
    base = 0
    while True:
        source.seek(0)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.dts >= 0:
                packet.pts, packet.dts = packet.pts + base, packet.dts + base
                yield float(packet.dts * packet.time_base), packet
        base += round(length / stream.time_base)


def test_a_film_of_an_hour(tmp_path: Path) -> None:
    said = " ".join(ENGLISH[name] for name in HELD_OUT)
    source = film(tmp_path / "film.mp4", clean("flite-slt", said, tmp_path)[0], all_moves=os.environ.get("HOUR_FILM") == "all")
    site = FakeSite()
    url = site.answer("/film.mp4", lambda handler: _send(handler, source))
    with ExitStack() as closing:
        closing.callback(site.close)
        (work := tmp_path / "work").mkdir()
        context = JobContext(
            job_id="hour", tenant_id="", workspace_id="", url=url, quality="720p", params=MEDIA.check_params({"preset": "podcast"}),
            workdir=work, settings=load_settings(
                {"PIPELINE_DATA_DIR": str(tmp_path), "PIPELINE_ALLOW_PRIVATE_URLS": "1", "PIPELINE_MEDIA_MAX_BYTES": str(10**10)}
            ),
            reporter=Silent(), publish=lambda path, name: name, data={}, closing=closing,
        )  # fmt: skip
        began, load = time.monotonic(), os.getloadavg()
        result = MEDIA.result(run_stages(MEDIA, context))
        took = time.monotonic() - began
        (child,) = running("pipeline_jobs.media.stage_child")
        times, memory = child.cpu_times(), peak(child.pid)
    cpu = times.user + times.system
    print(
        f"{SECONDS / 60:g} min, {source.stat().st_size / 1e6:.0f} MB: {took:.0f} s (real-time factor {took / SECONDS:.2f}), "
        f"{cpu:.0f} CPU s ({cpu / SECONDS:.3f} a second of film), child's memory {memory / 1e6:.0f} MB, "
        f"load {load[0]:.1f} before and {os.getloadavg()[0]:.1f} after"
    )
    assert set(PRESETS["podcast"]) <= set(result["artifacts"])
    assert (result.get("degraded"), result["language"]) == (None, "en")
    assert abs(result["output_media"]["duration"] - SECONDS) < 10
    assert memory <= MEMORY
    # 0.35 of real time on two cores.
    assert cpu <= CPU * SECONDS


def _send(handler: Any, path: Path) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "video/mp4")
    handler.send_header("Content-Length", str(path.stat().st_size))
    handler.end_headers()
    with path.open("rb") as file:
        shutil.copyfileobj(file, handler.wfile, 1 << 20)
