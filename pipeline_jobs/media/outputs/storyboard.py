"""Small pictures of the whole film in one file, and a list of when each is shown: what players show above their time line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipeline_jobs.media.container import open_media, picture_of
from pipeline_jobs.media.cues import webvtt
from pipeline_jobs.media.outputs.making import CannotMake, Made, Making
from pipeline_jobs.media.outputs.pictures import Image, decoding, upright, write_jpeg

#: Most tiles, tiles in a row, and the box that one fits in.
TILES, COLUMNS, BOX = 100, 10, (160, 160)
#: Seconds between two of a short film.
SHORTEST = 2.0

_Tile = tuple[float, Image]


def storyboard(making: Making) -> Made:
    """A sprite as JPEG, and WebVTT whose cues name a part of it (`storyboard.jpg#xywh=160,0,160,90`).

    :raises CannotMake: the film has no picture that can be decoded.
    """
    tiles = list(_tiles(making))
    if not tiles:
        raise CannotMake("the film has no picture that can be decoded")
    high, wide = tiles[0][1].shape[:2]
    sprite = np.zeros((math.ceil(len(tiles) / COLUMNS) * high, min(len(tiles), COLUMNS) * wide, 3), np.uint8)
    for number, (_, image) in enumerate(tiles):
        y, x = number // COLUMNS * high, number % COLUMNS * wide
        sprite[y : y + high, x : x + wide] = image
    write_jpeg(making.file("storyboard.jpg"), sprite)
    _write_cues(making.file("storyboard.vtt"), [start for start, _ in tiles], making.duration, (wide, high))
    return Made(("storyboard.vtt", "storyboard.jpg"))


def _tiles(making: Making) -> Iterator[_Tile]:
    """One every so many seconds, of the key frames only: those that follow each point soonest."""
    step, due = max(SHORTEST, making.duration / TILES), 0.0
    shape: tuple[int, ...] | None = None
    with open_media(making.film, making.context.settings.media_max_pixels) as film:
        if (video := picture_of(film)) is None:
            return
        decoding(video).codec_context.skip_frame = "NONKEY"
        for frame in film.decode(video):
            at = frame.time or 0.0
            making.step(at / max(making.duration, 1.0))
            if at < due:
                continue
            due = (math.floor(at / step) + 1) * step
            image = upright(video, frame, BOX)
            shape = shape or image.shape
            if image.shape == shape:
                yield at, image


def _write_cues(path: Path, starts: list[float], duration: float, size: tuple[int, int]) -> None:
    wide, high = size
    starts[0] = 0.0
    cues = (
        (start, end, f"storyboard.jpg#xywh={number % COLUMNS * wide},{number // COLUMNS * high},{wide},{high}")
        for number, (start, end) in enumerate(pairwise([*starts, max(duration, starts[-1] + 0.001)]))
    )
    path.write_text(webvtt(cues), encoding="utf-8")
