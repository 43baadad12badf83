"""One film of the parts of one, inside the walls: their packets are copied, nothing is encoded again.

As the concat demuxer does it, but by the times that were known before the film was cut: what files say of how long they play is rounded.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from pipeline_jobs.context import JobContext
from pipeline_jobs.media.container import damaged_by_ffmpeg
from pipeline_jobs.media.film_cuts import decoding_times
from pipeline_jobs.media.film_parts import PICTURE, SOUND, SPOKEN
from pipeline_jobs.media.transcode import SPEECH, check_whole

FILM = "video.mp4"

_Due = tuple[Fraction, int, "Packet[Any]"]


class CannotJoin(ValueError):
    """The parts do not fit."""


@dataclass(slots=True)
class Piece:
    """One part of a track."""

    path: Path
    #: When its first picture, or sound, is due, in seconds of the film.
    first: Fraction
    #: The times of its packets, as they come, by the film's clock and in the file's unit, and that unit.
    times: list[int] = field(default_factory=list)
    base: Fraction = Fraction(0)
    #: What a decoder of it is told first.
    header: bytes = b""


def join(context: JobContext) -> dict[str, Any]:
    """Needs `media` and `results`: what each part of the stage gave, in the order of `film_parts.cut`. Their files are in `parts/0`, ...

    :return: as `transcode.run`, and `spoken`, the name of a file that says where somebody speaks; nothing, if the parts do not fit.
    :raises MediaDamaged: as `transcode.run` would of the whole.
    """
    results: Sequence[Mapping[str, Any]] = context.data["results"]
    folders = [context.workdir / "parts" / str(number) for number in range(len(results))]
    sound = results[0] if "samples" in results[0] else None
    pictures = [(one, folder) for one, folder in zip(results, folders, strict=True) if one.get("count")]
    counts, end = (sum(one["good"] for one in results), sum(one["bad"] for one in results)), max(one["end"] for one in results)
    check_whole(counts, end, context.data["media"]["duration"], heard=sound is None or sound["samples"] > 0)
    heard = Piece(folders[0] / SOUND, Fraction(sound["first"])) if sound and sound["first"] else None
    try:
        pieces = [Piece(folder / PICTURE, Fraction(one["first"])) for one, folder in pictures]
        with damaged_by_ffmpeg():
            written = _written(context, pieces, heard)
        if written != sum(one["count"] for one, _ in pictures):
            raise CannotJoin(f"{written} pictures")
    except CannotJoin as error:
        context.logger.warning("the parts of the film do not fit", reason=str(error))
        return {}
    first = pictures[0][0]
    facts = {
        "width": first["width"],
        "height": first["height"],
        "duration": round(end, 3),
        "bytes": (context.workdir / FILM).stat().st_size,
    }
    return {"output": FILM, "output_media": facts, **_speech(context.workdir, folders[0], sound)}


def _speech(workdir: Path, folder: Path, sound: Mapping[str, Any] | None) -> dict[str, Any]:
    if sound is None:
        return {"speech": None, "speech_start": 0.0}
    (folder / SPEECH).replace(workdir / SPEECH)
    found = {"speech": SPEECH, "speech_start": sound["start"]}
    if sound["spoken"] is None:
        return found
    (folder / SPOKEN).replace(workdir / SPOKEN)
    return {**found, "spoken": SPOKEN}


def _written(context: JobContext, pieces: Sequence[Piece], sound: Piece | None) -> int:
    """Write the film. :return: how many pictures it has. :raises CannotJoin: the parts do not fit."""
    _look(context, [*pieces, *([sound] if sound else [])])
    if not pieces or not _in_order(pieces):
        raise CannotJoin("a part is empty, or begins before the one before it ends")
    options = {"movflags": "+faststart"}
    with ExitStack() as stack:
        film = stack.enter_context(av.open(str(context.workdir / FILM), "w", format="mp4", options=options))
        tracks = [_Track(film, pieces)] + ([_Track(film, [sound])] if sound else [])
        for _, number, packet in heapq.merge(*(track.packets(number) for number, track in enumerate(tracks)), key=lambda due: due[0]):
            context.check_cancelled()
            packet.stream = tracks[number].stream
            film.mux(packet)
    return tracks[0].count


def _look(context: JobContext, pieces: Sequence[Piece]) -> None:
    """Find the times of the pieces. A container shifts what is in it: what is due first tells by how much."""
    for piece in pieces:
        context.check_cancelled()
        with _opened(piece) as source:
            stream = source.streams[0]
            found = [packet.pts for packet in source.demux(stream) if packet.size and packet.pts is not None]
            if not found or not stream.time_base:
                raise CannotJoin(f"{piece.path} has no packets")
            shift = round(piece.first / stream.time_base) - min(found)
            piece.times = [time + shift for time in found]
            piece.base, piece.header = stream.time_base, bytes(stream.codec_context.extradata or b"")


def _in_order(pieces: Sequence[Piece]) -> bool:
    return all(max(one.times) < min(later.times) for one, later in pairwise(pieces))


class _Track:
    """The pieces of a track, one after the other. One at a time is open: a process may not have as many files open as a film has parts."""

    def __init__(self, film: OutputContainer, pieces: Sequence[Piece]) -> None:
        self._pieces, self._base = pieces, _same(pieces)
        with _opened(pieces[0]) as source:
            self.stream = film.add_stream_from_template(source.streams[0])
        self.stream.time_base = self._base
        self.count = 0

    def packets(self, number: int) -> Iterator[_Due]:
        """With when each is to be decoded, in seconds."""
        decoded = decoding_times([piece.times for piece in self._pieces])
        shown = chain.from_iterable(piece.times for piece in self._pieces)
        packets = chain.from_iterable(map(_packets, self._pieces))
        for packet, time, begins in zip(packets, shown, decoded, strict=True):
            packet.pts, packet.dts = time, begins
            self.count += 1
            yield begins * self._base, number, packet


def _opened(piece: Piece) -> InputContainer:
    return av.open(str(piece.path), format="mp4")


def _packets(piece: Piece) -> Iterator[Packet[Any]]:
    with _opened(piece) as source:
        yield from (packet for packet in source.demux(source.streams[0]) if packet.size)


def _same(pieces: Sequence[Piece]) -> Fraction:
    """The unit of time of all of them. :raises CannotJoin: one decoder cannot play them all."""
    if len({(piece.base, piece.header) for piece in pieces}) != 1:
        raise CannotJoin("a part was encoded in another way")
    return pieces[0].base
