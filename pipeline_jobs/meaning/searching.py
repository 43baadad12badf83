"""Search in a transcript: by meaning, where its job made an index of its sentences, else by words.

An index is JSON: `{"model": name, "sentences": [{"start", "end", "text"}], "vectors": base64 of int8, one row of `SIZE` a sentence}`.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_jobs.meaning.embedder import embedder

# The extra `[meaning]`; words are searched without.
try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]

MODEL, SIZE = "all-MiniLM-L6-v2-int8", 384
#: What a vector's numbers, which are within -1 and 1, are multiplied by to become whole.
SCALE = 127.0
#: Sentences less alike than this are no match: what has nothing to do with each other is below 0.2.
ALIKE = 0.25
_WORD = re.compile(r"[^\W_]+")


def index_of(sentences: Sequence[Mapping[str, Any]], vectors: Any) -> dict[str, Any]:
    """The index of these sentences; `vectors` as `Embedder.embed` gives them."""
    whole = np.round(vectors * SCALE).astype(np.int8)
    return {"model": MODEL, "sentences": list(sentences), "vectors": base64.b64encode(whole.tobytes()).decode("ascii")}


def by_meaning(index: Mapping[str, Any], query: str) -> list[tuple[float, Mapping[str, Any]]]:
    """Sentences that mean something like the query, each with a score up to 1; the best first.

    :raises ValueError: this is no index that this version reads.
    """
    sentences = index["sentences"]
    raw = np.frombuffer(base64.b64decode(index["vectors"]), np.int8)
    if index["model"] != MODEL or raw.size != SIZE * len(sentences):
        raise ValueError("another index")
    scores = raw.reshape(-1, SIZE).astype(np.float32) @ embedder().embed([query])[0] / SCALE
    return _ranked(scores.tolist(), sentences, ALIKE)


def by_words(segments: Sequence[Mapping[str, Any]], query: str) -> list[tuple[float, Mapping[str, Any]]]:
    """Segments that have words of the query, each with the share of them that it has, rare words counting more; the best first."""
    wanted, texts = set(_words(query)), [set(_words(segment["text"])) for segment in segments]
    found = Counter(word for text in texts for word in text & wanted)
    weights = {word: math.log(1 + len(texts) / (found[word] or 0.5)) for word in wanted}
    whole = sum(weights.values())
    return _ranked([sum(weights[word] for word in text & wanted) / whole if whole else 0.0 for text in texts], segments, 0.0)


def _ranked(scores: Sequence[float], passages: Sequence[Mapping[str, Any]], least: float) -> list[tuple[float, Mapping[str, Any]]]:
    pairs = [(round(min(score, 1.0), 3), passage) for score, passage in zip(scores, passages, strict=True) if score > least]
    return sorted(pairs, key=lambda pair: -pair[0])


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
