"""`python -m pipeline_jobs.media.whisper_fetch FOLDER`: fetch Whisper's official model and compare it with its hashes.

A process that never sees media, for the one that does is offline; and no other, for faster-whisper takes a second and 100 MB to import.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pipeline_jobs.media.whisper_model import REVISION, SIZE, check, is_here

try:
    import faster_whisper  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:
    faster_whisper = None


def fetch(target: Path) -> None:
    """Bring the official model to `target`. :raises ValueError, OSError: it is not there afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        faster_whisper.download_model(SIZE, output_dir=str(part), revision=REVISION)
        check(part)
        if not is_here(target):
            part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
