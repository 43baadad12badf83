"""The speech of a long film in parts, inside the walls: where it is cut, and what one part is given.

A part is some of the very pieces that the whole would be recognised in, with times of the whole. So the words are the same, to the letter.
"""

from __future__ import annotations

import json
import math
import wave
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.media import transcribe, voice
from pipeline_jobs.media.in_parts import MAX_PARTS
from pipeline_jobs.media.voice import RATE, Span

#: What is known of the sound, and the pieces of each part.
LISTENING = "listening.json"


def plan(context: JobContext) -> dict[str, Any]:
    """Stage `listen`. Needs what `transcribe.run` needs, and `part_seconds`.

    :return: `{"listening": "listening.json", "speech_parts": how many}`
    :raises LanguageUnsupported, BadParameters: as `transcribe.run` would.
    """
    listening = transcribe.listen(context, lambda done: context.progress(done, "listening"))
    # Told now, and not by each part.
    transcribe.chosen(context, listening)
    pieces = [span for span, _ in voice.pieces(context.workdir / context.data["speech"], voice.joined(listening.spoken))]
    parts = cut(pieces, context.params["part_seconds"])
    (context.workdir / LISTENING).write_text(
        json.dumps({**listening._asdict(), "asked": transcribe.asks(context), "parts": parts}), "utf-8"
    )
    return {"listening": LISTENING, "speech_parts": len(parts)}


def cut(pieces: Sequence[Span], seconds: float) -> list[list[Span]]:
    """Pieces, in order, as parts of about the same length: none plays much longer than `seconds`, unless there would be too many."""
    if not pieces:
        return []
    first, whole = pieces[0][0], pieces[-1][1] - pieces[0][0]
    each = whole / min(math.ceil(whole / (seconds * RATE)), MAX_PARTS)
    return [list(part) for _, part in groupby(pieces, lambda piece: int(((piece[0] + piece[1]) / 2 - first) // each))]


def cut_sound(context: JobContext) -> dict[str, Any]:
    """Write `hear-0.wav` and `hear-0.json` of the first part, and so on. Needs `listening` and `speech`. :return: `{"cut": how many}`"""
    if (known := transcribe.known_of(context)) is None:
        return {"cut": 0}
    listening = transcribe.listening_of(known)
    with wave.open(str(context.workdir / context.data["speech"]), "rb") as whole:
        for number, pieces in enumerate(map(transcribe.spans, known["parts"])):
            begin, end = pieces[0][0], pieces[-1][1]
            _write(context.workdir / f"hear-{number}.wav", whole, begin, end)
            spoken = [span for span in listening.spoken if span[1] > begin and span[0] < end]
            about = {**listening._replace(spoken=spoken)._asdict(), "pieces": pieces}
            (context.workdir / f"hear-{number}.json").write_text(json.dumps(about), "utf-8")
    return {"cut": len(known["parts"])}


def _write(path: Path, whole: wave.Wave_read, begin: int, end: int) -> None:
    whole.setpos(begin)
    with wave.open(str(path), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(end - begin))


def recognise(context: JobContext) -> dict[str, Any]:
    """A part. Needs `sound` and `about`, its two files. :return: `transcribe.Said.row`."""
    about = json.loads((context.workdir / context.data["about"]).read_text("utf-8"))
    pieces, path = transcribe.spans(about["pieces"]), context.workdir / context.data["sound"]
    told = context.progress
    said = transcribe.recognised(
        context, path, pieces, transcribe.listening_of(about), lambda done: told(done, "transcribing"), pieces[0][0]
    )
    return said.row
