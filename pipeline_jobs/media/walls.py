"""Inside the child: decode, encode and transcribe a second of film, and knock at the walls."""

from __future__ import annotations

import importlib.util
import socket
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from pipeline_jobs.context import JobContext
from pipeline_jobs.media import analyse, probe, render, speech, transcode, transcribe

_RATE, _PICTURES = 16_000, 10


def knock(context: JobContext) -> dict[str, Any]:
    """Needs params `outside`, a file that must not be read, and those of the stages.

    :return: `{"reads": bool, "connects": bool}`: what the walls let pass.
    """
    _film(context.workdir / "source")
    context.data["source"] = "source"
    speaks = importlib.util.find_spec("moonshine_voice") is not None
    for stage in (probe, transcode, transcribe, analyse, render) if speaks else (probe, transcode, render):
        context.data.update(stage.run(context))
    if speaks:
        # There was nothing to hear for it.
        speech.load("moonshine").transcribe(np.zeros(speech.RATE, np.float32), None)
    return {"reads": _reads(Path(context.params["outside"])), "connects": _connects()}


def _reads(path: Path) -> bool:
    try:
        path.read_bytes()
    except PermissionError:
        return False
    return True


def _connects() -> bool:
    try:
        socket.socket().close()
    except PermissionError:
        return False
    return True


def _film(path: Path) -> None:
    """A second of black and silence, H.264 and AAC."""
    with av.open(str(path), "w", format="mp4") as output:
        picture, sound = output.add_stream("libx264", rate=_PICTURES), output.add_stream("aac", rate=_RATE, layout="mono")
        assert isinstance(picture, VideoStream)
        assert isinstance(sound, AudioStream)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for number in range(_PICTURES):
            image = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            image.pts, image.time_base = number, Fraction(1, _PICTURES)
            output.mux(picture.encode(image))
            silence = av.AudioFrame.from_ndarray(np.zeros((1, _RATE // _PICTURES), np.int16), format="s16", layout="mono")
            silence.sample_rate, silence.pts, silence.time_base = _RATE, number * _RATE // _PICTURES, Fraction(1, _RATE)
            output.mux(sound.encode(silence))
        for stream in (picture, sound):
            output.mux(stream.encode(None))
