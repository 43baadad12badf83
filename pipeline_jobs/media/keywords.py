"""Keywords by TextRank (Mihalcea and Tarau, 2004): a word counts that stands near many words that count."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence, Set

#: Words so near to each other are neighbours; stop words are left out before.
WINDOW = 3
#: PageRank's usual damping; after so many rounds the order no longer changes.
DAMPING, ROUNDS = 0.85, 30
#: Shorter ones say little, in any language.
SHORTEST = 3


def rank(words: Sequence[str], stop_words: Set[str], count: int) -> list[str]:
    """Up to `count` of the words, the best first, each once and in the spelling it mostly has. Numbers are none."""
    kept = [word for word in words if _counts(word.casefold(), stop_words)]
    near = _neighbours([word.casefold() for word in kept])
    score = dict.fromkeys(near, 1.0)
    for _ in range(ROUNDS):
        given = {word: score[word] / max(1, sum(others.values())) for word, others in near.items()}
        score = {word: 1 - DAMPING + DAMPING * sum(given[o] * n for o, n in others.items()) for word, others in near.items()}
    spelled = _spellings(kept)
    # The order of the text decides between equals (sorted is stable): the same text always has the same keywords.
    return [spelled[word] for word in sorted(score, key=lambda word: -score[word])[:count]]


def _counts(word: str, stop_words: Set[str]) -> bool:
    """Not a stop word, in no form ("don't" is "do", "harbor's" is none)."""
    stem = word.replace("’", "'").partition("'")[0]
    return len(stem) >= SHORTEST and word not in stop_words and stem not in stop_words and not any(map(str.isdigit, word))


def _neighbours(words: Sequence[str]) -> dict[str, Counter[str]]:
    """How often each word stands near each other one."""
    near: dict[str, Counter[str]] = {word: Counter() for word in words}
    for at, word in enumerate(words):
        for other in words[at + 1 : at + WINDOW]:
            if other != word:
                near[word][other] += 1
                near[other][word] += 1
    return near


def _spellings(words: Sequence[str]) -> dict[str, str]:
    """The most frequent spelling of each word: "Berlin", but "fishing", although a sentence begins with it."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for word in words:
        found[word.casefold()][word] += 1
    return {word: max(forms, key=lambda form: (forms[form], form.islower())) for word, forms in found.items()}
