"""Stage `transcribe`: the speech as text with times, in pieces that end in pauses."""

from __future__ import annotations

from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import BadParameters
from pipeline_jobs.media import speech, voice
from pipeline_jobs.media.speech import Phrase
from pipeline_jobs.media.voice import Span

#: Part of the stage's time that the search for speech takes; the model has the rest.
SEARCH = 0.3


def run(context: JobContext) -> dict[str, Any]:
    """Needs `speech`, `speech_start`, params `language` and `speech_model`; gives the words.

    :return: `{"transcript": str, "segments": [{"start": 0.0, "end": 2.4, "text": "..."}], "speech_model": name}`: times in
        seconds of the film. Silence gives "" and [].
    :raises BadParameters: the model is not installed, or does not know the language.
    """
    language = context.params.get("language", "auto")
    engine = speech.load(speech.choose(context.params.get("speech_model", "auto")))
    if engine.languages is not None and language != "auto" and language not in engine.languages:
        known = ", ".join(sorted(engine.languages))
        raise BadParameters(f"params.language: the speech model {engine.name} knows only: {known}")
    context.progress(0.0, "listening")
    path, offset = context.workdir / context.data["speech"], context.data["speech_start"]
    spans = voice.spans(path, lambda done: context.progress(done * SEARCH, "listening"))
    spoken, heard = sum(end - begin for begin, end in spans), 0
    phrases: list[Phrase] = []
    for span, samples in voice.pieces(path, spans):
        found = engine.transcribe(samples, None if language == "auto" else language)
        phrases += [_placed(phrase, span, offset) for phrase in found]
        heard += len(samples)
        context.progress(SEARCH + (1 - SEARCH) * heard / spoken, "transcribing")
    if not spans:
        context.progress(1.0, "no speech found")
    return {
        "transcript": " ".join(phrase.text for phrase in phrases),
        "segments": [{"start": round(p.start, 2), "end": round(p.end, 2), "text": p.text} for p in phrases],
        "speech_model": engine.name,
    }


def _placed(phrase: Phrase, span: Span, offset: float) -> Phrase:
    """A phrase of a piece in the time of the film. A model may set its end behind the piece's, where the next one begins."""
    begin, end = (sample / speech.RATE for sample in span)
    return Phrase(min(phrase.start + begin, end) + offset, min(phrase.end + begin, end) + offset, phrase.text)
