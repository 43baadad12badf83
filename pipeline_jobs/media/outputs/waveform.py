"""The sound's outline, for players that draw it."""

from __future__ import annotations

import json
import math
import wave

import numpy as np
import numpy.typing as npt

from pipeline_jobs.media.outputs.making import Made, Making

#: Points a second, and most of all.
RATE, MOST = 20, 36_000


def waveform(making: Making) -> Made:
    """audiowaveform's JSON, version 2: the lowest and the highest sample of each point, 8 bits, from the beginning of the film.

    Source: https://github.com/bbc/audiowaveform/blob/master/doc/DataFormat.md
    """
    with wave.open(str(making.speech), "rb") as wav:
        rate, whole = wav.getframerate(), wav.getnframes()
        # The sound may begin later than the film.
        before = round(float(making.context.data.get("speech_start") or 0.0) * rate)
        size = max(rate // RATE, math.ceil((before + whole) / MOST))
        points: list[npt.NDArray[np.int8]] = [np.zeros((before // size, 2), np.int8)]
        lead = before % size
        while len(block := _samples(wav, size * 1000 - lead)):
            points.append(_points(np.concatenate([np.zeros(lead, np.int16), block]), size))
            lead = 0
            making.step(wav.tell() / whole)
    data = np.concatenate(points).ravel().tolist()
    text = {
        "version": 2, "channels": 1, "sample_rate": rate, "samples_per_pixel": size, "bits": 8, "length": len(data) // 2, "data": data,
    }  # fmt: skip
    making.file("waveform.json").write_text(json.dumps(text, separators=(",", ":")), encoding="ascii")
    return Made(("waveform.json",), making.duration)


def _samples(wav: wave.Wave_read, count: int) -> npt.NDArray[np.int16]:
    return np.frombuffer(wav.readframes(count), np.int16)


def _points(samples: npt.NDArray[np.int16], size: int) -> npt.NDArray[np.int8]:
    """Lowest and highest of each `size` samples; the last point may have fewer."""
    starts = np.arange(0, len(samples), size)
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    return (np.stack([low, high], axis=1) >> 8).astype(np.int8)
