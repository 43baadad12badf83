"""Cut a transcript into sentences and words, without a model to download."""

from __future__ import annotations

import re

#: A sentence without any full stop (models that do not punctuate) is cut after so many words.
LONGEST = 60

#: What `personal.masked` writes in the place of something: no words of the speaker.
MASK = re.compile(r"\[(?:email|card|iban|number)\]")
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_END = re.compile(r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’)\]]))\s+(?=[\"'“‘(\[¿¡]*[A-Z0-9À-ÞЀ-Я])|(?<=[。！？])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|No|Inc|Ltd|Co|approx|Fig|[A-Z](?:\.[A-Z])+)\.$", re.IGNORECASE
)


def words(text: str) -> list[str]:
    """The words of a text as they stand, without punctuation and without what is masked."""
    return _WORD.findall(MASK.sub(" ", text))


def sentences(text: str) -> list[str]:
    """The sentences of a text, trimmed, in order. "Dr. Smith" and "3.5 metres" do not end one."""
    found: list[str] = []
    pending: list[str] = []
    for part in _END.split(text):
        pending.append(part)
        # Only the new part is looked at, or a text of abbreviations alone would cost the square of its length.
        if not _ABBREVIATION.search(part):
            found += _cut(" ".join(pending))
            pending = []
    return found + _cut(" ".join(pending))


def _cut(sentence: str) -> list[str]:
    parts = sentence.split()
    return [" ".join(parts[begin : begin + LONGEST]) for begin in range(0, len(parts), LONGEST)]
