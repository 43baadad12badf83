"""Whisper's model on this machine: a folder that the operator names, or the official one (`whisper_fetch.py`)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

#: The official model in CTranslate2's format (Systran/faster-whisper-base, MIT), the state of it that is fetched, and its files' SHA-256.
SIZE, REVISION = "base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66"
FILES = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}


def folder(named: str) -> Path:
    """The folder in which the model is, or will be. :param named: by the operator (`settings.whisper_model`), or empty."""
    if named:
        return Path(named).expanduser().resolve()
    return models() / f"pipeline-jobs-whisper-{SIZE}-{REVISION[:8]}"


def models() -> Path:
    """The folder of Hugging Face's hub: models that are fetched lie in it."""
    return Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser().resolve()


def is_here(model: Path) -> bool:
    """The model can be loaded. A fetched one appears as a whole."""
    return (model / "model.bin").is_file()


def check(model: Path) -> None:
    """:raises ValueError: it is not the official one, byte for byte; names the file."""
    for name, expected in FILES.items():
        with (model / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                raise ValueError(f"{name} is not the file that was expected")
