"""One picture that stands for the film."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline_jobs.media.container import open_media, picture_of
from pipeline_jobs.media.outputs.making import CannotMake, Made, Making
from pipeline_jobs.media.outputs.pictures import upright, write_jpeg

#: Pictures that are looked at, over the length of the film.
TRIES = 8
#: Widest and highest.
LARGEST = (1920, 1920)


def poster(making: Making) -> Made:
    """The liveliest of some pictures: that with the widest spread of grey, which a black or a plain one has not.

    :raises CannotMake: the film has no picture that can be decoded.
    """
    with open_media(making.film, making.context.settings.media_max_pixels) as film:
        video = picture_of(film)
        frames = _spread_out(making, film, video) if video else ()
        best = max(frames, key=_spread, default=None)
        if video is None or best is None:
            raise CannotMake("the film has no picture that can be decoded")
        write_jpeg(making.file("poster.jpg"), upright(video, best, LARGEST))
    return Made(("poster.jpg",))


def _spread_out(making: Making, film: InputContainer, video: VideoStream) -> Iterator[VideoFrame]:
    """The key frames before so many points of the film."""
    for number in range(TRIES):
        making.step(number / TRIES)
        film.seek(int((number + 0.5) / TRIES * making.duration * av.time_base))
        if frame := next(film.decode(video), None):
            yield frame


def _spread(frame: VideoFrame) -> float:
    """How far the greys of a picture lie apart."""
    return float(np.std(frame.reformat(64, 64, format="gray").to_ndarray()))
