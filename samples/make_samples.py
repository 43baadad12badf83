"""Make the clips of this folder: `python samples/make_samples.py [folder]`.

Needs flite (`apt-get install flite`) for the voices and this project's own PyAV and numpy for picture and sound. Each
clip is a text that we wrote, spoken by a voice of flite sentence by sentence, and a drawn picture that moves, so that
a transcode has something to do. The texts are what the transcription tests compare with.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

RATE = 16_000
PAUSE_SECONDS = 0.35

WELCOME = (
    "Welcome to pipeline jobs. This is a short film with a spoken text, and it was made to test a media pipeline. "
    "The system loads the film, makes it smaller, and turns the speech into text. "
    "Then it tells you in a few words what the film is about. When the work is done, the results are published for you."
)
HARBOR = (
    "The old harbor wakes up long before the city does. "
    "At four in the morning the fishing boats come home, and the market opens its doors. "
    "Late at night the wind turns, and the whole place smells of salt and smoke."
)

Samples = npt.NDArray[np.int16]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    name: str
    text: str
    voice: str
    width: int
    height: int
    fps: int
    colour: tuple[int, int, int]
    wav: bool = False


CLIPS = (
    Clip("welcome", WELCOME, "slt", 640, 360, 15, (240, 180, 60)),
    Clip("harbor", HARBOR, "rms", 320, 180, 12, (70, 160, 230), wav=True),
)


def speak(text: str, voice: str) -> Samples:
    """The text as 16 kHz mono, a pause after each sentence."""
    parts = []
    for sentence in re.split(r"(?<=[.?!])\s+", text):
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            subprocess.run(["flite", "-voice", voice, "-t", sentence, "-o", file.name], check=True)
            with wave.open(file.name) as reader:
                assert reader.getframerate() == RATE, "choose a voice with 16 kHz"
                parts.append(np.frombuffer(reader.readframes(reader.getnframes()), dtype=np.int16))
        parts.append(np.zeros(int(PAUSE_SECONDS * RATE), dtype=np.int16))
    return np.concatenate(parts)


def draw(clip: Clip, moment: float, whole: float) -> Picture:
    """A disc that circles over a slowly turning gradient, and a bar that grows with the time."""
    y, x = np.mgrid[0 : clip.height, 0 : clip.width].astype(np.float32)
    slope = 0.5 + 0.5 * np.sin(moment * 0.3)
    shade = slope * x / clip.width + (1 - slope) * y / clip.height
    picture = np.stack([30 + 50 * shade, 35 + 60 * shade, 60 + 80 * shade], axis=-1)
    middle = (clip.width * (0.5 + 0.3 * np.cos(moment)), clip.height * (0.5 + 0.3 * np.sin(moment * 1.3)))
    disc = np.hypot(x - middle[0], y - middle[1]) < clip.height / 7
    picture[disc] = clip.colour
    bar = (y > clip.height * 0.94) & (x < clip.width * moment / whole)
    picture[bar] = (230, 230, 230)
    return picture.astype(np.uint8)


def write_wav(path: Path, speech: Samples) -> None:
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(speech.tobytes())


def write_mp4(path: Path, clip: Clip, speech: Samples) -> None:
    whole = len(speech) / RATE
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=clip.fps, options={"crf": "28", "preset": "slow"})
        video.width, video.height, video.pix_fmt = clip.width, clip.height, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        audio.bit_rate = 64_000
        for number in range(int(whole * clip.fps)):
            image = av.VideoFrame.from_ndarray(draw(clip, number / clip.fps, whole), format="rgb24")
            image.pts, image.time_base = number, Fraction(1, clip.fps)
            container.mux(video.encode(image))
            begin, end = number * RATE // clip.fps, (number + 1) * RATE // clip.fps
            sound = av.AudioFrame.from_ndarray(speech[None, begin:end], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, begin, Fraction(1, RATE)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for clip in CLIPS:
        speech = speak(clip.text, clip.voice)
        (folder / f"{clip.name}.txt").write_text(clip.text + "\n", encoding="utf-8")
        write_mp4(folder / f"{clip.name}.mp4", clip, speech)
        if clip.wav:
            write_wav(folder / f"{clip.name}.wav", speech)


if __name__ == "__main__":
    main()
