"""Single pictures out of a film, upright and as JPEG: what the poster and the storyboard share."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline_jobs.media.container import THREADS

Image = npt.NDArray[np.uint8]
#: JPEG's quantiser, best and worst: hard to tell from the original, and a tenth of its size.
_QUALITY = {"qmin": "2", "qmax": "5"}


def upright(stream: VideoStream, frame: VideoFrame, largest: tuple[int, int]) -> Image:
    """The picture as a player shows it, in RGB: turned as the film says, with square pixels, no larger than so wide and high."""
    turns = round(frame.rotation / 90) % 4
    width, height = frame.width * float(stream.sample_aspect_ratio or 1), float(frame.height)
    wide, high = largest if turns % 2 == 0 else largest[::-1]
    scale = min(1.0, wide / width, high / height)
    rgb = frame.reformat(max(2, round(width * scale)), max(2, round(height * scale)), format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, turns))


def write_jpeg(path: Path, image: Image) -> None:
    """An RGB picture as a file."""
    frame = VideoFrame.from_ndarray(image, format="rgb24")
    # Without `update` the muxer takes the name for the first of a numbered series.
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as output:
        stream = output.add_stream("mjpeg", rate=1, options=_QUALITY)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuvj420p"
        output.mux(stream.encode(frame.reformat(format="yuvj420p")))
        output.mux(stream.encode(None))


def decoding(stream: VideoStream) -> VideoStream:
    """A film's picture, ready to be decoded by so many threads as a job has."""
    stream.codec_context.thread_count = THREADS
    return stream
