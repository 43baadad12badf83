"""The outputs of one media job, each opened by its link, by a reader that had no part in making it (`tests/other_readers.py`, Pillow)."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any
from urllib.parse import urljoin

import av
import numpy as np
import pytest
import requests
from PIL import Image

from tests import other_readers

#: How far two pictures of one moment are from each other, and two outlines of one sound, of 255: both went through lossy codecs.
ALIKE, NEAR = 8.0, 3.0
#: What is dark to FFmpeg's blackdetect: a tenth of the way from 16 to 235.
DARK, DARK_SHARE = 16 + 219 * 0.1, 0.98


def get(link: str, **headers: str) -> requests.Response:
    answer = requests.get(link, headers=headers, timeout=60)
    assert answer.ok, link
    return answer


class Opened:
    """A job's `result.data`, and what its links lead to."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data, self.rows = data, data["outputs"]

    def bytes(self, name: str) -> bytes:
        return get(self.rows[name]["link"]).content

    def text(self, name: str) -> str:
        return self.bytes(name).decode()

    def json(self, name: str) -> Any:
        return json.loads(self.bytes(name))

    @property
    def seconds(self) -> float:
        return float(self.data["output_media"]["duration"])

    @cached_property
    def sound(self) -> other_readers.Samples:
        return other_readers.sound(self.bytes("media"))

    @cached_property
    def pictures(self) -> list[Any]:
        return other_readers.brightness(self.bytes("media"))

    def every(self) -> None:
        """Open all of them; one that nobody here can read is not tested."""
        for name, row in self.rows.items():
            assert self.data["artifacts"][name] == row["link"]
            assert (row["duration"] is None) == (name not in ("media", "hls", "audio", "waveform")), name
            if "files" not in row:
                assert len(self.bytes(name)) == row["bytes"], name
            READERS[name](self, name)


def _texts(opened: Opened, name: str) -> None:
    assert opened.text(name).split() == opened.data["transcript"].split()


def _segments(opened: Opened, name: str) -> None:
    assert opened.json(name) == opened.data["segments"]
    assert " ".join(one["text"] for one in opened.data["segments"]) == opened.data["transcript"]
    for one, other in pairwise([*opened.data["segments"], {"start": opened.seconds}]):
        assert one["start"] < one["end"] <= other["start"] + 0.01


def _captions(opened: Opened, name: str) -> None:
    kind = {"captions": "webvtt", "vtt": "webvtt"}.get(name, name)
    text = opened.text(name)
    read = other_readers.captions(text, kind)
    assert " ".join(said for *_, said in read).split() == opened.data["transcript"].split()
    for (start, end, _), (following, *_) in pairwise([*read, (opened.seconds + 0.5, 0.0, "")]):
        assert 0 <= start < end <= following
    lines = [line for said in re.findall(r"^Dialogue: (?:[^,]*,){9}(.*)$", text, re.MULTILINE) for line in said.split("\\N")]
    lines = lines or [re.sub(r"<v [^>]*>", "", line) for line in text.splitlines() if "-->" not in line]
    assert max(map(len, lines)) <= 42
    if kind == "webvtt" and "speakers" in opened.rows:
        spoken_by = {f"<v {one['name']}>" for one in opened.data["speakers"]}
        assert set(re.findall(r"<v [^>]*>", text)) == spoken_by


def _mp4(opened: Opened, name: str) -> None:
    film = opened.bytes(name)
    lengths, row = other_readers.lengths(film), opened.rows[name]
    silent_film = row["type"].startswith("video/") and name == "media"
    assert set(lengths) == ({"vide", "soun"} if silent_film else {"soun"})
    assert max(lengths.values()) == pytest.approx(row["duration"], abs=0.2)
    assert other_readers.sound(film).std() == pytest.approx(opened.sound.std(), rel=0.05)


def _poster(opened: Opened, name: str) -> None:
    with Image.open(io.BytesIO(opened.bytes(name))) as picture:
        grey = np.asarray(picture.convert("L"), np.float64)
    assert grey.shape == opened.pictures[0].shape
    assert grey.mean() > 20, "it is no black one"
    assert min(_apart(grey, shown) for shown in opened.pictures) < ALIKE, "it is a picture of the film"


def _storyboard(opened: Opened, name: str) -> None:
    """Each cue names a part of a picture that is there, and that shows the film at that time."""
    link = opened.rows[name]["link"]
    cues = re.findall(r"^([\d:.]+) --> ([\d:.]+)\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)$", opened.text(name), re.MULTILINE)
    rate = len(opened.pictures) / opened.seconds
    with Image.open(io.BytesIO(get(urljoin(link, cues[0][2])).content)) as sprite:
        for begin, end, _, *box in cues:
            x, y, wide, high = map(int, box)
            assert (x + wide <= sprite.width, y + high <= sprite.height) == (True, True)
            tile = sprite.crop((x, y, x + wide, y + high)).convert("L")
            first, last = (round(_seconds(time) * rate) for time in (begin, end))
            shown = [Image.fromarray(one).resize((wide, high)) for one in opened.pictures[max(first - 1, 0) : last + 1]]
            assert min(_apart(np.asarray(tile, np.float64), np.asarray(one)) for one in shown) < 2 * ALIKE
    assert _seconds(cues[0][0]) == 0
    assert _seconds(cues[-1][1]) == pytest.approx(opened.seconds, abs=0.2)


def _apart(grey: Any, shown: Any) -> float:
    """The mean difference of two pictures, of which the second is dark at 16 and bright at 235."""
    return float(np.abs(grey - (shown.astype(np.float64) - 16) * 255 / 219).mean())


def _seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def _streamed(opened: Opened, name: str) -> None:
    """As a player loads it: from the master playlist on, each segment decoded alone, from its first frame."""
    link = opened.rows[name]["link"]
    master = opened.text(name)
    sizes = re.findall(r"RESOLUTION=(\d+)x\d+.*\n(\S+)\n", master)
    widths = [int(width) for width, _ in sizes]
    assert widths == sorted(widths, reverse=True)
    assert (widths[0], len(widths) > 1) == (opened.data["output_media"]["width"], True)
    ((audio),) = re.findall(r'TYPE=AUDIO.*URI="([^"]+)"', master)
    assert {_rendition(urljoin(link, uri)) for _, uri in sizes} == {len(opened.pictures)}, "each size has each picture of the film"
    assert _rendition(urljoin(link, audio)) > 0, "the sound is a group of its own"


def _rendition(link: str) -> int:
    """How many samples the segments of a playlist have; each begins when its list says, and can be decoded alone."""
    text = get(link).text
    ((uri, head),) = re.findall(r'#EXT-X-MAP:URI="([^"]+)",BYTERANGE="([\d@]+)"', text)
    source = urljoin(link, uri)
    start = _ranged(source, head)
    (track,) = other_readers.within(start, "moov", "trak")
    at, samples, first = 0.0, 0, None
    for length, part, same in re.findall(r"#EXTINF:([\d.]+),\n#EXT-X-BYTERANGE:([\d@]+)\n(\S+)", text):
        assert same == uri
        segment = _ranged(source, part)
        begun = other_readers.begins(segment) / other_readers.timescale(track)
        first = begun if first is None else first
        assert begun - first == pytest.approx(at, abs=0.1)
        with av.open(io.BytesIO(start + segment), "r") as alone:
            packets = [packet for packet in alone.demux() if packet.size]
            assert packets[0].is_keyframe
            alone.seek(0)
            assert len(list(alone.decode())) >= len(packets) - 1, "a decoder of sound has its first one later"
        assert len(packets) == other_readers.samples_of(segment)
        at, samples = at + float(length), samples + len(packets)
    return samples


def _ranged(link: str, part: str) -> bytes:
    size, begin = map(int, part.split("@"))
    answer = get(link, Range=f"bytes={begin}-{begin + size - 1}")
    assert (answer.status_code, len(answer.content)) == (206, size)
    return answer.content


def _waveform(opened: Opened, name: str) -> None:
    """The lowest and the highest sample of each point, by arithmetic on the published sound."""
    drawn = opened.json(name)
    points = np.array(drawn["data"]).reshape(-1, 2)
    assert len(points) == drawn["length"] == pytest.approx(opened.seconds * 20, abs=2)
    size = round(other_readers.RATE * drawn["samples_per_pixel"] / drawn["sample_rate"])
    heard = opened.sound[: len(opened.sound) // size * size].reshape(-1, size) * 128
    count = min(len(points), len(heard))
    assert np.abs(points[:count, 1] - heard[:count].max(axis=1)).mean() < NEAR
    assert np.abs(points[:count, 0] - heard[:count].min(axis=1)).mean() < NEAR


def _loudness(opened: Opened, name: str) -> None:
    found = opened.json(name)
    assert found == opened.data["loudness"]
    assert found["integrated_lufs"] == pytest.approx(other_readers.loudness(opened.sound), abs=0.3)
    # Between two samples a sound may be louder than at either.
    peak = 20 * np.log10(np.abs(opened.sound).max())
    assert peak - 0.3 <= found["true_peak_dbfs"] <= peak + 2


def _silence(opened: Opened, name: str) -> None:
    found = opened.json(name)
    quiet = np.abs(opened.sound) < 10 ** (found["threshold_db"] / 20)
    _same_stretches(found["silence"], other_readers.stretches(quiet, other_readers.RATE, found["shortest"]))


def _black(opened: Opened, name: str) -> None:
    found = opened.json(name)
    dark = [(picture <= DARK).mean() >= DARK_SHARE for picture in opened.pictures]
    _same_stretches(found["black"], other_readers.stretches(dark, len(dark) / opened.seconds, found["shortest"]))


def _same_stretches(said: list[dict[str, float]], found: list[other_readers.Stretch]) -> None:
    assert len(said) == len(found)
    for one, (begin, end) in zip(said, found, strict=True):
        assert one["start"] == pytest.approx(begin, abs=0.15)
        assert one["end"] == pytest.approx(end, abs=0.15)


def _speakers(opened: Opened, name: str) -> None:
    found = opened.json(name)
    names = [one["name"] for one in found["speakers"]]
    assert found["speakers"] == opened.data["speakers"]
    assert {one.get("speaker") for one in opened.data["segments"]} == set(names)
    assert all(0 <= turn["start"] < turn["end"] <= opened.seconds + 1 for turn in found["turns"])
    for one in found["speakers"]:
        spoken = sum(turn["end"] - turn["start"] for turn in found["turns"] if turn["speaker"] == one["name"])
        assert one["seconds"] == pytest.approx(spoken, abs=0.1)


def _chapters(opened: Opened, name: str) -> None:
    found = opened.json(name)["chapters"]
    assert found == opened.data["chapters"]
    said = {word.strip(".,").casefold() for word in opened.data["transcript"].split()}
    for one, other in pairwise([*found, {"start": found[-1]["end"]}]):
        assert one["start"] < one["end"] == other["start"], "a player shows one at any time"
        assert {word.casefold() for word in one["title"].split(", ")} <= said
    assert found[-1]["end"] <= opened.seconds


#: By name of the output. What is not here is not tested: `Opened.every` fails then.
READERS: Mapping[str, Callable[[Opened, str], None]] = {
    "media": _mp4, "transcript": _texts, "segments": _segments, "captions": _captions, "srt": _captions, "vtt": _captions, "ass": _captions,
    "poster": _poster, "storyboard": _storyboard, "hls": _streamed, "audio": _mp4, "waveform": _waveform, "loudness": _loudness,
    "silence": _silence, "black": _black, "speakers": _speakers, "chapters": _chapters,
}  # fmt: skip
