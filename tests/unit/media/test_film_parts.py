"""A film in parts: where it is cut, and that what is joined is the whole."""

from __future__ import annotations

import os
import resource
import wave
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import Any

import av
import pytest
from annotated_types import Ge
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import MediaDamaged
from pipeline_jobs.media import film_cuts, film_join, film_parts, probe, transcode
from pipeline_jobs.media.in_parts import MAX_PARTS
from pipeline_jobs.media.pipeline import InPartsParams
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import make_film

#: A key frame each second.
KEYS = {"g": "10", "bf": "2", "preset": "ultrafast"}


def prepare(make_context: MakeContext, source: Path, **params: Any) -> JobContext:
    context = make_context(data={"source": "source"}, quality="144p")
    context.params = {**context.params, "part_seconds": 4, "whole_seconds": 0, **params}
    (context.workdir / "source").write_bytes(source.read_bytes())
    context.data.update(probe.run(context))
    return context


def parts_of(context: JobContext) -> list[dict[str, Any]]:
    """What each part gives, each done in a folder that has its file only."""
    results = []
    for number, about in enumerate(film_parts.cut(context)["parts"]):
        folder = context.workdir / "parts" / str(number)
        folder.mkdir(parents=True)
        (context.workdir / about["file"]).replace(folder / about["file"])
        own = replace(context, workdir=folder, data=about)
        results.append({"picture": film_parts.picture, "sound": film_parts.sound}[about["kind"]](own))
    return results


def joined(context: JobContext, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return film_join.join(replace(context, data={**context.data, "results": results}))


def seen(path: Path) -> tuple[list[Fraction], list[Fraction], float]:
    """When each picture is shown, when each packet of the sound is due, and how long the file plays."""
    with av.open(str(path)) as film:
        pictures = [due(frame) for frame in film.decode(video=0)]
        film.seek(0)
        sound = [due(packet) for packet in film.demux(audio=0) if packet.size] if film.streams.audio else []
        return pictures, sound, (film.duration or 0) / av.time_base


def due(piece: Any) -> Fraction:
    """Of a frame or a packet."""
    return Fraction(piece.pts * piece.time_base)


def pcm(path: Path) -> bytes:
    with wave.open(str(path)) as sound:
        return bytes(sound.readframes(sound.getnframes()))


FILMS: dict[str, tuple[str, dict[str, Any]]] = {
    "mp4": ("a.mp4", {}),
    "no sound": ("a.mp4", {"audio": False}),
    "matroska": ("a.mkv", {"audio_codec": "libopus", "rate": 48_000}),
    "turned": ("a.mp4", {"rotation": 90}),
}


@pytest.mark.parametrize("kind", FILMS)
def test_a_film_in_parts_is_the_film_as_a_whole(make_context: MakeContext, tmp_path: Path, kind: str) -> None:
    name, options = FILMS[kind]
    context = prepare(make_context, make_film(tmp_path / name, seconds=13, options=KEYS, **options))
    whole = transcode.run(context)
    expected, sound = seen(context.workdir / "video.mp4"), whole["speech"] and pcm(context.workdir / "speech.wav")
    (context.workdir / "video.mp4").unlink()
    results = parts_of(context)
    assert [one["count"] for one in results if "count" in one] == [40, 50, 40]
    together = joined(context, results)
    assert seen(context.workdir / "video.mp4") == expected, "each picture, each piece of sound, at its time"
    assert (together["speech"] and pcm(context.workdir / "speech.wav")) == sound
    assert together.pop("spoken", None) == ("spoken.json" if sound else None)
    assert together["output_media"].pop("bytes") == (context.workdir / "video.mp4").stat().st_size
    del whole["output_media"]["bytes"]
    assert together == whole
    with av.open(str(context.workdir / "video.mp4")) as film:
        assert abs(next(film.decode(video=0)).rotation) == options.get("rotation", 0)
        film.seek(0)
        decoded = [packet.dts for packet in film.demux(video=0) if packet.dts is not None]
    assert decoded == sorted(set(decoded))


LATE, UNEVEN = {"muxing": {"avoid_negative_ts": "make_zero"}}, {"hurried": 2, "audio": False}


@pytest.mark.parametrize("options", [LATE, UNEVEN], ids=["late", "uneven"])
def test_it_plays_as_long_as_the_whole(make_context: MakeContext, tmp_path: Path, options: dict[str, Any]) -> None:
    """A film whose clock does not begin at 0, with a sound that need not be resampled; one whose pictures are shown for different times."""
    context = prepare(make_context, make_film(tmp_path / "a.mp4", seconds=13, options=KEYS, rate=48_000, **options))
    whole = transcode.run(context)["output_media"]
    playing = seen(context.workdir / "video.mp4")[2]
    (context.workdir / "video.mp4").unlink()
    together = joined(context, parts_of(context))["output_media"]
    assert (together["duration"], seen(context.workdir / "video.mp4")[2]) == (whole["duration"], playing)


def test_a_film_may_have_more_parts_than_a_process_may_have_files(make_context: MakeContext, tmp_path: Path) -> None:
    context = prepare(make_context, make_film(tmp_path / "a.mp4", seconds=30, options=KEYS, audio=False), part_seconds=1)
    results = parts_of(context)
    assert len(results) == 30
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = set(map(int, os.listdir("/proc/self/fd")))
    room = next(islice((number + 1 for number in count() if number not in opened), 12, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
    try:
        assert joined(context, results)["output_media"]["duration"] == 29.9
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def in_parts(make_context: MakeContext, tmp_path: Path) -> tuple[JobContext, list[dict[str, Any]]]:
    context = prepare(make_context, make_film(tmp_path / "a.mp4", seconds=13, options=KEYS))
    return context, parts_of(context)


def test_a_film_of_which_much_is_damaged_is_none(make_context: MakeContext, tmp_path: Path) -> None:
    context, results = in_parts(make_context, tmp_path)
    results[1]["bad"] = 20
    with pytest.raises(MediaDamaged, match="20 of"):
        joined(context, results)
    results[1]["bad"], results[0]["samples"] = 0, 0
    with pytest.raises(MediaDamaged, match="sound"):
        joined(context, results)
    results[0]["samples"] = 1
    for one in results:
        one["end"] = 4.0
    with pytest.raises(MediaDamaged, match="cut off"):
        joined(context, results)


def test_parts_that_do_not_fit_are_not_joined(make_context: MakeContext, tmp_path: Path) -> None:
    """What joins them has the word of processes that a hostile file may have taken over: the film is transcoded as a whole then."""
    context, results = in_parts(make_context, tmp_path)
    results[1]["count"] += 1
    assert joined(context, results) == {}, "a picture is missing"
    results[1]["count"] -= 1
    results[2]["first"] = "1/10"
    assert joined(context, results) == {}, "they overlap"
    results[2]["first"] = "4"
    other = replace(context, workdir=tmp_path / "other", data={"source": "source"})
    other.workdir.mkdir()
    make_film(context.workdir / "parts/2/picture.mp4", seconds=5, size=(32, 48), audio=False)
    assert joined(context, results) == {}, "another size"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("open groups", {"codec": "mpeg2video", "format": "matroska", "options": {"g": "10", "bf": "2"}}),
        ("key frames that are none", {"options": {"g": "10", "bf": "0", "preset": "fast", "x264-params": "intra-refresh=1"}}),
        ("one key frame", {"options": {"g": "1000", "sc_threshold": "0"}}),
        ("another container", {"codec": "mpeg4", "format": "avi", "audio_codec": "libmp3lame", "rate": 44_100}),
        ("short", {"seconds": 3, "options": KEYS}),
    ],
)
def test_what_cannot_be_cut_exactly_is_not_cut(make_context: MakeContext, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    context = prepare(make_context, make_film(tmp_path / "a", **{"seconds": 13, "format": "mp4", **options}))
    assert film_parts.cut(context) == {"parts": []}
    assert [path.name for path in context.workdir.iterdir()] == ["source"]


def test_a_film_that_does_not_begin_with_a_key_frame_is_not_cut(make_context: MakeContext, tmp_path: Path) -> None:
    """What a decoder makes of its first packets is seen in the whole only."""
    film = make_film(tmp_path / "a.mkv", seconds=13, options={**KEYS, "bf": "0"}, audio=False)
    assert film_parts.cut(prepare(make_context, without_its_first(0, film))) != {"parts": []}
    context = prepare(make_context, film)
    (context.workdir / "source").write_bytes(without_its_first(1, film).read_bytes())
    with pytest.raises(film_cuts.CannotCut, match="does not begin"):
        film_cuts.cuts(context, context.workdir / "source", 4)
    assert film_parts.cut(context) == {"parts": []}


def without_its_first(packets: int, film: Path) -> Path:
    """A copy of a film without a sound, of which no picture is held back: then each packet is decoded when it is shown."""
    late = film.with_stem(f"late-{packets}")
    with av.open(str(film)) as source, av.open(str(late), "w") as output:
        copy = output.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][packets:]:
            packet.stream = copy
            output.mux(packet)
    return late


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=40, unique_by=lambda packet: packet[0]))
def test_a_film_is_cut_only_where_no_picture_is_on_both_sides(packets: list[tuple[int, bool]]) -> None:
    times = [time for time, _ in packets]
    safe = [
        time
        for number, (time, key) in enumerate(packets)
        if key and all(one < time for one in times[:number]) and all(one > time for one in times[number + 1 :])
    ]
    assert film_cuts.safe_keys(packets) == safe


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 100))
def test_the_parts_cover_the_film_and_none_is_much_shorter_than_asked(gaps: list[int], length: int) -> None:
    keys = [sum(gaps[:number]) for number in range(len(gaps))]
    begins, end = film_cuts.chosen(keys, sum(gaps), length), sum(gaps)
    assert begins[0] == keys[0]
    assert begins == sorted(set(begins) & set(keys))
    lengths = [later - begin for begin, later in zip(begins, [*begins[1:], end], strict=True)]
    assert sum(lengths) == end
    assert len(lengths) == 1 or min(lengths) >= length / 2
    assert max(lengths) <= 2.5 * length + 3 * max(gaps)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=5), st.randoms())
def test_packets_are_decoded_one_after_the_other_and_none_after_it_is_shown(gaps: list[list[int]], random: Any) -> None:
    pieces, now = [], 0
    for piece in gaps:
        times = [now := now + gap for gap in piece]
        # A key frame, and behind it what a decoder may hold back.
        shuffled = sorted(times[1:], key=lambda time: times.index(time) + random.randint(0, 3))
        pieces.append([times[0], *shuffled])
    decoded = list(film_cuts.decoding_times(pieces))
    assert decoded == sorted(set(decoded))
    assert all(begins <= shown for begins, shown in zip(decoded, [time for piece in pieces for time in piece], strict=True))


def test_pictures_that_are_shown_evenly_are_decoded_evenly() -> None:
    """From the first to the last by as much as they are shown, which is how long an MP4 says that it plays."""
    assert list(film_cuts.decoding_times([[100, 140, 120, 110, 130], [150, 160]])) == [80, 90, 100, 110, 120, 130, 140]


def test_no_parameters_that_are_allowed_give_more_parts_than_a_film_may_have() -> None:
    seconds = 4 * 3600
    (least,) = (float(str(one.ge)) for one in InPartsParams.model_fields["part_seconds"].metadata if isinstance(one, Ge))
    keys = list(range(0, seconds, 5))
    pieces = len(film_cuts.chosen(keys, seconds, least))
    assert MAX_PARTS / 2 < pieces < MAX_PARTS, "the sound is one, too"


class Looked(list[int]):
    """Key frames that count how often they are looked at."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        for one in super().__iter__():
            self.looks += 1
            yield one


def test_where_a_film_of_key_frames_only_is_cut_is_found_without_looking_at_all_of_them_for_each_part() -> None:
    keys = Looked(range(0, 14_400, 1))
    film_cuts.chosen(keys, 14_400, 30.0)
    assert keys.looks <= 3 * len(keys)
