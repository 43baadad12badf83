"""The film's sound as a file of its own."""

from __future__ import annotations

import av

from pipeline_jobs.media.container import open_media, sound_of
from pipeline_jobs.media.outputs.catalogue import Need
from pipeline_jobs.media.outputs.making import CannotMake, Made, Making


def audio(making: Making) -> Made:
    """AAC in an MP4: the packets of the film, copied."""
    path = making.file("sound.m4a")
    with (
        open_media(making.film, making.context.settings.media_max_pixels) as film,
        av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as output,
    ):
        if (source := sound_of(film)) is None:
            raise CannotMake(Need.SOUND.value)
        copy = output.add_stream_from_template(source)
        for packet in film.demux(source):
            if packet.dts is None:
                continue
            making.step(float(packet.dts * packet.time_base) / max(making.duration, 1.0))
            packet.stream = copy
            output.mux(packet)
    return Made(("sound.m4a",), making.duration)
