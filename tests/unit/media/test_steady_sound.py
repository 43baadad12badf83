from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline_jobs.media import transcode
from pipeline_jobs.media.steady_sound import PIECE, ROUNDED, SteadySound
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import make_film
from tests.unit.media.test_transcode import transcoded

RATE = 1000


def frame(begin: int | None, samples: int, value: float = 1.0) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(np.full((2, samples), value, np.float32), "fltp", "stereo")
    made.sample_rate, made.pts, made.time_base = RATE, begin, Fraction(1, RATE)
    return made


def steady(*frames: av.AudioFrame, origin: Fraction = Fraction(0)) -> list[tuple[int, int, float]]:
    """When each piece begins, how many samples it has, and their value."""
    line, found = SteadySound(RATE, origin), []
    for one in frames:
        for piece in line.take(one):
            assert (piece.time_base, piece.sample_rate, piece.layout.name) == (Fraction(1, RATE), RATE, "stereo")
            (value,) = np.unique(piece.to_ndarray())
            found.append((piece.pts or 0, piece.samples, float(value)))
    return found


def test_what_follows_each_other_stays_as_it_is() -> None:
    assert steady(frame(5000, 100, 1), frame(5100, 50, 2), origin=Fraction(5)) == [(0, 100, 1.0), (100, 50, 2.0)]


def test_a_hole_is_silence_in_pieces() -> None:
    assert steady(frame(100, 100), frame(2500, 100)) == [
        (100, 100, 1.0), (200, PIECE * RATE, 0.0), (1200, PIECE * RATE, 0.0), (2200, 300, 0.0), (2500, 100, 1.0),
    ]  # fmt: skip


def test_what_is_there_twice_is_left_out() -> None:
    assert steady(frame(0, 400, 1), frame(300, 400, 2), frame(350, 300, 3), frame(700, 100, 4)) == [
        (0, 400, 1.0), (400, 300, 2.0), (700, 100, 4.0),
    ]  # fmt: skip


def test_times_that_are_rounded_change_nothing_and_do_not_add_up() -> None:
    off = int(ROUNDED * RATE)
    assert steady(frame(0, 100), frame(100 + off, 100), frame(200 - off, 100), frame(None, 100)) == [
        (0, 100, 1.0), (100, 100, 1.0), (200, 100, 1.0), (300, 100, 1.0),
    ]  # fmt: skip
    assert steady(frame(0, 100), frame(101 + off, 100)) == [(0, 100, 1.0), (100, off + 1, 0.0), (101 + off, 100, 1.0)]


def joined(path: Path, once: Path, *begins: float) -> Path:
    """The packets of the sound of a second, again and again, from each of these times on."""
    with av.open(str(path), "w") as output:
        stream = None
        for begin in begins:
            with av.open(str(once)) as source:
                stream = stream or output.add_stream_from_template(source.streams.audio[0])
                for packet in source.demux(audio=0):
                    if packet.dts is not None and packet.dts >= 0 and packet.pts is not None and packet.time_base is not None:
                        later = round(begin / packet.time_base)
                        packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, stream
                        output.mux(packet)
    return path


@pytest.mark.parametrize("begins", [(0.0, 0.965, 1.93), (0.0, 2.0, 2.965)], ids=["twice", "twice and a hole"])
def test_a_film_that_was_joined_badly_is_whole_and_what_is_said_is_in_its_place(
    make_context: MakeContext, tmp_path: Path, begins: tuple[float, ...]
) -> None:
    once = make_film(tmp_path / "once.m4a", seconds=1.0, size=None, format="mp4")
    context, made = transcoded(make_context, joined(tmp_path / "source.m4a", once, *begins))
    length = made["output_media"]["duration"]
    assert length == pytest.approx(begins[-1] + 1, abs=0.1)
    with wave.open(str(context.workdir / transcode.SPEECH)) as speech:
        heard = np.frombuffer(speech.readframes(speech.getnframes()), np.int16)
    assert len(heard) / transcode.SPEECH_RATE == pytest.approx(length, abs=0.05), "a hole is in the speech as long as in the film"
    with av.open(str(context.workdir / made["output"])) as film:
        published = sum(one.samples for one in film.decode(audio=0))
    assert published / transcode.RATE == pytest.approx(length, abs=0.1)
    hole = heard[int(1.1 * transcode.SPEECH_RATE) : int(1.9 * transcode.SPEECH_RATE)]
    assert bool(np.abs(hole).max() > 1000) is (begins[1] < 1)
