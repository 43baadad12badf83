"""What FFmpeg's filters measure: loudness, stretches of silence, stretches of black."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline_jobs.media.container import THREADS, open_media, picture_of, sound_of
from pipeline_jobs.media.outputs.making import Made, Making
from pipeline_jobs.media.outputs.pictures import decoding

#: What counts as silence: the level in dB of full scale, and for how many seconds.
SILENCE_DB, SILENCE_SECONDS = -50, 1.0
#: What counts as black: the share of the picture that must be, how bright black may be, and for how many seconds.
BLACK_SHARE, BLACK_LEVEL, BLACK_SECONDS = 0.98, 0.1, 1.0
#: Below this EBU R128 measures nothing.
_NOTHING_HEARD = -70.0


def loudness(making: Making) -> Made:
    """By EBU R128: `{"integrated_lufs", "range_lu", "true_peak_dbfs"}`, null where there is nothing to hear."""
    last: Mapping[str, str] = {}
    for told in _told(making, "ebur128", "peak=true:metadata=1"):
        last = told
    integrated = float(last.get("lavfi.r128.I", "nan"))
    peak = float(last.get("lavfi.r128.true_peak", "0"))
    heard = integrated > _NOTHING_HEARD
    facts = {
        "integrated_lufs": round(integrated, 1) if heard else None,
        "range_lu": round(float(last["lavfi.r128.LRA"]), 1) if heard else None,
        "true_peak_dbfs": round(20 * math.log10(peak), 1) if peak > 0 else None,
    }
    return _written(making, "loudness.json", facts, {"loudness": facts})


def silence(making: Making) -> Made:
    """`{"threshold_db", "shortest", "silence": [{"start", "end"}]}`, in seconds of the film."""
    found = _stretches(making, "silence", "silencedetect", f"n={SILENCE_DB}dB:d={SILENCE_SECONDS}")
    return _written(making, "silence.json", {"threshold_db": SILENCE_DB, "shortest": SILENCE_SECONDS, "silence": found})


def black(making: Making) -> Made:
    """`{"threshold", "shortest", "black": [{"start", "end"}]}`, in seconds of the film."""
    found = _stretches(making, "black", "blackdetect", f"d={BLACK_SECONDS}:pic_th={BLACK_SHARE}:pix_th={BLACK_LEVEL}")
    return _written(making, "black.json", {"threshold": BLACK_LEVEL, "shortest": BLACK_SECONDS, "black": found})


def _written(making: Making, name: str, facts: Mapping[str, Any], fields: Mapping[str, Any] | None = None) -> Made:
    making.file(name).write_text(json.dumps(facts), encoding="ascii")
    return Made((name,), fields=fields or {})


def _stretches(making: Making, word: str, filter_name: str, arguments: str) -> list[dict[str, float]]:
    """What a detector found. Of a stretch that goes on to the end of the film it tells the beginning only."""
    found: list[dict[str, float]] = []
    for told in _told(making, filter_name, arguments):
        if start := told.get(f"lavfi.{word}_start"):
            found.append({"start": round(max(float(start), 0.0), 3), "end": round(making.duration, 3)})
        if (end := told.get(f"lavfi.{word}_end")) and found:
            found[-1]["end"] = round(float(end), 3)
    return found


def _told(making: Making, filter_name: str, arguments: str) -> Iterator[Mapping[str, str]]:
    """What the filter says of the frames, of the picture or of the sound, one after the other."""
    with open_media(making.film, making.context.settings.media_max_pixels) as film:
        stream = picture_of(film) if filter_name == "blackdetect" else sound_of(film)
        if stream is None:
            return
        graph = Graph()
        graph.threads = THREADS
        if isinstance(stream, VideoStream):
            chain = graph.add_buffer(template=decoding(stream)), graph.add(filter_name, arguments), graph.add("buffersink")
        else:
            chain = graph.add_abuffer(template=stream), graph.add(filter_name, arguments), graph.add("abuffersink")
        graph.link_nodes(*chain).configure()
        for frame in film.decode(stream):
            if isinstance(frame, AudioFrame | VideoFrame):
                making.step((frame.time or 0.0) / max(making.duration, 1.0))
                graph.push(frame)
                yield from _pulled(graph)
        graph.push(None)
        yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[Mapping[str, str]]:
    while True:
        try:
            told = graph.pull().metadata
        except (av.BlockingIOError, av.EOFError):
            return
        if told:
            yield told
