from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import JobCancelled, MediaDamaged, MediaTooLarge
from pipeline_jobs.media import probe, transcode
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import SAMPLES, FakeReporter, make_film


def prepare(make_context: MakeContext, source: Path, **options: Any) -> JobContext:
    context = make_context(data={"source": "source"}, **options)
    (context.workdir / "source").write_bytes(source.read_bytes())
    context.data.update(probe.run(context))
    context.stage = "transcode"
    return context


def transcoded(make_context: MakeContext, source: Path, **options: Any) -> tuple[JobContext, dict[str, Any]]:
    context = prepare(make_context, source, **options)
    return context, transcode.run(context)


def size(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as film:
        return film.streams.video[0].width, film.streams.video[0].height


def test_a_film_becomes_smaller_and_its_sound_a_wav(make_context: MakeContext, reporter: FakeReporter) -> None:
    context, made = transcoded(make_context, SAMPLES / "welcome.mp4", quality="144p")
    assert made["output"] == "video.mp4"
    film = context.workdir / "video.mp4"
    with av.open(str(film)) as opened:
        assert opened.streams.video[0].codec_context.name == "h264"
        assert opened.streams.audio[0].codec_context.name == "aac"
        assert float((opened.duration or 0) / av.time_base) == pytest.approx(20.3, abs=0.2)
        assert sum(1 for _ in opened.decode(video=0)) == pytest.approx(305, abs=2)
    assert size(film) == (256, 144)
    assert film.read_bytes().index(b"moov") < film.read_bytes().index(b"mdat"), "players on the web want the index in front"
    assert made["output_media"] == {"width": 256, "height": 144, "duration": pytest.approx(20.3, abs=0.1), "bytes": film.stat().st_size}
    with wave.open(str(context.workdir / made["speech"])) as speech:
        assert (speech.getframerate(), speech.getnchannels(), speech.getsampwidth()) == (16000, 1, 2)
        assert speech.getnframes() / 16000 == pytest.approx(20.3, abs=0.1)
    told = reporter.told_by("transcode")
    assert told == sorted(told)
    assert len(set(told)) > 50


@pytest.mark.parametrize(
    ("dimensions", "expected"), [((64, 48), (64, 48)), ((48, 86), (48, 86)), ((480, 640), (144, 192)), ((642, 362), (254, 144))]
)
def test_a_picture_is_made_smaller_by_its_smaller_side_and_never_larger(
    make_context: MakeContext, tmp_path: Path, dimensions: tuple[int, int], expected: tuple[int, int]
) -> None:
    context, made = transcoded(make_context, make_film(tmp_path / "a.mp4", seconds=1, size=dimensions), quality="144p")
    assert size(context.workdir / made["output"]) == expected


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_turned_film_stays_turned(make_context: MakeContext, tmp_path: Path, rotation: int) -> None:
    context, made = transcoded(make_context, make_film(tmp_path / "a.mp4", seconds=1, rotation=rotation))
    with av.open(str(context.workdir / made["output"])) as film:
        assert abs(next(film.decode(video=0)).rotation) == abs(rotation)


@pytest.mark.parametrize(
    ("name", "audio_codec"), [("a.wav", "pcm_s16le"), ("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.m4a", "aac"), ("a.ogg", "libopus")]
)
def test_a_sound_file_is_only_sound(make_context: MakeContext, tmp_path: Path, name: str, audio_codec: str) -> None:
    rate = 48_000 if audio_codec == "libopus" else 44_100
    source = make_film(tmp_path / name, size=None, audio_codec=audio_codec, rate=rate, layout="stereo")
    context, made = transcoded(make_context, source)
    assert made["output"] == "audio.m4a"
    with av.open(str(context.workdir / "audio.m4a")) as sound:
        assert not sound.streams.video
        assert float((sound.duration or 0) / av.time_base) == pytest.approx(2.0, abs=0.15)
    assert made["output_media"]["width"] is None


def test_the_cover_of_a_song_is_no_film(make_context: MakeContext, tmp_path: Path) -> None:
    cover = make_film(tmp_path / "cover.png", seconds=0.1, audio=False, codec="png", format="image2").read_bytes()
    frame = b"\x00image/png\x00\x03\x00" + cover
    picture = b"APIC" + len(frame).to_bytes(4, "big") + b"\x00\x00" + frame
    length = bytes(len(picture) >> shift & 0x7F for shift in (21, 14, 7, 0))
    song = make_film(tmp_path / "a.mp3", size=None, audio_codec="libmp3lame", rate=44_100)
    tagged = tmp_path / "tagged.mp3"
    tagged.write_bytes(b"ID3\x03\x00\x00" + length + picture + song.read_bytes())
    with av.open(str(tagged)) as opened:
        assert len(opened.streams.video) == 1
    _, made = transcoded(make_context, tagged)
    assert made["output"] == "audio.m4a"


@pytest.mark.parametrize(
    ("name", "codec", "audio_codec"), [("a.ts", "libx264", "aac"), ("a.mkv", "libx264", "aac"), ("a.avi", "mpeg4", "libmp3lame")]
)
def test_other_containers_work_and_begin_at_zero(
    make_context: MakeContext, tmp_path: Path, name: str, codec: str, audio_codec: str
) -> None:
    """A transport stream's clock begins at 1.4 s."""
    context, made = transcoded(make_context, make_film(tmp_path / name, codec=codec, audio_codec=audio_codec))
    with av.open(str(context.workdir / made["output"])) as film:
        assert next(film.decode(video=0)).time == pytest.approx(0, abs=0.15)
        assert float((film.duration or 0) / av.time_base) == pytest.approx(2.0, abs=0.3)


def test_a_film_without_an_own_end_mark_that_was_cut_off_is_damaged(make_context: MakeContext, tmp_path: Path) -> None:
    whole = make_film(tmp_path / "a.mkv", seconds=8)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(MediaDamaged, match="cut off"):
        transcoded(make_context, cut)


def test_a_film_full_of_noise_is_damaged(make_context: MakeContext) -> None:
    context = prepare(make_context, SAMPLES / "welcome.mp4")
    body = bytearray((context.workdir / "source").read_bytes())
    begin = body.index(b"mdat") + 8
    for position in range(begin, len(body)):
        body[position] = (position * 2654435761 >> 7) & 0xFF
    (context.workdir / "source").write_bytes(body)
    with pytest.raises(MediaDamaged):
        transcode.run(context)


def test_a_header_that_lies_about_the_length_does_not_help(make_context: MakeContext) -> None:
    context = prepare(make_context, SAMPLES / "welcome.mp4")
    short = make_context(data=context.data | {"media": context.data["media"] | {"duration": None}}, PIPELINE_MEDIA_MAX_SECONDS="3")
    with pytest.raises(MediaTooLarge):
        transcode.run(short)


def test_progress_without_a_length_goes_by_the_place_in_the_file(make_context: MakeContext, reporter: FakeReporter) -> None:
    context = prepare(make_context, SAMPLES / "harbor.mp4")
    context.data["media"] = context.data["media"] | {"duration": None}
    transcode.run(context)
    told = reporter.told_by("transcode")
    assert told == sorted(told)
    assert len(set(told)) > 20
    assert told[-1] > 90


def test_the_decoder_itself_refuses_larger_pictures_than_the_header_said(make_context: MakeContext) -> None:
    context = prepare(make_context, SAMPLES / "welcome.mp4")
    with pytest.raises(MediaDamaged):
        transcode.run(make_context(data=context.data, PIPELINE_MEDIA_MAX_PIXELS="1000"))
    exact = make_context(data=context.data, quality="144p", PIPELINE_MEDIA_MAX_PIXELS=str(640 * 360))
    assert transcode.run(exact)["output_media"]["height"] == 144


def test_a_cancel_reaches_the_middle(make_context: MakeContext, reporter: FakeReporter) -> None:
    context = prepare(make_context, SAMPLES / "welcome.mp4")
    reporter.cancel_if = lambda percent, message: message == "transcoding" and percent > 30
    with pytest.raises(JobCancelled):
        transcode.run(context)
    assert reporter.percents[-1] < 40
