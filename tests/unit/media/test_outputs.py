"""Each output of one film, opened by readers that are none of ours."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pysubs2
import pytest
from PIL import Image

from pipeline_jobs.context import JobContext
from pipeline_jobs.media import probe, render, transcode
from pipeline_jobs.media.outputs import captions, catalogue, storyboard
from pipeline_jobs.media.outputs.captions import EASY, FAST, LATEST, LINE, Cue, cues
from pipeline_jobs.settings import load_settings
from tests.cases import each
from tests.unit.media.fakes import FakeReporter, frameless, make_film, slideshow

#: Of the film: how long it plays, when it is black and silent, its size.
SECONDS, DARK, SIZE = 10.0, (4.5, 7.5), (320, 240)
SEGMENTS = [
    {"start": 0.2, "end": 2.4, "text": "Hello & <b>welcome</b>, dear {listeners}.", "speaker": "Anna, of <Ghent>"},
    {"start": 8.0, "end": 8.6, "text": r"Bye --> bye\Nbye."},
]


@dataclass
class Rendered:
    """A film's outputs."""

    folder: Path
    said: dict[str, Any]
    reporter: FakeReporter
    source: Path

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def json(self, name: str) -> Any:
        return json.loads(self.text(name))


def rendered(folder: Path, source: Path, *names: str, quality: str = "1080p", **data: Any) -> Rendered:
    folder.mkdir(exist_ok=True)
    (folder / "source").write_bytes(source.read_bytes())
    reporter = FakeReporter()
    params = {"outputs": list(names or catalogue.PRESETS["film"])}
    settings = load_settings({"PIPELINE_DATA_DIR": str(folder)})
    context = JobContext(
        "job", "acme", "main", None, quality, params, folder, settings, reporter, lambda path, name: name, {"source": "source"},
    )  # fmt: skip
    for stage in (probe, transcode, render):
        context.stage = stage.__name__.rpartition(".")[2]
        context.data.update({"segments": SEGMENTS, **data} if stage is render else {})
        context.data.update(stage.run(context))
    return Rendered(folder, context.data, reporter, source)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    folder = tmp_path_factory.mktemp("film")
    # Its own key frames are far apart, and none is where ours must be.
    source = make_film(folder / "source.mp4", seconds=SECONDS, size=SIZE, dark=DARK, options={"g": "70", "sc_threshold": "0"})
    return rendered(folder / "work", source)


def test_the_preset_film_makes_all_of_it(film: Rendered) -> None:
    assert list(film.said["made"]) == [name for name in catalogue.OUTPUTS if name in catalogue.PRESETS["film"]]
    assert film.said["warnings"] == []
    told = film.reporter.told_by("render")
    assert told == sorted(told)
    assert told[-1] == 100
    assert len(set(told)) > 50


# -- captions


@pytest.mark.parametrize("kind", ["srt", "vtt", "ass"])
def test_captions_are_read_back_with_the_same_words_and_times(film: Rendered, kind: str) -> None:
    read = pysubs2.load(str(film.folder / f"captions.{kind}"), keep_html_tags=True)
    # Into the pause after it: 41 characters at 17 a second. ASS has hundredths.
    assert [(round(event.start, -1), round(event.end, -1)) for event in read] == [(200, 2610), (8000, 9000)]
    words = " ".join(event.text if kind == "vtt" else event.plaintext for event in read)
    for word in ("Hello", "welcome", "dear", "listeners", "Bye"):
        assert word in words
    assert len(read) == len(SEGMENTS), "no text became a caption or a command of its own"


def test_a_speaker_is_named_where_the_format_has_a_place_for_it(film: Rendered) -> None:
    vtt = film.text("captions.vtt")
    assert "<v Anna of &lt;Ghent&gt;>Hello &amp; &lt;b&gt;welcome&lt;/b&gt;," in vtt
    assert vtt.startswith("WEBVTT\n")
    assert [event.name for event in pysubs2.load(str(film.folder / "captions.ass"))] == ["Anna of <Ghent>", ""]


def test_how_well_the_rules_were_held_is_said(film: Rendered) -> None:
    assert film.said["captions"] == {"cues": 2, "over_17": 0, "over_21": 0, "fastest": 17.0}


SPEECH = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the epoch of "
)


@pytest.mark.parametrize(
    "segments",
    [
        [(0.0, 9.0, SPEECH), (9.0, 20.0, SPEECH), (20.0, 21.0, "Yes."), (24.0, 24.4, "No?"), (30.0, 58.0, "Well")],
        # Two at once, out of order, faster than anybody reads.
        [(5.0, 9.0, SPEECH * 2), (0.0, 6.0, SPEECH), (9.0, 9.1, SPEECH)],
        [(0.0, 1.0, "x" * 100 + " http://example.org/" + "y" * 90)],
        [(59.9, 60.0, "Cut off at the very end of the film")],
        [],
    ],
    ids=["a talk", "too fast", "long words", "the end", "nothing"],
)
def test_captions_keep_the_rules(segments: list[tuple[float, float, str]]) -> None:
    found = cues([{"start": start, "end": end, "text": text} for start, end, text in segments], 60.0)
    check(found, segments)


@each("seed", range(20))
def test_captions_keep_the_rules_whatever_is_said(seed: int) -> None:
    chance = np.random.default_rng(seed)
    segments, at = [], 0.0
    for _ in range(40):
        words = [("a" * int(size)) + chance.choice(["", "", "", ",", "."]) for size in chance.integers(1, 14, chance.integers(1, 60))]
        length = float(len(" ".join(words)) / chance.uniform(8, 26))
        segments.append((at, at + length, " ".join(words)))
        at += length + float(chance.choice([0.0, 0.0, 0.4, 3.0]))
    check(cues([{"start": start, "end": end, "text": text} for start, end, text in segments], at), segments)


def check(found: list[Cue], segments: list[tuple[float, float, str]]) -> None:
    said = "".join("".join(text.split()) for _, _, text in sorted(segments))
    assert "".join("".join(line.split()) for cue in found for line in cue.lines) == said, "no word is lost, doubled or moved"
    assert [line for cue in found for line in cue.lines if len(line) > LINE] == []
    assert {len(cue.lines) for cue in found} <= {1, 2}
    assert [cue for cue in found if not 0 <= cue.start < cue.end] == []
    for cue, following in pairwise(found):
        assert cue.end <= following.start, "no two at once"
        if cue.speed > EASY + 0.01:
            assert cue.end >= following.start - 0.001, "there was no pause left after it"
        # What nobody could read was as late as captions may be.
        if cue.speed > FAST + 0.01:
            assert following.start >= captions.LATEST
    natural = {round(start, 3) for start, _, _ in segments}
    late = [cue.start - max((start for start in natural if start <= cue.start), default=0.0) for cue in found[:1]]
    assert all(seconds <= LATEST for seconds in late)


# -- pictures


def test_the_poster_is_a_picture_of_the_film_and_not_a_black_one(film: Rendered) -> None:
    with Image.open(film.folder / "poster.jpg") as poster:
        assert (poster.format, poster.size, poster.mode) == ("JPEG", SIZE, "RGB")
        pixels = np.asarray(poster.convert("L"))
    assert pixels[:, : SIZE[0] // 2 - 8].mean() > 40
    assert pixels[:, SIZE[0] // 2 + 8 :].mean() < 20


def test_the_storyboard_has_a_picture_for_each_stretch_of_the_film(film: Rendered) -> None:
    cues = re.findall(r"([\d:.]+) --> ([\d:.]+)\nstoryboard\.jpg#xywh=(\d+),(\d+),(\d+),(\d+)\n", film.text("storyboard.vtt"))
    assert cues[0][0] == "00:00:00.000"
    assert [end for _, end, *_ in cues[:-1]] == [start for start, *_ in cues[1:]], "no time is without one"
    assert seconds(cues[-1][1]) == pytest.approx(SECONDS, abs=0.2)
    with Image.open(film.folder / "storyboard.jpg") as sprite:
        boxes = [tuple(map(int, cue[2:])) for cue in cues]
        assert all(x + width <= sprite.width and y + height <= sprite.height for x, y, width, height in boxes)
        assert {(width, height) for _, _, width, height in boxes} == {(160, 120)}
    assert len(boxes) == len(set(boxes)) == 3


def test_a_storyboard_has_no_more_pictures_than_it_may(film: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The film has three key frames."""
    monkeypatch.setattr(storyboard, "TILES", 2)
    made = rendered(tmp_path / "work", film.source, "storyboard", quality="144p")
    assert made.text("storyboard.vtt").count("#xywh=") == 2


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_pictures_of_a_turned_film_stand_upright(tmp_path: Path, rotation: int) -> None:
    """The left half of the stored picture is the bright one."""
    source = make_film(tmp_path / "a.mp4", seconds=1, size=(160, 96), rotation=rotation)
    made = rendered(tmp_path / "work", source, "poster")
    with Image.open(made.folder / "poster.jpg") as poster:
        assert poster.size == ((160, 96) if rotation == 180 else (96, 160))
        grey = np.asarray(poster.convert("L")).astype(float)
    with av.open(str(source)) as stored:
        turns = round(next(stored.decode(video=0)).rotation / 90) % 4
    high, wide = grey.shape
    halves = {1: grey[high // 2 + 8 :], 2: grey[:, wide // 2 + 8 :], 3: grey[: high // 2 - 8]}
    assert halves[turns].mean() > grey.mean(), "the bright half is where a player shows it"


# -- streaming


def ranges(text: str) -> tuple[tuple[int, int], list[tuple[float, int, int]]]:
    """A media playlist by hand: the range of its first bytes, then of each segment with its seconds."""
    size, at = map(int, re.findall(r'#EXT-X-MAP:URI="[\w-]+\.m4s",BYTERANGE="(\d+)@(\d+)"', text)[0])
    found = re.findall(r"#EXTINF:([\d.]+),\n#EXT-X-BYTERANGE:(\d+)@(\d+)\n[\w-]+\.m4s\n", text)
    return (at, size), [(float(length), int(begin), int(count)) for length, count, begin in found]


def segments_of(made: Rendered, name: str) -> list[tuple[float, list[Any]]]:
    """Of each segment what the list says of its length, and the frames that it gives alone."""
    whole = (made.folder / f"{name}.m4s").read_bytes()
    (at, size), found = ranges(made.text(f"{name}.m3u8"))
    segments = []
    for length, begin, count in found:
        with av.open(io.BytesIO(whole[at : at + size] + whole[begin : begin + count]), "r") as alone:
            assert len(alone.streams) == 1
            packets = [packet for packet in alone.demux() if packet.size]
            assert packets[0].is_keyframe, "a player can begin here"
            alone.seek(0)
            segments.append((length, list(alone.decode())))
    assert found[-1][1] + found[-1][2] == len(whole), "no byte is left over"
    return segments


def test_every_segment_of_every_size_can_be_decoded_from_its_first_frame(film: Rendered) -> None:
    text = film.text("hls.m3u8")
    sizes = dict(re.findall(r"RESOLUTION=(\d+x\d+).*\n(hls-\w+)\.m3u8", text))
    assert sizes == {"320x240": "hls-240p", "240x180": "hls-180p"}
    lengths = []
    for size, name in sizes.items():
        found = segments_of(film, name)
        frames = [frame for _, frames in found for frame in frames]
        assert {f"{frame.width}x{frame.height}" for frame in frames} == {size}
        assert len(frames) == SECONDS * 10, "each picture of the film is there"
        lengths.append([length for length, _ in found])
    assert lengths[0] == lengths[1] == [4.0, 4.0, 2.0], "a player may change the size at any segment"
    sound = segments_of(film, "hls-audio")
    assert sum(frame.samples for _, frames in sound for frame in frames) / 48_000 == pytest.approx(SECONDS, abs=0.1)


def test_the_master_list_says_of_each_size_what_a_player_needs(film: Rendered) -> None:
    text = film.text("hls.m3u8")
    (group,) = re.findall(r'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="(\w+)",.*URI="hls-audio\.m3u8"', text)
    rows = re.findall(r'#EXT-X-STREAM-INF:BANDWIDTH=(\d+),AVERAGE-BANDWIDTH=(\d+),.*,CODECS="([^"]*)",AUDIO="(\w+)"\n(hls-\d+p)', text)
    for peak, average, codecs, of_group, name in rows:
        assert of_group == group
        assert re.fullmatch(r"avc1\.[0-9a-f]{6},mp4a\.40\.2", codecs)
        _, segments = ranges(film.text(f"{name}.m3u8"))
        _, sound = ranges(film.text("hls-audio.m3u8"))
        most = max(count * 8 / length for length, _, count in segments) + max(count * 8 / length for length, _, count in sound)
        assert int(peak) == pytest.approx(most, rel=0.001), "RFC 8216: the most of any segment"
        assert int(average) <= int(peak)
    assert len(rows) == 2


def test_sound_and_picture_of_the_stream_are_in_step(film: Rendered) -> None:
    """As in the film: the difference of their first times."""

    def begins(path: Path, kind: Literal["audio", "video"]) -> float:
        with av.open(str(path)) as one:
            stream = one.streams.best(kind)
            assert stream is not None
            times = (float(packet.pts * packet.time_base) for packet in one.demux(stream) if packet.pts is not None)
            return min(islice(times, 5))

    apart = begins(film.folder / "video.mp4", "audio") - begins(film.folder / "video.mp4", "video")
    streamed = begins(film.folder / "hls-audio.m4s", "audio") - begins(film.folder / "hls-240p.m4s", "video")
    assert streamed == pytest.approx(apart, abs=0.03)


# -- sound


def test_the_sound_alone_is_that_of_the_film(film: Rendered) -> None:
    with av.open(str(film.folder / "sound.m4a")) as sound:
        assert [stream.type for stream in sound.streams] == ["audio"]
        heard = np.concatenate([frame.to_ndarray() for frame in sound.decode(audio=0)], axis=1)[0]
    assert len(heard) / 48_000 == pytest.approx(SECONDS, abs=0.1)
    assert np.abs(heard[: 4 * 48_000]).max() > 0.2
    assert np.abs(heard[5 * 48_000 : 7 * 48_000]).max() < 0.01


def test_the_waveform_shows_where_it_is_loud(film: Rendered) -> None:
    found = film.json("waveform.json")
    assert (found["version"], found["channels"], found["bits"], found["sample_rate"]) == (2, 1, 8, 16_000)
    points = np.array(found["data"]).reshape(-1, 2)
    assert len(points) == found["length"] == pytest.approx(SECONDS * 16_000 / found["samples_per_pixel"], abs=2)
    rate = found["sample_rate"] / found["samples_per_pixel"]
    # A sine of 8000 of 32768, in 8 bits.
    for begin, end, most in ((0.5, 4, 31), (8, 9.5, 31), (5, 7, 1)):
        part = points[int(begin * rate) : int(end * rate)]
        assert part[:, 1].max() == pytest.approx(most, abs=1)
        assert part[:, 0].min() == pytest.approx(-most, abs=2)


def test_loudness_is_that_of_the_tone(film: Rendered) -> None:
    """A sine's loudness is its level in dB of full scale less 3, of 440 Hz 0.7 less still (ITU-R BS.1770); silence is left out."""
    found = film.json("loudness.json")
    assert film.said["loudness"] == found
    level = 20 * np.log10(8000 / 32768)
    assert found["integrated_lufs"] == pytest.approx(level - 3.7, abs=0.4)
    # AAC rings where the tone is cut off.
    assert level - 0.5 < found["true_peak_dbfs"] < level + 3


def test_silence_and_black_are_where_they_are(film: Rendered) -> None:
    for name in ("silence", "black"):
        (found,) = film.json(f"{name}.json")[name]
        assert found["start"] == pytest.approx(DARK[0], abs=0.15)
        assert found["end"] == pytest.approx(DARK[1], abs=0.15)


# -- other media


def test_silence_and_black_to_the_end_end_there(tmp_path: Path) -> None:
    source = make_film(tmp_path / "a.mp4", seconds=3, dark=(1, 3))
    made = rendered(tmp_path / "work", source, "silence", "black", "loudness")
    for name in ("silence", "black"):
        (found,) = made.json(f"{name}.json")[name]
        assert found["end"] == pytest.approx(3, abs=0.15)


def test_what_is_silent_has_no_loudness(tmp_path: Path) -> None:
    made = rendered(tmp_path / "work", make_film(tmp_path / "a.mp4", seconds=1, silent=True), "loudness", "waveform")
    assert made.json("loudness.json") == {"integrated_lufs": None, "range_lu": None, "true_peak_dbfs": None}
    assert set(made.json("waveform.json")["data"]) == {0}


def test_a_sound_that_begins_later_is_drawn_where_it_is(tmp_path: Path) -> None:
    source = make_film(tmp_path / "a.wav", size=None, audio_codec="pcm_s16le")
    made = rendered(tmp_path / "work", source, "waveform", speech_start=2.0)
    found = made.json("waveform.json")
    rate = found["sample_rate"] // found["samples_per_pixel"]
    assert set(found["data"][: 2 * 2 * rate]) == {0}
    assert max(found["data"]) > 20


def test_a_podcast_asked_for_all_of_a_film_gets_what_it_has(tmp_path: Path) -> None:
    made = rendered(tmp_path / "work", make_film(tmp_path / "a.wav", seconds=2, size=None, audio_codec="pcm_s16le"))
    of_a_film = {name for name, output in catalogue.OUTPUTS.items() if catalogue.Need.PICTURE in output.needs}
    assert set(made.said["made"]) == set(catalogue.PRESETS["film"]) - of_a_film
    assert {warning.split(": ")[1] for warning in made.said["warnings"]} == of_a_film


def test_a_film_of_three_hours_of_black_keeps_the_limits(tmp_path: Path) -> None:
    made = rendered(tmp_path / "work", slideshow(tmp_path / "a.mp4"), segments=[])
    assert made.said["output_media"]["duration"] > 9_000
    left_out = {warning.split(": ")[1] for warning in made.said.get("warnings", ())}
    assert left_out == {"srt", "vtt", "ass"}, "nothing was said"
    with Image.open(made.folder / "storyboard.jpg") as sprite:
        assert sprite.width * sprite.height <= 100 * 160 * 160
    assert sum((made.folder / name).stat().st_size for one in made.said["made"].values() for name in one["files"]) < 2_000_000
    (found,) = made.json("black.json")["black"]
    assert found["end"] > 9_000


def test_of_a_film_without_a_picture_everything_else_is_made(tmp_path: Path) -> None:
    made = rendered(tmp_path / "work", frameless(tmp_path / "a.mp4"))
    left_out = {warning.split(": ")[1] for warning in made.said["warnings"]}
    assert left_out == {"poster", "storyboard", "hls"}
    assert set(made.said["made"]) == set(catalogue.PRESETS["film"]) - left_out
    assert sorted(path.name for path in made.folder.iterdir() if path.name.startswith(("poster", "story", "hls"))) == []
