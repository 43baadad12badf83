"""Where a film can be cut, and its pieces: packets are copied, nothing is decoded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import MediaError
from pipeline_jobs.media.container import damaged_by_ffmpeg, open_media, picture_of, sound_of
from pipeline_jobs.media.in_parts import MAX_PARTS

#: Containers whose pieces are of the same kind, with the very times of the whole, and what FFmpeg calls them as it writes them.
CUTTABLE = {"mp4": "mp4", "matroska": "matroska"}
#: Of one picture. A job may have one part more, its sound.
MAX_PIECES = MAX_PARTS - 1
#: A piece of a picture begins with 0: where its packets begin is told apart. (Lists of edits have milliseconds only.)
PICTURE_OPTIONS = {"mp4": {"use_editlist": "0"}}


class CannotCut(MediaError):
    """The film cannot be cut: it is transcoded as a whole."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where the pieces of a picture begin, by its own clock, and where its last one ends."""

    begins: list[int]
    end: int
    #: When each of its packets is shown, as they come.
    times: list[int]


def safe_keys(packets: Iterable[tuple[int, bool]]) -> list[int]:
    """Of packets in file order, each with its time and whether it is a key frame: the times of those key frames that no picture is
    shown before which comes behind them, and none after which came before. There the film falls into two that know nothing of each other.
    """
    found: list[int] = []
    latest: int | None = None
    for time, key in packets:
        while found and time < found[-1]:
            found.pop()
        if key and (latest is None or time > latest):
            found.append(time)
        latest = time if latest is None else max(latest, time)
    return found


def chosen(keys: Sequence[int], end: int, length: float) -> list[int]:
    """Those of the keys, which grow, at which parts begin, the first one among them: about the same length, none much shorter than
    `length`. They are longer where there would be too many."""
    length = max(length, (end - keys[0]) / MAX_PIECES)
    count = max(1, int((end - keys[0]) / length + 0.5))
    found = list(keys[:1])
    for number in range(1, count):
        aim = keys[0] + (end - keys[0]) * number / count
        place = bisect_left(keys, aim)
        nearest = min(keys[max(0, place - 1) : place + 1], key=lambda key: abs(key - aim))
        if nearest - found[-1] >= length / 2 and end - nearest >= length / 2:
            found.append(nearest)
    return found


def decoding_times(pieces: Sequence[Sequence[int]]) -> Iterator[int]:
    """Of packets by the times at which they are shown, as they come, all of a piece before any of the next one: when each is to be decoded.

    Each is decoded at the time at which the one that is shown so many before it is shown, as many as a decoder holds back at most. So the
    times grow, also from one piece to the next, and none is after that of its picture. The first ones are as x264 gives them: by them an
    MP4 says how long it plays.
    """
    held, shown = 0, list[int]()
    for piece in pieces:
        order = sorted(piece)
        rank = {time: number for number, time in enumerate(order)}
        held = max(held, *(number - rank[time] for number, time in enumerate(piece)))
        shown += order
    yield from (time - (shown[held] - shown[0]) for time in shown[:held])
    yield from shown[: len(shown) - held]


def cuts(context: JobContext, path: Path, seconds: float) -> Cuts:
    """Look through the packets of the picture. :raises CannotCut: they have no times, or too few key frames."""
    with open_media(path, context.settings.media_max_pixels) as source:
        picture = picture_of(source)
        if picture is None or picture.time_base is None:
            raise CannotCut("there is no picture")
        times: list[tuple[int, bool]] = []
        end = 0
        for packet in _packets(source, picture):
            context.check_cancelled()
            # One that is not to be shown would be, in a piece.
            if packet.pts is None or packet.is_discard:
                raise CannotCut("a picture has no time")
            if packet.pts * picture.time_base > context.settings.media_max_seconds:
                raise CannotCut("it lasts too long")
            times.append((packet.pts, packet.is_keyframe))
            end = max(end, times[-1][0] + (packet.duration or 0))
        keys = safe_keys(times)
        # What comes before the first one would be in no piece.
        if not keys or keys[0] != times[0][0]:
            raise CannotCut("it does not begin with a key frame")
        begins = chosen(keys, end, float(seconds / picture.time_base))
    if len(begins) < 2:
        raise CannotCut("it has too few key frames, or is short")
    return Cuts(begins, end, [time for time, _ in times])


def _packets(source: InputContainer, *streams: Stream) -> Iterator[Packet[Any]]:
    return (packet for packet in source.demux(*streams) if packet.size)


@dataclass(slots=True)
class Copied:
    """The pieces of a film as they were written."""

    pictures: list[str]
    sound: bool
    #: When the first packet of the sound is due, in seconds of the source.
    sound_begins: Fraction = Fraction(0)


def copy(context: JobContext, path: Path, format: str, cuts: Cuts) -> Copied:
    """Write `picture-0` and so on, and `sound`, if there is any, into the working folder. :raises CannotCut: a packet has no time."""
    with ExitStack() as stack:
        source = stack.enter_context(open_media(path, context.settings.media_max_pixels))
        picture, sound = picture_of(source), sound_of(source)
        if picture is None:
            raise CannotCut("there is no picture")
        pictures = stack.enter_context(closing(_Pieces(context.workdir, format, picture, cuts)))
        voice = None if sound is None else stack.enter_context(closing(_Copy(context.workdir / "sound", format, sound, {})))
        for packet in _packets(source, *filter(None, (picture, sound))):
            context.check_cancelled()
            if packet.stream is picture:
                pictures.take(packet)
            elif voice is not None:
                voice.take(packet)
    names = [f"picture-{number}" for number in range(len(cuts.begins))]
    return Copied(names, sound is not None, (voice.first if voice else None) or Fraction(0))


def check_begins(context: JobContext, name: str) -> None:
    """A decoder that is given this piece alone shows its first picture.

    Not every picture that a file calls a key frame stands by itself: some are made good by those behind them (intra refresh), or damaged.

    :raises CannotCut: it shows a later one first.
    """
    context.check_cancelled()
    with open_media(context.workdir / name, context.settings.media_max_pixels) as source, damaged_by_ffmpeg():
        first, begins = None, None
        for packet in source.demux(video=0):
            begins = packet.pts if begins is None else begins
            if (first := next((frame.pts for frame in packet.decode()), None)) is not None:
                break
    if first is None or first != begins:
        raise CannotCut("a key frame cannot be shown without what is before it")


class _Copy:
    """A file with the packets of one stream."""

    def __init__(self, path: Path, format: str, stream: Stream, options: dict[str, str]) -> None:
        self._output: OutputContainer = av.open(str(path), "w", format=format, options=options)
        self._stream = self._output.add_stream_from_template(stream)
        if stream.time_base is not None:
            self._stream.time_base = stream.time_base
        self.first: Fraction | None = None
        self._heard = False

    def take(self, packet: Packet[Any]) -> None:
        """:raises CannotCut: it has no time, or is not to be played and not one with which a sound begins: a copy has these too."""
        if packet.pts is None or packet.time_base is None or (packet.is_discard and self._heard):
            raise CannotCut("a piece of the sound has no time")
        self._heard = not packet.is_discard
        if self.first is None:
            self.first = packet.pts * packet.time_base
        packet.stream = self._stream
        self._output.mux(packet)

    def close(self) -> None:
        self._output.close()


class _Pieces:
    """The pieces of a picture: each begins with its key frame, at 0."""

    def __init__(self, folder: Path, format: str, stream: Stream, cuts: Cuts) -> None:
        self._folder, self._format, self._from, self._begins = folder, format, stream, cuts.begins
        # What a container does not say itself (Matroska) is not known of the first ones.
        self._decoded = decoding_times([cuts.times])
        self._number = -1
        self._copy: _Copy | None = None

    def take(self, packet: Packet[Any]) -> None:
        following = self._number + 1
        if packet.is_keyframe and following < len(self._begins) and packet.pts == self._begins[following]:
            self.close()
            self._number, options = following, PICTURE_OPTIONS.get(self._format, {})
            self._copy = _Copy(self._folder / f"picture-{following}", self._format, self._from, dict(options))
        if self._copy is None or packet.pts is None:
            raise CannotCut("it changed")
        begin = self._begins[self._number]
        packet.pts, packet.dts = packet.pts - begin, next(self._decoded) - begin
        self._copy.take(packet)

    def close(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None
