"""A long film in parts (`media_in_parts`): what the worker's own process does. The rest is done inside the walls.

What cannot be done in parts is done as in `media`: a short film, one that cannot be cut, and what a part of the speech failed of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import InternalError, StageError
from pipeline_jobs.media.stages import Child, InChild, bring_whisper

#: Of one film, whatever a child says.
MAX_PARTS = 2_000
#: How the files of parts are called.
_FILE = re.compile(r"sound|(?:picture-|hear-)\d{1,5}(?:\.wav|\.json)?")
#: What a part of the film may be.
_KINDS = ("picture", "sound")
#: What the parts of the speech gave, in order; null: that part failed.
RECOGNISED = "recognised.json"

#: What a part is given: data, and files.
Given = tuple[Mapping[str, Any], Sequence[Path]]


def is_long(context: JobContext, seconds: object) -> bool:
    """Media that plays so long is worth being cut."""
    return isinstance(seconds, int | float) and seconds > context.params["whole_seconds"]


def cut_film(context: JobContext) -> Iterator[Given]:
    """The parts of stage `transcode`; none: it is done as a whole."""
    if not is_long(context, context.data["media"]["duration"]) or context.data["media"]["video"] is None:
        return
    found = _asked(context, "film_parts:cut").get("parts", [])
    if not isinstance(found, list) or len(found) > MAX_PARTS:
        raise InternalError("a stage named parts that cannot be")
    for about in found:
        yield about, [_own(context, about["file"])]


def film_part(context: JobContext, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run one part of stage `transcode`."""
    if data["kind"] not in _KINDS:
        raise InternalError("a stage named a part that cannot be")
    with Child(context) as child:
        return child.run(f"film_parts:{data['kind']}", data)


def join_film(context: JobContext, results: Sequence[Any]) -> Mapping[str, Any]:
    """What stage `transcode` gives, of what its parts gave."""
    if results and (found := context.opened(Child).run("film_join:join", {**context.data, "results": list(results)})):
        return found
    return InChild("transcode")(context)


def listen(context: JobContext) -> Mapping[str, Any]:
    """Stage `listen`: of a long sound where somebody speaks, in which language, and what a part of it is to be. Nothing of a short one."""
    if context.data["speech"] is None or not is_long(context, context.data["output_media"]["duration"]):
        return {}
    bring_whisper(context)
    return _asked(context, "speech_parts:plan")


def cut_speech(context: JobContext) -> Iterator[Given]:
    """The parts of stage `recognise`; none: `transcribe` does it all."""
    if context.data.get("speech_parts", 0) < 2:
        return
    found = _asked(context, "speech_parts:cut_sound").get("cut", 0)
    if not isinstance(found, int) or found > MAX_PARTS:
        raise InternalError("a stage named parts that cannot be")
    for number in range(found):
        yield {}, [_own(context, f"hear-{number}.wav"), _own(context, f"hear-{number}.json")]


def speech_part(context: JobContext, files: Sequence[Path]) -> Mapping[str, Any]:
    """Run one part of stage `recognise`."""
    bring_whisper(context)
    sound, about = (path.name for path in files)
    with Child(context) as child:
        return child.run("speech_parts:recognise", {"sound": sound, "about": about})


def join_speech(context: JobContext, results: Sequence[Any]) -> Mapping[str, Any]:
    """For `transcribe`, which does again what failed: so its errors are those of the stage, and cost what the job says (`on_error`)."""
    if not results:
        return {}
    rows = [dict(one) if isinstance(one, Mapping) else None for one in results]
    (context.workdir / RECOGNISED).write_text(json.dumps(rows), "utf-8")
    return {"recognised": RECOGNISED}


def _asked(context: JobContext, what: str) -> Mapping[str, Any]:
    """What the child gives; nothing, if it fails: the whole will meet what a part of it has met."""
    try:
        return InChild(what)(context)
    except StageError as error:
        context.logger.warning("not in parts", stage=context.stage, code=error.code, error=error.message)
        return {}


def _own(context: JobContext, name: object) -> Path:
    """A file that the child made for a part. Its name may be a hostile file's.

    :raises InternalError: it names another one.
    """
    if not isinstance(name, str) or not _FILE.fullmatch(name) or (path := context.workdir / name).is_symlink() or not path.is_file():
        raise InternalError("a stage named a file that is none of its own")
    return path
