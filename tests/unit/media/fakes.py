"""What the tests of the media pipeline share: a reporter without a store, a web server with a script, and small films."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline_jobs.context import Reporter
from pipeline_jobs.exceptions import JobCancelled

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


@dataclass
class FakeReporter(Reporter):
    """Remembers what was told; raises `JobCancelled` once `cancel_if` says so or `cancelled` is set."""

    reports: list[tuple[str, float, str | None]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    cancel_if: Callable[[float, str | None], bool] = lambda percent, message: False

    def report(self, stage: str, percent: float, message: str | None) -> None:
        self.reports.append((stage, percent, message))
        if self.cancel_if(percent, message):
            self.cancelled.set()
        self.check()

    def warn(self, stage: str, text: str) -> None:
        self.warnings.append(text)

    def check(self) -> None:
        if self.cancelled.is_set():
            raise JobCancelled

    @property
    def percents(self) -> list[float]:
        return [percent for _, percent, _ in self.reports]

    def told_by(self, stage: str) -> list[float]:
        return [percent for name, percent, _ in self.reports if name == stage]


Answer = Callable[[BaseHTTPRequestHandler], object]


class FakeSite:
    """A web server on loopback. `site.answer("/a.mp4", f)`: f(handler) writes the response. It remembers all requests."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        #: Set when the test is over: answers that stall wait for it.
        self.closing = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append((self.path, dict(self.headers)))
                self.close_connection = True
                answer: Answer = site.answers.get(self.path, lambda handler: reply(handler, b"", status=404))
                try:
                    answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def url(self, path: str) -> str:
        host, port = map(str, self._server.server_address[:2])
        return f"http://{host}:{port}{path}"

    def answer(self, path: str, answer: Answer) -> str:
        self.answers[path] = answer
        return self.url(path)

    def file(self, path: str, body: bytes, content_type: str = "application/octet-stream", **headers: str) -> str:
        return self.answer(path, lambda handler: reply(handler, body, status=200, content_type=content_type, **headers))

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def reply(handler: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, content_type: str = "video/mp4", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), "Connection": "close", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def make_film(
    path: Path,
    *,
    seconds: float = 2.0,
    size: tuple[int, int] | None = (64, 48),
    audio: bool = True,
    format: str | None = None,
    rotation: int = 0,
    codec: str = "libx264",
    audio_codec: str = "aac",
    rate: int = 16_000,
    layout: str = "mono",
    silent: bool = False,
    dark: tuple[float, float] = (0.0, 0.0),
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
    hurried: int = 0,
) -> Path:
    """A small film with a beep, or only one of the two. Between the times of `dark` it is black and silent. So many of its first pictures
    (`hurried`) are shown for a hundredth of a second each; the next one stays."""
    with av.open(str(path), "w", format=format, options=muxing or {}) as output:
        picture: av.VideoStream | None = None
        sound: av.AudioStream | None = None
        if size is not None:
            made = output.add_stream(codec, rate=10, options=options or {})
            assert isinstance(made, av.VideoStream)
            picture = made
            picture.width, picture.height, picture.pix_fmt = *size, "rgb24" if codec == "png" else "yuv420p"
            if hurried:
                picture.codec_context.time_base = Fraction(1, 100)
            if rotation:
                picture.set_display_rotation(rotation)
        if audio:
            beeps = output.add_stream(audio_codec, rate=rate, layout=layout)
            assert isinstance(beeps, av.AudioStream)
            sound = beeps
        for number in range(int(seconds * 10)):
            lit = not dark[0] <= number / 10 < dark[1]
            if picture is not None and size is not None:
                image = np.zeros((size[1], size[0], 3), dtype=np.uint8)
                image[:, : size[0] // 2] = (55 + 20 * (number % 10)) * lit
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = number if number < hurried else 10 * number, Fraction(1, 100)
                output.mux(picture.encode(frame))
            if sound is not None:
                step = rate // 10
                wave = np.sin(np.arange(number * step, (number + 1) * step) * (880 * np.pi / rate)) * (0 if silent or not lit else 8000)
                beep = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
                beep.sample_rate, beep.pts, beep.time_base = rate, number * step, Fraction(1, rate)
                output.mux(sound.encode(beep))
        for stream in (picture, sound):
            if stream is not None:
                output.mux(stream.encode(None))
    return path


def slideshow(path: Path) -> Path:
    """Ten thousand seconds of black in twenty pictures, and a second of sound."""
    source = make_film(path, seconds=2, dark=(0, 2))
    slow = path.with_name("slow.mp4")
    with av.open(str(source)) as old, av.open(str(slow), "w", format="mp4") as new:
        copies = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is None or packet.pts is None:
                continue
            if packet.stream.type == "video" and packet.duration is not None:
                packet.pts, packet.dts, packet.duration = packet.pts * 5000, packet.dts * 5000, packet.duration * 5000
            packet.stream = copies[packet.stream.index]
            new.mux(packet)
    return slow


def frameless(path: Path) -> Path:
    """A film whose picture is announced and never comes."""
    source = make_film(path, seconds=2, size=(320, 240))
    empty = path.with_name("empty.mkv")
    with av.open(str(source)) as old, av.open(str(empty), "w") as new:
        new.add_stream_from_template(old.streams.video[0])
        sound = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = sound
                new.mux(packet)
    return empty


def word_share(spoken: str, heard: str) -> float:
    """Which part of the spoken words was heard, whatever the order."""
    left = re.findall(r"[a-z']+", heard.lower())
    words = re.findall(r"[a-z']+", spoken.lower())
    found = 0
    for word in words:
        if word in left:
            left.remove(word)
            found += 1
    return found / len(words)
