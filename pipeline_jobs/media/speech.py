"""Speech models, one shape for all: `engine.transcribe(samples) -> [Phrase]`. Loaded at first use, kept by the process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from pipeline_jobs.exceptions import BadParameters
from pipeline_jobs.media import voice

# Both are optional: moonshine has no wheel for every platform (macOS on ARM), Whisper is the extra `[whisper]`.
try:
    import moonshine_voice
    from moonshine_voice.transcriber import Transcriber
except ImportError:
    moonshine_voice = None
try:
    import faster_whisper  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:
    faster_whisper = None

#: Samples a second that `transcribe` takes.
RATE = 16_000
#: Whisper's model: a size that the hub knows (HF_HOME says in which folder it lies).
WHISPER_MODEL = "base"

#: A longer word is none (the longest of English dictionaries has 45 letters): the model got stuck in it,
LONGEST_WORD = 45
#: and a piece of fewer seconds is not cut in two to get rid of it.
SHORTEST_HALVED = 4.0

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Phrase:
    """What was said, and when: seconds from the start of the samples."""

    start: float
    end: float
    text: str


class Engine(Protocol):
    #: For the result: model and size.
    name: ClassVar[str]
    #: ISO 639-1 codes that it knows; None: (nearly) all.
    languages: ClassVar[frozenset[str] | None]

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        """Up to 30 s of sound (-1.0 to 1.0, mono, 16 kHz) as phrases in order; language None: find out.

        The same samples give the same phrases, whatever was heard before: a process serves many tenants.
        """


class Moonshine:
    """Moonshine tiny, whose English model comes inside the wheel: 0.05-0.3 of real time on a CPU, about 250 MB."""

    name: ClassVar[str] = "moonshine-tiny-en"
    languages: ClassVar[frozenset[str] | None] = frozenset({"en"})

    def __init__(self) -> None:
        # 0 turns its own voice detector off. That one is never reset: what it heard before (of another tenant, too) decides where
        # it cuts, and it leaves stumps in which the model invents words. Ours (voice.py) goes first.
        options = {"vad_threshold": "0", "return_audio_data": "false"}
        self._model = Transcriber(moonshine_voice.get_model_path("tiny-en"), moonshine_voice.ModelArch.TINY, options=options)

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        lines = self._model.transcribe_without_streaming(samples.tolist(), RATE).lines
        text = " ".join(word for line in lines for word in line.text.split())
        if is_stuck(text):
            return self._in_halves(samples, language)
        return [Phrase(0.0, len(samples) / RATE, text)] if text else []

    def _in_halves(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        """A piece that the model got stuck in, cut in two: mostly it hears both. Of the shortest nothing is kept."""
        if len(samples) < SHORTEST_HALVED * RATE:
            return []
        cut = voice.quietest(samples, len(samples) // 4, len(samples) * 3 // 4)
        later = (Phrase(p.start + cut / RATE, p.end + cut / RATE, p.text) for p in self.transcribe(samples[cut:], language))
        return [*self.transcribe(samples[:cut], language), *later]


class Whisper:
    """faster-whisper: better and for many languages, slower; `stages.transcribe` has the model downloaded at first use."""

    name: ClassVar[str] = f"whisper-{WHISPER_MODEL}"
    languages: ClassVar[frozenset[str] | None] = None

    def __init__(self) -> None:
        self._model = faster_whisper.WhisperModel(WHISPER_MODEL, device="auto", compute_type="default")

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        found, _ = self._model.transcribe(samples, language=language, condition_on_previous_text=False)
        return [Phrase(float(part.start), float(part.end), text) for part in found if (text := " ".join(part.text.split()))]


def is_stuck(text: str) -> bool:
    """The model wrote one letter after the other without an end ("2333333..."), as it may in a piece that begins inside a sentence."""
    return any(len(word) > LONGEST_WORD for word in text.split())


def choose(wanted: str) -> str:
    """Which engine to load: `wanted` ("moonshine", "whisper"), or for "auto" Moonshine if it is here, else Whisper.

    :raises BadParameters: it is not installed.
    """
    here: dict[str, Any] = {"moonshine": moonshine_voice, "whisper": faster_whisper}
    if wanted == "auto":
        wanted = next((name for name, module in here.items() if module is not None), "whisper")
    if here[wanted] is None:
        raise BadParameters(f"the speech model {wanted!r} is not installed on this server")
    return wanted


def download(done: Path) -> None:
    """Bring Whisper's model to this machine, and make the file `done` if its folder can be written."""
    faster_whisper.download_model(WHISPER_MODEL)
    with suppress(OSError):
        done.touch()


@lru_cache(maxsize=1)
def load(name: str) -> Engine:
    """The engine `name` of `choose`. One is kept; a worker's parent must not call this, or every child would hold a copy."""
    return Moonshine() if name == "moonshine" else Whisper()
