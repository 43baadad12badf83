"""A summary by TextRank (Mihalcea and Tarau, 2004): a sentence counts that shares words with many that count."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence, Set

from pipeline_jobs.media.sentences import words

#: PageRank's usual damping; after so many rounds the order no longer changes.
DAMPING, ROUNDS = 0.85, 30
#: A sentence that is so like a chosen one (cosine of their words) says the same again.
ALIKE = 0.6
#: How a whole sentence ends; another one was cut, for want of punctuation.
_ENDS = (".", "!", "?", "…", "。", "！", "？")


def central(sentences: Sequence[str], stop_words: Set[str], count: int) -> list[str]:
    """Up to `count` of the sentences, in the order of the text: the most central ones, none that says what another one says."""
    whole = [sentence for sentence in sentences if sentence.rstrip("\"'”’)]").endswith(_ENDS)]
    text = whole if len(whole) >= count else list(sentences)
    bags = [Counter(word for word in map(str.casefold, words(sentence)) if word not in stop_words) for sentence in text]
    score = _rank(bags)
    chosen: list[int] = []
    for number in sorted(range(len(text)), key=lambda number: -score[number]):
        if len(chosen) < count and all(_cosine(bags[number], bags[other]) < ALIKE for other in chosen):
            chosen.append(number)
    return [text[number] for number in sorted(chosen)]


def _rank(bags: Sequence[Counter[str]]) -> list[float]:
    near = [[(other, _shared(bag, bags[other])) for other in range(len(bags)) if other != number] for number, bag in enumerate(bags)]
    links = [[(other, weight) for other, weight in row if weight] for row in near]
    given = [sum(weight for _, weight in row) for row in links]
    score = [1.0] * len(bags)
    for _ in range(ROUNDS):
        score = [1 - DAMPING + DAMPING * sum(score[other] * weight / given[other] for other, weight in row) for row in links]
    return score


def _shared(one: Counter[str], other: Counter[str]) -> float:
    """How many words two sentences share, by their lengths: long ones share some by chance."""
    both = len(one.keys() & other.keys())
    return both / (math.log(1 + len(one)) + math.log(1 + len(other))) if both else 0.0


def _cosine(one: Counter[str], other: Counter[str]) -> float:
    if not one or not other:
        return 0.0
    return sum(one[word] * other[word] for word in one.keys() & other.keys()) / (_length(one) * _length(other))


def _length(bag: Counter[str]) -> float:
    return math.sqrt(sum(count * count for count in bag.values()))
