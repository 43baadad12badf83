"""`renditions`: an uploaded picture in several widths, as PNG. Of people whom you trust: it is decoded in the worker."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import NotMedia
from pipeline_jobs.pipelines import Pipeline, Stage, register


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")
    upload: str = Field(description="Id of the upload, a picture.")
    widths: list[int] = Field([160, 640, 1280], min_length=1, max_length=10, description="In pixels; none is wider than the picture.")


def render(context: JobContext) -> Mapping[str, Any]:
    source, links, widths = context.workdir / "picture", {}, context.params["widths"]
    with source.open("wb") as file:
        file.writelines(context.open_upload(context.params["upload"])[1])
    try:
        with av.open(str(source)) as picture:
            frame = next(picture.decode(video=0))
    except (av.FFmpegError, StopIteration):
        raise NotMedia("the upload is no picture") from None
    for number, width in enumerate(sorted({min(one, frame.width) for one in widths}), 1):
        encoder = av.CodecContext.create("png", "w")
        encoder.width, encoder.height = width, max(1, frame.height * width // frame.width)
        encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1)
        path = context.workdir / f"{width}.png"
        path.write_bytes(b"".join(map(bytes, encoder.encode(frame.reformat(encoder.width, encoder.height, "rgb24")))))
        links[str(width)] = context.publish(path, path.name)
        context.progress(number / len(widths), path.name)
    return {"links": links}


RENDITIONS = register(Pipeline("renditions", (Stage("render", render),), Params, needs_url=False, requires=("av",)))
