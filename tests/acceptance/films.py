"""Films for the tests of the real stack, and web servers on loopback that give them: at once, or half of one and the rest when told."""

from __future__ import annotations

import functools
import http.server
import io
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests import other_readers
from tests.other_readers import RATE
from tests.stack import ROOT

SAMPLES = ROOT / "samples"
#: Of the short film: what is said in the first seconds, and how long all of it is.
SAID = "Welcome to pipeline jobs. This is a short film with a spoken text, and it was made to test a media pipeline."
SAID_SECONDS, FILM_SECONDS, FPS, SIZE = 7.7, 9.8, 15, (640, 360)


def short_film(path: Path) -> bytes:
    """The first two sentences of the sample, then two seconds that are black and silent."""
    sample = SAMPLES / "welcome.mp4"
    sound = other_readers.sound(sample.read_bytes())[: int(FILM_SECONDS * RATE)]
    sound[int(SAID_SECONDS * RATE) :] = 0
    with av.open(str(sample)) as source, av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = *SIZE, "yuv420p"
        voice = output.add_stream("aac", rate=RATE, layout="mono")
        for number, frame in zip(range(int(FILM_SECONDS * FPS)), source.decode(video=0), strict=False):
            image = frame.to_ndarray(format="rgb24") * np.uint8(number < SAID_SECONDS * FPS)
            output.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for begin in range(0, len(sound), RATE // 10):
            piece = av.AudioFrame.from_ndarray(sound[None, begin : begin + RATE // 10].astype(np.float32), format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = RATE, begin, Fraction(1, RATE)
            output.mux(voice.encode(piece))
        output.mux(picture.encode(None))
        output.mux(voice.encode(None))
    return path.read_bytes()


#: Of the long film: what is said once, and how often; it may be cut where nobody speaks, and every two seconds of its picture.
AGAIN, SAYINGS, LONG_SECONDS, LONG_FPS = "Welcome to pipeline jobs.", 3, 21.6, 10


def long_film(path: Path) -> bytes:
    """The first seconds of the sample and then silence, three times, and a picture that moves."""
    sound = other_readers.sound((SAMPLES / "welcome.mp4").read_bytes())[: int(LONG_SECONDS / SAYINGS * RATE)]
    sound[int((LONG_SECONDS / SAYINGS - 2.6) * RATE) :] = 0
    sound = np.tile(sound, SAYINGS).astype(np.float32)
    rows, columns = np.mgrid[0:96, 0:160]
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=LONG_FPS, options={"preset": "ultrafast", "g": "20"})
        picture.width, picture.height, picture.pix_fmt = 160, 96, "yuv420p"
        voice = output.add_stream("aac", rate=RATE, layout="mono")
        for number in range(len(sound) * LONG_FPS // RATE):
            image = np.stack([(rows + 3 * number) % 256, (columns * 2 + number) % 256, rows * 0 + 80], axis=-1).astype(np.uint8)
            output.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for begin in range(0, len(sound), RATE // 10):
            piece = av.AudioFrame.from_ndarray(sound[None, begin : begin + RATE // 10], format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = RATE, begin, Fraction(1, RATE)
            output.mux(voice.encode(piece))
        output.mux(picture.encode(None))
        output.mux(voice.encode(None))
    return path.read_bytes()


#: What is said in `one_sentence`.
SENTENCE = "The old harbor wakes up long before the city does."


def one_sentence() -> bytes:
    """The first five seconds of `harbor.wav`, for whoever needs speech and not all of it: each second costs a third of one to be heard."""
    made = io.BytesIO()
    with wave.open(str(SAMPLES / "harbor.wav"), "rb") as source, wave.open(made, "wb") as output:
        output.setparams(source.getparams())
        output.writeframes(source.readframes(5 * source.getframerate()))
    return made.getvalue()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's own output is enough."""


@contextmanager
def serving(handler: type[Quiet] | functools.partial[Quiet]) -> Iterator[str]:
    """Its address, without a path."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def folder_of(folder: Path) -> functools.partial[Quiet]:
    """For `serving`: the files of a folder."""
    return functools.partial(Quiet, directory=str(folder))


class Halting:
    """`with Halting(film) as slow:` of the film at `slow.url` the first half comes, and the rest once `slow.go` is set."""

    def __init__(self, film: bytes) -> None:
        halves = film[: len(film) // 2], film[len(film) // 2 :]
        #: Set once the first half has been sent; set by the test when the rest may come.
        self.begun, self.go = begun, go = threading.Event(), threading.Event()

        class Half(Quiet):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(film)))
                self.end_headers()
                self.wfile.write(halves[0])
                self.wfile.flush()
                begun.set()
                if go.wait(120):
                    # Who asked may be gone by now.
                    with suppress(OSError):
                        self.wfile.write(halves[1])

        self._serving = serving(Half)
        self.url = ""

    def __enter__(self) -> Halting:
        self.url = f"{self._serving.__enter__()}/film.mp4"
        return self

    def __exit__(self, *raised: object) -> None:
        self.go.set()
        self._serving.__exit__(None, None, None)
