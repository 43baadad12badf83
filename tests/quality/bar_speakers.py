"""Speakers: the share of time in which the wrong one, or none, is named (DER), on dialogues of two voices. About two CPU minutes each.

`python -m pytest -s tests/quality/bar_speakers.py`, part of `make quality`. The voices are flite's and espeak-ng's: nobody's own.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from pipeline_jobs.media import speakers
from pipeline_jobs.media.speakers import RATE, Turn
from tests.quality.voices import read, say

SAYS = (
    "Good morning, and welcome to our talk about the harbour and its ships.",
    "Thank you for having me. I have worked on the ferry for eleven years now.",
    "What has changed in that time, and what would you like to see in the future?",
    "There are fewer boats in winter. I would like a second crossing on Sundays.",
    "Many of our listeners ask how you find your way when there is fog.",
    "We slow down, sound the horn every minute, and watch the radar all the time.",
)
#: Seconds around a change that do not count, and of a frame.
COLLAR, FRAME = 0.25, 0.01
BAR = 0.10


def dialogue(folder: Path, voices: tuple[str, str]) -> tuple[speakers.Samples, list[Turn]]:
    pieces, turns, at = [], [], 0
    for number, text in enumerate(SAYS):
        piece = read(say(voices[number % 2], text, folder))
        turns.append(Turn(at / RATE, (at + len(piece)) / RATE, number % 2))
        pieces += [piece, np.zeros(RATE // 2, np.float32)]
        at += len(piece) + RATE // 2
    return np.concatenate(pieces), turns


def error_rate(truth: list[Turn], found: list[Turn]) -> float:
    """Missed, false and confused time by the time of speech, at the best of all ways to name the speakers."""
    end = max(turn.end for turn in (*truth, *found))
    at = np.arange(0, end, FRAME)

    def frames(turns: list[Turn]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        who = np.full(len(at), -1)
        for turn in turns:
            who[(at >= turn.start) & (at < turn.end)] = turn.speaker
        return who

    scored = np.ones(len(at), bool)
    for turn in truth:
        for edge in (turn.start, turn.end):
            scored &= np.abs(at - edge) > COLLAR
    true, said = frames(truth)[scored], frames(found)[scored]
    names = range(max(2, int(said.max()) + 1))
    wrong = min(int((true != np.array([*order, -1])[said]).sum()) for order in permutations(names))
    return wrong / int((true >= 0).sum())


#: A woman and a man, two men, and voices of another kind.
PAIRS = (
    ("flite-slt", "flite-rms"), ("flite-slt", "flite-awb"), ("flite-rms", "flite-awb"), ("flite-slt", "flite-kal16"),
    ("flite-awb", "flite-kal16"), ("flite-rms", "espeak-en-gb"),
)  # fmt: skip


@pytest.mark.parametrize("voices", PAIRS, ids="-".join)
def test_two_voices_are_told_apart(tmp_path: Path, voices: tuple[str, str]) -> None:
    samples, truth = dialogue(tmp_path, voices)
    rate = error_rate(truth, speakers.joined(speakers._turns(samples)))
    print(f"{voices}: DER {rate:.3f} on {len(samples) / RATE:.0f} s")
    assert rate <= BAR
