"""Stage `render`: makes the outputs that were asked for, one after the other. One that cannot be made is left out with a warning."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import MediaError
from pipeline_jobs.media.container import damaged_by_ffmpeg
from pipeline_jobs.media.outputs.catalogue import Need, Output, wanted
from pipeline_jobs.media.outputs.making import CannotMake, Made, Making


def run(context: JobContext) -> dict[str, Any]:
    """Needs `output`, `output_media`, `speech`, `segments`, params `outputs` and `preset`; gives `made`.

    :return: `{"made": {"hls": {"files": ["hls.m3u8", ...], "duration": seconds | None}}, "warnings": [str]}`, and the fields of the
        result that the outputs give. The warning of one that was left out begins with `output_left_out: {name}: `.
    """
    made: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    warnings: list[str] = []
    outputs = wanted(context.params)
    ends = [0.0, *accumulate(output.weight for output in outputs)]
    for number, output in enumerate(outputs):
        making = Making(context, output, (ends[number] / ends[-1], ends[number + 1] / ends[-1]))
        try:
            one = _made(making)
        except (CannotMake, MediaError) as error:
            making.remove()
            warnings.append(f"output_left_out: {output.name}: {error}")
            continue
        made[output.name] = {"files": list(one.files), "duration": one.duration}
        fields.update(one.fields)
        context.data.update(one.fields)
    return {"made": made, "warnings": warnings, **fields}


def _made(making: Making) -> Made:
    """:raises CannotMake, MediaError: it is left out."""
    output = making.output
    for need in output.needs:
        if not _has(making.context.data, need):
            raise CannotMake(need.value)
    if output.lacks:
        raise CannotMake(f"{', '.join(output.lacks)} is not installed here ({output.extra})")
    making.step(0.0)
    with damaged_by_ffmpeg():
        made = _maker(output)(making)
    making.done(made)
    return made


def _has(data: Mapping[str, Any], need: Need) -> bool:
    has = {
        Need.PICTURE: (data.get("output_media") or {}).get("width") is not None,
        Need.SOUND: data.get("speech") is not None,
        Need.WORDS: bool(data.get("segments")),
    }
    return has[need]


def _maker(output: Output) -> Callable[[Making], Made]:
    """Imported when it is needed: each has libraries of its own, and few jobs want all."""
    module, _, function = output.maker.partition(":")
    found: Callable[[Making], Made] = getattr(importlib.import_module(f"pipeline_jobs.media.outputs.{module}"), function)
    return found
