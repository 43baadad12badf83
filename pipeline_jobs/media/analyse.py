"""Stage `analyse`: language, summary and keywords of the transcript."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from py3langid.langid import MODEL_FILE, LanguageIdentifier
from sumy.utils import get_stop_words

from pipeline_jobs.context import JobContext
from pipeline_jobs.media.keywords import rank
from pipeline_jobs.media.languages import LanguageUnsupported
from pipeline_jobs.media.sentences import sentences, words
from pipeline_jobs.media.spoken_numbers import is_number
from pipeline_jobs.media.summary import central

#: Each sentence is compared with each: longer texts are summarised in parts, then the parts' summaries.
PART = 150
#: Fewer words than this, or a guess less sure: no language is named.
ENOUGH_WORDS, ENOUGH_PROBABILITY = 4, 0.5
#: A model that knows English only writes English whatever is spoken, and repeats itself when it is something else: from this share
#: of repeated word triples in `WINDOW` seconds on, the language is uncertain. Less than `ENOUGH_TRIPLES` words tell nothing.
REPEATED, WINDOW, ENOUGH_TRIPLES = 0.18, 40.0, 20
#: sumy's names of the stop word lists it has.
_STOP_WORDS = {
    "ar": "arabic", "cs": "czech", "de": "german", "el": "greek", "en": "english", "es": "spanish", "fr": "french", "it": "italian",
    "pl": "polish", "pt": "portuguese", "sk": "slovak", "sv": "swedish", "uk": "ukrainian",
}  # fmt: skip


def run(context: JobContext) -> dict[str, Any]:
    """Needs `transcript`, `segments`, `speech_model`, params `language`, `summary_sentences` and `keywords`.

    :return: `{"language": "en" | None, "summary": str, "keywords": [str], "warnings": [str]}`. The language is that of
        the transcript, ISO 639-1. An empty transcript has none, "" and []; one whose language is uncertain as well, and a
        warning that begins with `language_uncertain: `.
    :raises LanguageUnsupported: the same, where the job must not go on then (`on_language`).
    """
    transcript = context.data["transcript"]
    if is_uncertain(context):
        if context.params.get("on_language") == "fail":
            raise LanguageUnsupported(UNCERTAIN.partition(": ")[2])
        context.progress(1.0, "analysed")
        return {"language": None, "summary": "", "keywords": [], "warnings": [UNCERTAIN]}
    language = context.data.get("spoken_language") or find_language(transcript)
    context.progress(0.3, "language found")
    summary = summarise(context, transcript, language, context.params.get("summary_sentences", 3))
    context.progress(0.7, "summarised")
    keywords = find_keywords(transcript, language, context.params.get("keywords", 10))
    context.progress(1.0, "analysed")
    return {"language": language, "summary": summary, "keywords": keywords, "warnings": _warnings(context, language)}


UNCERTAIN = (
    "language_uncertain: the speech model knows English only, and its transcript repeats itself as it does with other languages: do not "
    "rely on it. If English is spoken, set params.language to 'en'; if not, use a speech model that knows the language (whisper)."
)


def is_uncertain(context: JobContext) -> bool:
    """The model knows English only, nobody said that English is spoken, and the transcript repeats itself.

    Set on 20 clips in other languages (18 found) and 24 in English (none found): a sign, no proof. German is found seldom.
    """
    if not _knows_english_only(context) or context.params.get("language", "auto") != "auto" or context.data.get("spoken_language"):
        return False
    return repetition(context.data.get("segments", ())) >= REPEATED


def repetition(segments: Sequence[Mapping[str, Any]]) -> float:
    """The share of word triples that were there before in the same `WINDOW` seconds; 0.0 if there are too few to tell.

    By windows, for in a long talk in good English many triples come again.
    """
    spoken: dict[int, list[str]] = defaultdict(list)
    for segment in segments:
        spoken[int(segment["start"] // WINDOW)] += words(segment["text"].lower())
    triples = [list(zip(said, said[1:], said[2:], strict=False)) for said in spoken.values()]
    count = sum(map(len, triples))
    return 1 - sum(len(set(window)) for window in triples) / count if count >= ENOUGH_TRIPLES else 0.0


def find_language(text: str) -> str | None:
    """ISO 639-1 code, or None if there is too little to tell."""
    if len(words(text)) < ENOUGH_WORDS:
        return None
    language, probability = _identifier().classify(text)
    return str(language) if probability >= ENOUGH_PROBABILITY else None


def summarise(context: JobContext, text: str, language: str | None, count: int) -> str:
    """The `count` most central sentences, in the order of the text; fewer, where others say what one of them says."""
    chosen, stop_words = sentences(text), _stop_words(language)
    while len(chosen) > PART:
        parts = [chosen[begin : begin + PART] for begin in range(0, len(chosen), PART)]
        chosen = []
        for part in parts:
            context.check_cancelled()
            chosen += central(part, stop_words, max(count, PART // 5))
    return " ".join(central(chosen, stop_words, count))


def find_keywords(text: str, language: str | None, count: int) -> list[str]:
    """Up to `count` words that stand out, by TextRank, the best first."""
    return rank([word for word in words(text) if not is_number(word, language)], _stop_words(language), count)


def _stop_words(language: str | None) -> frozenset[str]:
    name = _STOP_WORDS.get(language or "")
    return frozenset(get_stop_words(name)) if name else frozenset()


def _warnings(context: JobContext, language: str | None) -> list[str]:
    if language not in (None, "en") and _knows_english_only(context):
        return [f"The speech model knows English only, but the transcript reads as {language!r}: do not rely on it."]
    return []


def _knows_english_only(context: JobContext) -> bool:
    return str(context.data.get("speech_model", "")).endswith("-en")


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
