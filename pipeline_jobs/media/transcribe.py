"""Stage `transcribe`: the speech as text with times, in pieces that end in pauses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.media import cues, languages, personal, speech, spoken_numbers, voice, whisper_model
from pipeline_jobs.media.cues import Cue
from pipeline_jobs.media.languages import Heard, LanguageUnsupported
from pipeline_jobs.media.on_error import NOTHING
from pipeline_jobs.media.speech import Engine, Phrase, Whisper, Word
from pipeline_jobs.media.spoken_numbers import Style
from pipeline_jobs.media.voice import Span
from pipeline_jobs.media.word_times import aligned

#: Part of the stage's time that the search for speech takes; the model has the rest.
SEARCH = 0.3
#: So many seconds of speech tell the language (25 of 25 clips in 5 languages; of 5 s it is 20).
ENOUGH = 30.0
WORDS = "words.json"
NOTHING_HEARD = "nothing_heard: No speech was found in the sound, so the transcript is empty."
UNKNOWN = (
    "language_unknown: The sound does not say clearly in which language it is ({language}: {probability:.2f}), so do not rely on the "
    "transcript."
)
UNCHECKED = "language_unchecked: Whisper's model is not on this machine, so nobody listened for the language."
NUMBERS = "numbers_as_heard: The numbers of the language {language!r} cannot be written as {style}."


def run(context: JobContext) -> dict[str, Any]:
    """Needs `speech`, `speech_start`, params `language`, `speech_model`, `on_language`, `numbers` and `mask`; gives the words.

    :return: `{"transcript": str, "segments": [{"start": 0.0, "end": 2.4, "text": "..."}], "speech_model": name, "spoken_language":
        "en" | None, "listened_by": name | None, "words": "words.json" | None, "warnings": [...]}`: times in seconds of the film; each
        segment is a caption. Silence gives "" and [], and a warning; a film without a sound track is as silent: model None.
        `spoken_language` is what was asked for or heard for sure, by the model `listened_by`. `words.json` is there if the model tells
        words: `[{"start", "end", "text", "confidence"}]`. With `mask` all of it is masked, and `masked` counts: `{"email": 1}`.
    :raises LanguageUnsupported: the model does not know the language. :raises BadParameters: the model is not installed.
    """
    if context.data["speech"] is None:
        return {**NOTHING, "spoken_language": None, "listened_by": None, "words": None}
    asked, wanted = (context.params.get(name, "auto") for name in ("language", "speech_model"))
    context.progress(0.0, "listening")
    path, offset = context.workdir / context.data["speech"], context.data["speech_start"]
    spoken = voice.stretches(path, lambda done: context.progress(done * SEARCH, "listening"))
    pieces = voice.joined(spoken)
    heard, warnings = _language(context, path, pieces, asked)
    engine = _engine(context, languages.choose(wanted, heard.sure))
    style = context.params.get("numbers", "heard")
    if not spoken_numbers.known(style, heard.sure):
        warnings.append(NUMBERS.format(language=heard.sure, style=style))
    writer = _Writer(spoken, style, heard, context.params.get("mask", ()))
    found, words = _transcribe(context, engine, path, pieces, writer)
    if not spoken:
        context.progress(1.0, "no speech found")
    return {
        "transcript": " ".join(cue.text for cue in found),
        "segments": [{"start": round(c.start + offset, 2), "end": round(c.end + offset, 2), "text": c.text} for c in found],
        "speech_model": engine.name,
        "spoken_language": heard.sure,
        "listened_by": heard.by,
        "words": _written(context.workdir / WORDS, words, offset) if words else None,
        "warnings": warnings if found else [NOTHING_HEARD],
        **({"masked": dict(writer.masked)} if writer.mask else {}),
    }


def _language(context: JobContext, path: Path, pieces: Sequence[Span], asked: str) -> tuple[Heard, list[str]]:
    """What the job says of the language, or the sound, and warnings of what it does not say.

    :raises LanguageUnsupported: it does not say it, and the job must not go on then (`on_language`).
    """
    if asked != "auto":
        return Heard(asked, 1.0), []
    if "whisper" not in languages.installed() or not pieces:
        return Heard(), []
    if not whisper_model.is_here(whisper_model.folder(context.settings.whisper_model)):
        return Heard(), [UNCHECKED]
    engine = _engine(context, "whisper")
    assert isinstance(engine, Whisper)
    heard = engine.language(voice.sample(path, pieces, ENOUGH))
    if heard.sure:
        return heard, []
    warning = UNKNOWN.format(**heard._asdict())
    if context.params.get("on_language") == "fail":
        raise LanguageUnsupported(warning.partition(": ")[2])
    return heard, [warning]


def _engine(context: JobContext, name: str) -> Engine:
    return speech.load(name) if name == "moonshine" else speech.load(name, whisper_model.folder(context.settings.whisper_model))


class _Writer:
    """Writes phrases of a piece as cues, without what is to be masked."""

    def __init__(self, spoken: Sequence[Span], style: Style, heard: Heard, mask: Collection[str] = ()) -> None:
        self._spoken, self._style, self.heard, self.mask = spoken, style, heard, mask
        #: How much of each kind was.
        self.masked: Counter[str] = Counter()

    def to_write(self, phrases: Sequence[Phrase]) -> Sequence[Phrase]:
        """Those of one piece: a number that is said across two pieces is seen as two."""
        if not self.mask:
            return phrases
        kept, counts = personal.masked(phrases, self.mask, self.heard.sure)
        self.masked += counts
        return kept

    def cues(self, phrase: Phrase, piece: Span) -> tuple[list[Cue], list[Word]]:
        """In the time of the sound. A model may set its end behind the piece's, where the next one begins."""
        begin, end = (piece[0] / speech.RATE, piece[1] / speech.RATE)
        words = [word._replace(start=min(word.start + begin, end), end=min(word.end + begin, end)) for word in phrase.words]
        text = spoken_numbers.written(phrase.text, self._style, self.heard.sure)
        if words:
            return cues.of_words(aligned(text, words)), words
        first, last = (min(piece[0] + int(seconds * speech.RATE), piece[1]) for seconds in (phrase.start, phrase.end))
        return cues.cut(text, voice.within((first, last), self._spoken) or [(first / speech.RATE, last / speech.RATE)]), words


def _transcribe(context: JobContext, engine: Engine, path: Path, pieces: Sequence[Span], writer: _Writer) -> tuple[list[Cue], list[Word]]:
    whole, done = sum(end - begin for begin, end in pieces), 0
    found: list[Cue] = []
    words: list[Word] = []
    for piece, samples in voice.pieces(path, pieces):
        for phrase in writer.to_write(engine.transcribe(samples, writer.heard.language)):
            said, with_times = writer.cues(phrase, piece)
            found += said
            words += with_times
        done += len(samples)
        context.progress(SEARCH + (1 - SEARCH) * done / whole, "transcribing")
    return found, words


def _written(path: Path, words: Sequence[Word], offset: float) -> str:
    """Into a file: an hour has ten thousand."""
    rows = [(round(word.start + offset, 2), round(word.end + offset, 2), word.text, round(word.confidence, 3)) for word in words]
    lines = [json.dumps(dict(zip(("start", "end", "text", "confidence"), row, strict=True)), ensure_ascii=False) for row in rows]
    path.write_text("[" + ",\n".join(lines) + "]\n", encoding="utf-8")
    return path.name
