"""The speech model is loaded while the end of the film is transcoded: a short job would spend much of its time on that alone."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pipeline_jobs.media import languages

#: How much of the film is left when it begins, in seconds. Not earlier: for as long the process holds the model beside the encoder.
LEFT = 60.0


class Ahead:
    """`reached()` tells it how far the film is. It begins once; what is wrong with the model is for the stage that needs it to say."""

    def __init__(self, params: Mapping[str, Any], duration: float | None) -> None:
        """:param duration: of the film, in seconds; None: nobody knows, and nothing is loaded ahead."""
        self._begin = None if duration is None else duration - LEFT
        self._params = params
        #: What loads; None: it has not begun.
        self.thread: threading.Thread | None = None

    def reached(self, at: float) -> None:
        if self._begin is not None and self.thread is None and at >= self._begin:
            self.thread = threading.Thread(target=_load, args=(self._params,), name="ahead", daemon=True)
            self.thread.start()


def _load(params: Mapping[str, Any]) -> None:
    # Not only what is missing, but whatever a library says as it is loaded: the stage meets it again.
    with suppress(Exception):
        importlib.import_module("pipeline_jobs.media.transcribe")
        speech = importlib.import_module("pipeline_jobs.media.speech")
        language = params.get("language", "auto")
        # Which of several engines it will be is known when the language has been heard.
        if languages.choose(params.get("speech_model", "auto"), None if language == "auto" else language) == "moonshine":
            speech.load("moonshine")
