"""Join a picture file and a sound file, as sites serve them apart, into one: packets are copied, nothing is encoded."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet

from pipeline_jobs.context import JobContext
from pipeline_jobs.media.container import damaged_by_ffmpeg, open_media

_Timed = tuple[float, int, "Packet[Any]"]


def joined(context: JobContext) -> dict[str, Any]:
    """The end of stage `fetch`: what it gives, of what `fetch.run` found (`context.data`), whose `parts` are to be one file."""
    found = dict(context.data)
    join(context, [context.workdir / name for name in found.pop("parts")], context.workdir / found["source"])
    return found


def join(context: JobContext, files: Sequence[Path], target: Path) -> None:
    """Write the picture of each of `files`, or else its sound, to `target` (Matroska takes every codec).

    :raises MediaDamaged, NotMedia: see `container.open_media`.
    """
    with ExitStack() as stack:
        sources = [stack.enter_context(open_media(path, context.settings.media_max_pixels)) for path in files]
        stack.enter_context(damaged_by_ffmpeg())
        output = stack.enter_context(av.open(str(target), "w", format="matroska"))
        timelines, copies = [], {}
        for number, source in enumerate(sources):
            stream = source.streams.best("video") or source.streams.best("audio")
            if stream is not None:
                copies[number] = output.add_stream_from_template(stream)
                timelines.append(_packets(source, number, stream.index))
        for _, number, packet in heapq.merge(*timelines, key=lambda item: item[0]):
            context.check_cancelled()
            packet.stream = copies[number]
            output.mux(packet)


def _packets(source: InputContainer, number: int, index: int) -> Iterator[_Timed]:
    for packet in source.demux(source.streams[index]):
        if packet.dts is not None and packet.time_base is not None:
            yield float(packet.dts * packet.time_base), number, packet
