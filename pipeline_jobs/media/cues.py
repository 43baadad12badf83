"""Cut what was said in one piece of sound into cues: none longer than a caption, each ending with a sentence or a clause where it can.

A model that knows no times of words says only what was said in up to half a minute. The times are made of two signs: characters take about
the same time each, and people pause between sentences.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, takewhile
from typing import NamedTuple

from pipeline_jobs.media.sentences import sentences

#: A caption has two lines of so many characters; of a text that must be cut, so many are aimed at.
LINE, LINES, AIM = 42, 2, 72
#: A sentence shorter than this stands with the next one: alone it would flash.
SHORT = 15
#: The end of a clause may be so many characters away from an even cut, that of any word is taken else.
CLAUSE = 18
#: A cue ends at a pause so far from where its characters put the end: in seconds, and as a part of how long it takes. A sentence is
#: likelier to end with a pause.
NEAR, NEAR_SENTENCE, NEAR_PART = 0.4, 1.2, 0.35
#: No cue is shorter, in seconds of speech, while there is more to say.
LEAST = 0.3


class Cue(NamedTuple):
    """Seconds, and what was said in them."""

    start: float
    end: float
    text: str


def cut(text: str, spoken: Sequence[tuple[float, float]]) -> list[Cue]:
    """:param spoken: when somebody speaks, in seconds, in order and apart: all of the text was said in these times."""
    texts = list(_texts(text))
    return list(_timed(texts, _Clock(spoken))) if texts and spoken else []


def of_words(words: Sequence[tuple[float, float, str, float]]) -> list[Cue]:
    """Cues of words whose times are known, in seconds: start, end, text, and what does not matter here."""
    found, at = [], 0
    for text in _texts(" ".join(word[2] for word in words)):
        said = words[at : at + len(text.split())]
        at += len(said)
        found.append(Cue(said[0][0], said[-1][1], text))
    return found


def fits(text: str) -> bool:
    """The text fits into one caption."""
    return len(textwrap.wrap(text, LINE)) <= LINES


def webvtt(cues: Iterable[tuple[float, float, str]]) -> str:
    """A WebVTT file (W3C) of these cues: seconds, and what is shown then, in which `<` and `&` are marks."""
    return "\n".join(["WEBVTT\n", *(f"{_moment(start)} --> {_moment(end)}\n{text}\n" for start, end, text in cues)])


def _moment(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest / 1000:06.3f}"


def _texts(text: str) -> Iterator[str]:
    waiting = ""
    for sentence in sentences(text):
        joined = f"{waiting} {sentence}".strip()
        if waiting and not fits(joined):
            yield waiting
            joined = sentence
        waiting = ""
        if len(joined) < SHORT:
            waiting = joined
        else:
            yield from _halved(joined)
    if waiting:
        yield waiting


def _halved(text: str) -> Iterator[str]:
    """A text in parts that are captions, of about the same length."""
    words = text.split()
    # An endless word is shown as it is.
    while len(words) > 1 and not fits(" ".join(words)):
        ends = list(accumulate((len(word) + 1 for word in words), initial=-1))[1:]
        aim = ends[-1] / math.ceil(ends[-1] / AIM)
        possible = takewhile(lambda n: n == 1 or fits(" ".join(words[:n])), range(1, len(words)))  # noqa: B023 - within this turn
        at = max(possible, key=lambda n: (CLAUSE if words[n - 1][-1] in ",;:.!?" else 0) - abs(ends[n - 1] - aim))
        yield " ".join(words[:at])
        words = words[at:]
    yield " ".join(words)


class _Clock:
    """Time that passes only while somebody speaks."""

    def __init__(self, spoken: Sequence[tuple[float, float]]) -> None:
        self._spoken = spoken
        #: When each stretch of speech ends, by this clock.
        self.ends = list(accumulate(end - begin for begin, end in spoken))

    def at(self, seconds: float, *, begin: bool) -> float:
        """A time of this clock by the usual one. At a pause: where it ends if something begins there, where it begins if something ends."""
        for number, end in enumerate(self.ends):
            if seconds < end or (seconds == end and not begin) or number == len(self.ends) - 1:
                return min(self._spoken[number][1], self._spoken[number][1] - (end - seconds))
        raise AssertionError("there is a last one")


def _timed(texts: Sequence[str], clock: _Clock) -> Iterator[Cue]:
    passed, left = 0.0, sum(map(len, texts))
    for number, text in enumerate(texts):
        whole = clock.ends[-1] - passed
        takes = whole * len(text) / left
        end = clock.ends[-1] if number == len(texts) - 1 else _at_a_pause(clock, passed, takes, text)
        yield Cue(clock.at(passed, begin=True), clock.at(end, begin=False), text)
        passed, left = end, left - len(text)


def _at_a_pause(clock: _Clock, passed: float, takes: float, text: str) -> float:
    """When a text ends that began at `passed` and takes so long by its characters: at the pause that is nearest, if it is near."""
    guess = passed + takes
    near = min(NEAR_SENTENCE if text[-1] in ".!?" else NEAR, max(NEAR, NEAR_PART * takes))
    pauses = [end for end in clock.ends[:-1] if abs(end - guess) <= near and end - passed >= LEAST]
    return min(pauses, key=lambda end: abs(end - guess)) if pauses else guess
