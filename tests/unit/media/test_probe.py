from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_jobs.exceptions import MediaDamaged, MediaError, MediaTooLarge, NoAudio, NotMedia, SourceEmpty
from pipeline_jobs.media import probe
from tests.tricks.files import subtitles_only
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import SAMPLES, make_film

WELCOME = (SAMPLES / "welcome.mp4").read_bytes()


def probed(make_context: MakeContext, body: bytes | Path, **environ: str) -> dict[str, object]:
    context = make_context(data={"source": "source"}, **environ)
    (context.workdir / "source").write_bytes(body if isinstance(body, bytes) else body.read_bytes())
    media: dict[str, object] = probe.run(context)["media"]
    return media


def test_the_facts_of_a_film(make_context: MakeContext) -> None:
    assert probed(make_context, WELCOME) == {
        "container": "mp4",
        "bytes": len(WELCOME),
        "duration": pytest.approx(20.3, abs=0.1),
        "video": {"codec": "h264", "width": 640, "height": 360, "fps": 15.0},
        "audio": {"codec": "aac", "rate": 16000, "channels": 1},
    }


def test_a_sound_file_has_no_picture(make_context: MakeContext) -> None:
    media = probed(make_context, SAMPLES / "harbor.wav")
    assert media["video"] is None
    assert media["container"] == "wav"


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95, 0.999])
def test_a_film_that_was_cut_off_is_damaged(make_context: MakeContext, part: float) -> None:
    """The clip has its index in front, so FFmpeg would play what is left."""
    with pytest.raises(MediaDamaged):
        probed(make_context, WELCOME[: int(len(WELCOME) * part)])


def test_a_film_that_was_cut_off_before_its_index_is_damaged(make_context: MakeContext, tmp_path: Path) -> None:
    body = make_film(tmp_path / "index-behind.mp4").read_bytes()
    assert body.index(b"moov") > body.index(b"mdat")
    with pytest.raises(MediaDamaged) as caught:
        probed(make_context, body[: body.index(b"moov") - 10])
    assert "atom" not in str(caught.value)


def test_a_sound_that_was_cut_off_is_damaged(make_context: MakeContext) -> None:
    body = (SAMPLES / "harbor.wav").read_bytes()
    with pytest.raises(MediaDamaged, match="cut off"):
        probed(make_context, body[: len(body) // 2])


def test_garbage_behind_a_whole_film_is_let_pass(make_context: MakeContext) -> None:
    assert probed(make_context, WELCOME + b"\xff" * 100)["container"] == "mp4"


def test_nothing_and_noise_have_their_errors(make_context: MakeContext) -> None:
    with pytest.raises(SourceEmpty):
        probed(make_context, b"")
    with pytest.raises(NotMedia):
        probed(make_context, b"hello world, this is no film\n" * 100)
    with pytest.raises(MediaDamaged):
        probed(make_context, b"\x00\x00\x00\x18ftypisom" + b"\x00" * 12 + b"\x00" * 5000)


def test_a_film_without_sound(make_context: MakeContext, tmp_path: Path) -> None:
    silent = make_film(tmp_path / "silent.mp4", audio=False)
    assert probed(make_context, silent)["audio"] is None
    with pytest.raises(NoAudio):
        probed(lambda **options: make_context(params={"on_error": {"transcribe": "fail"}}, **options), silent)


def test_a_file_with_neither_picture_nor_sound(make_context: MakeContext) -> None:
    with pytest.raises(NoAudio):
        probed(make_context, subtitles_only(b"hello", b"world"))


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:10,\n{film}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{film}'\n",
        "file '{film}'\n",
        "[playlist]\nFile1={film}\n",
    ],
)
def test_a_playlist_named_mp4_opens_no_other_file(make_context: MakeContext, text: str) -> None:
    with pytest.raises(NotMedia, match="playlist"):
        probed(make_context, text.format(film=SAMPLES / "welcome.mp4").encode())


def test_only_listed_containers_are_opened_even_if_the_first_bytes_deceive(make_context: MakeContext) -> None:
    """An ID3 tag in front of an HLS list: the sniffer says MP3, FFmpeg would say HLS."""
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x00"
    with pytest.raises(MediaError):
        probed(make_context, tag + f"#EXTM3U\n#EXTINF:10,\n{SAMPLES / 'welcome.mp4'}\n#EXT-X-ENDLIST\n".encode())


def test_the_caps(make_context: MakeContext) -> None:
    with pytest.raises(MediaTooLarge, match="lasts"):
        probed(make_context, WELCOME, PIPELINE_MEDIA_MAX_SECONDS="5")
    with pytest.raises(MediaTooLarge, match="picture"):
        probed(make_context, WELCOME, PIPELINE_MEDIA_MAX_PIXELS="1000")
