"""Speech models, one shape for all: `engine.transcribe(samples) -> [Phrase]`. Loaded at first use, kept by the process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from pipeline_jobs.exceptions import BadParameters

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
#: Whisper's model: a size that the hub knows (its own environment, HF_HOME and HF_HUB_OFFLINE, says from where).
WHISPER_MODEL = "base"

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
        """Up to 30 s of sound (-1.0 to 1.0, mono, 16 kHz) as phrases in order; language None: find out."""


class Moonshine:
    """Moonshine tiny, whose English model comes inside the wheel: 0.05-0.3 of real time on a CPU, about 250 MB."""

    name: ClassVar[str] = "moonshine-tiny-en"
    languages: ClassVar[frozenset[str] | None] = frozenset({"en"})

    def __init__(self) -> None:
        # Its own cut at 10 s falls inside words; ours (transcribe.py) falls into pauses.
        options = {"vad_max_segment_duration": "30", "return_audio_data": "false"}
        self._model = Transcriber(moonshine_voice.get_model_path("tiny-en"), moonshine_voice.ModelArch.TINY, options=options)

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        lines = self._model.transcribe_without_streaming(samples.tolist(), RATE).lines
        return [Phrase(line.start_time, line.start_time + line.duration, text) for line in lines if (text := " ".join(line.text.split()))]


class Whisper:
    """faster-whisper: better and for many languages, slower; the model is downloaded at first use."""

    name: ClassVar[str] = f"whisper-{WHISPER_MODEL}"
    languages: ClassVar[frozenset[str] | None] = None

    def __init__(self) -> None:
        self._model = faster_whisper.WhisperModel(WHISPER_MODEL, device="auto", compute_type="default")

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        found, _ = self._model.transcribe(samples, language=language, condition_on_previous_text=False)
        return [Phrase(float(part.start), float(part.end), text) for part in found if (text := " ".join(part.text.split()))]


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


@lru_cache(maxsize=1)
def load(name: str) -> Engine:
    """The engine `name` of `choose`. One is kept; a worker's parent must not call this, or every child would hold a copy."""
    return Moonshine() if name == "moonshine" else Whisper()
