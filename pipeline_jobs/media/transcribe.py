"""Stage `transcribe`: the speech as text with times, in pieces that end in pauses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

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


class Listening(NamedTuple):
    """What is known of the sound before any of it is recognised."""

    #: Where somebody speaks, in samples.
    spoken: list[Span]
    heard: Heard
    warnings: list[str]


#: Pieces of the sound, and what a part of the job has recognised in them; None: nothing, yet.
Share = tuple[Sequence[Span], "Said | None"]


@dataclass(slots=True)
class Said:
    """What was recognised, with times of the sound."""

    cues: list[Cue] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    #: How much of each kind was masked.
    masked: Counter[str] = field(default_factory=Counter)
    speech_model: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """For JSON."""
        return {"cues": self.cues, "words": self.words, "masked": dict(self.masked), "speech_model": self.speech_model}

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Said:
        """What `row` gave, by way of JSON."""
        found, words = [Cue(*one) for one in row["cues"]], [Word(*one) for one in row["words"]]
        return cls(found, words, Counter(row["masked"]), row["speech_model"])

    def add(self, later: Said) -> None:
        self.cues += later.cues
        self.words += later.words
        self.masked += later.masked
        self.speech_model = later.speech_model


def run(context: JobContext) -> dict[str, Any]:
    """Needs `speech`, `speech_start`, params `language`, `speech_model`, `on_language`, `numbers` and `mask`; gives the words.

    What parts have recognised before (`listening`, `recognised`: see `speech_parts`) is not recognised again.

    :return: `{"transcript": str, "segments": [{"start": 0.0, "end": 2.4, "text": "..."}], "speech_model": name, "spoken_language":
        "en" | None, "listened_by": name | None, "words": "words.json" | None, "warnings": [...]}`: times in seconds of the film; each
        segment is a caption. Silence gives "" and [], and a warning; a film without a sound track is as silent: model None.
        `spoken_language` is what was asked for or heard for sure, by the model `listened_by`. `words.json` is there if the model tells
        words: `[{"start", "end", "text", "confidence"}]`. With `mask` all of it is masked, and `masked` counts: `{"email": 1}`.
    :raises LanguageUnsupported: the model does not know the language. :raises BadParameters: the model is not installed.
    """
    if context.data["speech"] is None:
        return {**NOTHING, "spoken_language": None, "listened_by": None, "words": None}
    offset, (listening, shares) = context.data["speech_start"], _shares(context)
    said = _together(context, listening, shares)
    found, words = said.cues, said.words
    if not listening.spoken:
        context.progress(1.0, "no speech found")
    return {
        "transcript": " ".join(cue.text for cue in found),
        "segments": [{"start": round(c.start + offset, 2), "end": round(c.end + offset, 2), "text": c.text} for c in found],
        "speech_model": said.speech_model,
        "spoken_language": listening.heard.sure,
        "listened_by": listening.heard.by,
        "words": _written(context.workdir / WORDS, words, offset) if words else None,
        "warnings": listening.warnings if found else [NOTHING_HEARD],
        **({"masked": dict(said.masked)} if context.params.get("mask") else {}),
    }


def _shares(context: JobContext) -> tuple[Listening, list[Share]]:
    """What is known of the sound; and its pieces, all at once, or as they were given to parts of the job."""
    if (known := known_of(context)) is None:
        context.progress(0.0, "listening")
        listening = listen(context, lambda done: context.progress(done * SEARCH, "listening"))
        return listening, [(voice.joined(listening.spoken), None)]
    given = context.data.get("recognised")
    rows = json.loads((context.workdir / given).read_text("utf-8"))[: len(known["parts"])] if given else []
    shares: list[Share] = [(pieces, Said.read(row) if row else None) for pieces, row in zip_longest(known["parts"], rows)]
    # Where nobody speaks there is no part; the result names the model all the same.
    return listening_of(known), shares or [([], None)]


def asks(context: JobContext) -> dict[str, Any]:
    """What the job says of its transcript."""
    return {name: context.params.get(name) for name in languages.PARAMS}


def known_of(context: JobContext) -> dict[str, Any] | None:
    """What the stages before have found (`listening`); None: nothing, or for a job that asked for something else (a retry may)."""
    name = context.data.get("listening")
    known: dict[str, Any] = json.loads((context.workdir / name).read_text("utf-8")) if name else {}
    return known if known and known.get("asked") == asks(context) else None


def listening_of(known: Mapping[str, Any]) -> Listening:
    """As `Listening._asdict` gives it, by way of JSON."""
    return Listening(spans(known["spoken"]), Heard(*known["heard"]), known["warnings"])


def listen(context: JobContext, told: Callable[[float], None]) -> Listening:
    """Find the speech, unless it has been found before (`spoken`), and its language.

    :raises LanguageUnsupported: it is not known, and the job must not go on then.
    """
    path = context.workdir / context.data["speech"]
    spoken = _spoken_before(context)
    spoken = voice.stretches(path, told) if spoken is None else spoken
    heard, warnings = _language(context, path, voice.joined(spoken), context.params.get("language", "auto"))
    style = context.params.get("numbers", "heard")
    if not spoken_numbers.known(style, heard.sure):
        warnings.append(NUMBERS.format(language=heard.sure, style=style))
    return Listening(spoken, heard, warnings)


def _spoken_before(context: JobContext) -> list[Span] | None:
    """What the stage before found of the speech; None: it did not look."""
    name = context.data.get("spoken")
    return spans(json.loads((context.workdir / name).read_text("utf-8"))) if name else None


def spans(rows: Iterable[Sequence[int]]) -> list[Span]:
    """Spans as JSON has them, as pairs of numbers again."""
    return [(begin, end) for begin, end in rows]


def _together(context: JobContext, listening: Listening, shares: Sequence[Share]) -> Said:
    """What all of the sound says, in order."""
    said, path = Said(), context.workdir / context.data["speech"]
    left = [len(pieces) for pieces, known in shares if known is None]
    begin, each = SEARCH, (1 - SEARCH) / (sum(left) or 1)
    for pieces, known in shares:
        told = partial(_tell, context, begin, each * len(pieces))
        said.add(recognised(context, path, spans(pieces), listening, told) if known is None else known)
        begin += each * len(pieces) if known is None else 0.0
    return said


def _tell(context: JobContext, begin: float, share: float, fraction: float) -> None:
    context.progress(begin + share * fraction, "transcribing")


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


def chosen(context: JobContext, listening: Listening) -> str:
    """The name of the engine.

    :raises LanguageUnsupported: the model does not know the language. :raises BadParameters: the model is not installed.
    """
    return languages.choose(context.params.get("speech_model", "auto"), listening.heard.sure)


def _engine(context: JobContext, name: str) -> Engine:
    return speech.load(name) if name == "moonshine" else speech.load(name, whisper_model.folder(context.settings.whisper_model))


class _Writer:
    """Writes phrases of a piece as cues, without what is to be masked."""

    def __init__(self, spoken: Sequence[Span], style: Style, heard: Heard, mask: Collection[str] = ()) -> None:
        self._spoken, self._style, self.heard, self.mask = spoken, style, heard, mask
        #: How much of each kind was masked.
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


def recognised(
    context: JobContext, path: Path, pieces: Sequence[Span], listening: Listening, told: Callable[[float], None], first: int = 0
) -> Said:
    """What is said in these pieces of the sound. A file that has only a part of it begins with the sample `first`.

    :raises LanguageUnsupported: the model does not know the language. :raises BadParameters: the model is not installed.
    """
    engine = _engine(context, chosen(context, listening))
    writer = _Writer(listening.spoken, context.params.get("numbers", "heard"), listening.heard, context.params.get("mask", ()))
    whole, done = sum(end - begin for begin, end in pieces), 0
    said = Said(masked=writer.masked, speech_model=engine.name)
    for piece, samples in voice.pieces(path, pieces, first):
        for phrase in writer.to_write(engine.transcribe(samples, listening.heard.language)):
            cues_of, words = writer.cues(phrase, piece)
            said.cues += cues_of
            said.words += words
        done += len(samples)
        told(done / whole)
    return said


def _written(path: Path, words: Sequence[Word], offset: float) -> str:
    """Write the words into a file: an hour of speech has ten thousand."""
    rows = [(round(word.start + offset, 2), round(word.end + offset, 2), word.text, round(word.confidence, 3)) for word in words]
    lines = [json.dumps(dict(zip(("start", "end", "text", "confidence"), row, strict=True)), ensure_ascii=False) for row in rows]
    path.write_text("[" + ",\n".join(lines) + "]\n", encoding="utf-8")
    return path.name
