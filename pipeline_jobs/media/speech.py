"""Speech models, one shape for all: `engine.transcribe(samples) -> [Phrase]`. Loaded at first use, kept by the process."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline_jobs.exceptions import BadParameters
from pipeline_jobs.media import languages, voice
from pipeline_jobs.media.languages import Heard

# Both are optional: moonshine has no wheel for every platform (macOS on ARM), Whisper is the extra `[whisper]`.
try:
    import moonshine_voice
    from moonshine_voice.errors import check_error
    from moonshine_voice.transcriber import Transcriber, TranscriptC
except ImportError:
    moonshine_voice = None
try:
    import faster_whisper  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:
    faster_whisper = None

#: Samples a second that `transcribe` takes.
RATE = 16_000
_SIZES = ("tiny", "base", "small", "medium", "turbo", "large-v3", "large")

#: A longer word is none (the longest of English dictionaries has 45 letters): the model got stuck in it,
LONGEST_WORD = 45
#: and a piece of fewer seconds is not cut in two to get rid of it.
SHORTEST_HALVED = 4.0

Samples = npt.NDArray[np.float32]


class Word(NamedTuple):
    """One word, when it was said, and how sure the model is of it (0.0-1.0)."""

    start: float
    end: float
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Phrase:
    """What was said, and when: seconds from the start of the samples."""

    start: float
    end: float
    text: str
    #: Of a model that tells them: all words of the text, in order.
    words: tuple[Word, ...] = ()


class Engine(Protocol):
    @property
    def name(self) -> str:
        """For the result: model and size; one that knows English only ends with `-en`."""

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        """Up to 30 s of sound (-1.0 to 1.0, mono, 16 kHz) as phrases in order; language None: find out.

        The same samples give the same phrases, whatever was heard before: a process serves many tenants.
        """


class Moonshine:
    """Moonshine tiny, whose English model comes inside the wheel: 0.05-0.3 of real time on a CPU, about 250 MB."""

    name = "moonshine-tiny-en"

    def __init__(self) -> None:
        # 0 turns its own voice detector off. That one is never reset: what it heard before (of another tenant, too) decides where
        # it cuts, and it leaves stumps in which the model invents words. Ours (voice.py) goes first.
        options = {"vad_threshold": "0", "return_audio_data": "false"}
        self._model = Transcriber(moonshine_voice.get_model_path("tiny-en"), moonshine_voice.ModelArch.TINY, options=options)

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        text = " ".join(word for line in self._lines(samples) for word in line.text.split())
        if is_stuck(text):
            return self._in_halves(samples, language)
        return [Phrase(0.0, len(samples) / RATE, text)] if text else []

    def _lines(self, samples: Samples) -> Sequence[Any]:
        """As the library's `transcribe_without_streaming`, which takes a list: 32 bytes a sample, and as many once more."""
        model, found = self._model, ctypes.POINTER(TranscriptC)()
        sound = np.ascontiguousarray(samples, dtype=np.float32)
        start = sound.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        check_error(model._lib.moonshine_transcribe_without_streaming(model._handle, start, len(sound), RATE, 0, ctypes.byref(found)))
        lines: Sequence[Any] = model._parse_transcript(found).lines
        return lines

    def _in_halves(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        """A piece that the model got stuck in, cut in two: mostly it hears both. Of the shortest nothing is kept."""
        if len(samples) < SHORTEST_HALVED * RATE:
            return []
        cut = voice.quietest(samples, len(samples) // 4, len(samples) * 3 // 4)
        later = (Phrase(p.start + cut / RATE, p.end + cut / RATE, p.text) for p in self.transcribe(samples[cut:], language))
        return [*self.transcribe(samples[:cut], language), *later]


class Whisper:
    """faster-whisper: for many languages, and with the times of words; 0.2-0.7 of real time on a CPU, 350-500 MB."""

    def __init__(self, model: Path) -> None:
        self.name = _whispers_name(model)
        self._model = faster_whisper.WhisperModel(str(model), device="auto", compute_type="int8", local_files_only=True)

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        code = "jw" if language == "jv" else language
        found, _ = self._model.transcribe(samples, language=code, condition_on_previous_text=False, word_timestamps=True)
        return [_phrase(part) for part in found if part.text.strip()]

    def language(self, samples: Samples) -> Heard:
        """Of up to 30 s of speech."""
        _, _, probabilities = self._model.detect_language(samples)
        return languages.heard({str(language): float(probability) for language, probability in probabilities}, self.name)


def _whispers_name(model: Path) -> str:
    """`whisper-base` of a folder of any of the usual names."""
    return next((f"whisper-{word}" for word in _SIZES if word in model.name), "whisper")


def _phrase(part: Any) -> Phrase:
    words: list[Word] = []
    for word in part.words or ():
        if words and not word.word.startswith(" "):
            # A part of the word before: "l" and "'eau".
            last = words.pop()
            words.append(Word(last.start, float(word.end), last.text + word.word.strip(), min(last.confidence, float(word.probability))))
        else:
            words.append(Word(float(word.start), float(word.end), word.word.strip(), float(word.probability)))
    text = " ".join(word.text for word in words) if words else " ".join(part.text.split())
    return Phrase(float(part.start), float(part.end), text, tuple(words))


def is_stuck(text: str) -> bool:
    """The model wrote one letter after the other without an end ("2333333..."), as it may in a piece that begins inside a sentence."""
    return any(len(word) > LONGEST_WORD for word in text.split())


#: A stage may ask for what is just being loaded for it (`ahead.py`).
_one_at_a_time = threading.Lock()


def load(name: str, model: Path | None = None) -> Engine:
    """The engine `name` of `languages.choose`. It is kept; a worker's parent must not call this, or every child would hold a copy.

    :param model: the folder of Whisper's.
    """
    with _one_at_a_time:
        return _load(name, model)


@lru_cache(maxsize=2)
def _load(name: str, model: Path | None) -> Engine:
    if name == "moonshine":
        return Moonshine()
    if model is None:
        raise BadParameters(languages.not_installed(name))
    return Whisper(model)
