"""`make quality`: transcribe the fixed set in jobs' children, compare it with the bars, and write the table into docs/evidence/media.md.

python -m tests.quality [--hour] [--write] [--only WORD] [--keep FILE [--kept]]     ends with 1 where a bar is missed
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_jobs.media import languages
from pipeline_jobs.media.speakers import Turn
from tests.quality import clips, models, scores, voices
from tests.quality.clips import Clip
from tests.quality.measuring import hear
from tests.stack import ROOT

PAGE = ROOT / "docs" / "evidence" / "media.md"
BEGIN, END = "<!-- quality: begin -->", "<!-- quality: end -->"
TITLES = (
    "clips", "number", "s of sound", "WER", "worst", "cue ends within 0.3 s", "overlaps", "invented", "characters a second (95 %)",
    "CPU of real time", "peak memory", "language right", "warned", "DER",
)  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """Of one clip."""

    name: str
    kind: str
    seconds: float
    #: Error rate of words; None where nothing is said.
    error: float | None
    #: Captions where nothing is said.
    invented: int
    overlaps: int
    #: How far a caption's end is from each true pause, and the characters a second of each caption.
    ends: list[float]
    speeds: list[float]
    cpu: float
    memory: int
    language: bool
    warned: bool
    #: Error rate of speakers; None where only one speaks.
    speakers: float | None = None


def measure(clip: Clip, folder: Path, settings: Mapping[str, str]) -> Figures:
    heard = hear(clip.sound, folder, settings, {"outputs": ["speakers"]} if clip.turns else {})
    data, segments = heard.data, heard.data["segments"]
    return Figures(
        clip.name, clip.kind, len(clip.sound) / voices.RATE,
        scores.word_error_rate(clip.said, data["transcript"], clip.language or "en") if clip.said else None,
        0 if clip.said else len(segments), scores.overlaps(segments), scores.boundary_errors(segments, clip.pauses),
        scores.characters_a_second(segments), heard.cpu, heard.memory, data["language"] == clip.language, bool(data["warnings"]),
        scores.speaker_error_rate(clip.turns, _turns(data["turns"])) if clip.turns else None,
    )  # fmt: skip


def _turns(said: Sequence[Mapping[str, Any]]) -> list[Turn]:
    names = list(dict.fromkeys(turn["speaker"] for turn in said))
    return [Turn(turn["start"], turn["end"], names.index(turn["speaker"])) for turn in said]


def row(kind: str, found: Sequence[Figures]) -> str:
    seconds = sum(one.seconds for one in found)
    errors = [one.error for one in found if one.error is not None]
    ends = [end for one in found for end in one.ends]
    speeds = sorted(speed for one in found for speed in one.speeds)
    confused = [one.speakers for one in found if one.speakers is not None]
    cells = (
        kind, len(found), f"{seconds:.0f}", f"{statistics.mean(errors):.3f}" if errors else "-", f"{max(errors):.3f}" if errors else "-",
        f"{sum(end <= 0.3 for end in ends)} of {len(ends)}" if ends else "-", sum(one.overlaps for one in found),
        sum(one.invented for one in found), f"{speeds[int(len(speeds) * 0.95)]:.1f}" if speeds else "-",
        f"{sum(one.cpu for one in found) / seconds:.3f}", f"{max(one.memory for one in found) / 1e6:.0f} MB",
        f"{sum(one.language for one in found)} of {len(found)}", f"{sum(one.warned for one in found)} of {len(found)}",
        f"{max(confused):.3f}" if confused else "-",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def bars(kinds: Mapping[str, Sequence[Figures]]) -> Iterator[tuple[str, float, float]]:
    """What must hold: in words, the figure, and the most that it may be. Only of clips that were measured."""
    clean = [one.error for kind in ("held out", "1 h") for one in kinds.get(kind, ()) if one.error is not None]
    if held := [one.error for one in kinds.get("held out", ()) if one.error is not None]:
        yield "mean WER of held-out clips", statistics.mean(held), 0.10
    if clean:
        yield "worst WER of clean English, held out", max(clean), 0.15
    yield "captions where nothing is said", sum(one.invented for found in kinds.values() for one in found), 0
    yield "captions that overlap", sum(one.overlaps for found in kinds.values() for one in found), 0
    if confused := [one.speakers for one in kinds.get("two speakers", ()) if one.speakers is not None]:
        yield "worst DER of two voices", max(confused), 0.10
    if "whisper" in languages.installed():
        for language in ("es", "de", "it"):
            for one in kinds.get(f"language {language}", ()):
                yield f"WER of {language}", one.error or 0.0, 0.40


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description=__doc__)
    parser.add_argument("--hour", action="store_true", help="the clip of an hour, too")
    parser.add_argument("--write", action="store_true", help="write the table into docs/evidence/media.md")
    parser.add_argument("--only", default="", help="only kinds of clips with this word")
    parser.add_argument("--keep", type=Path, help="a file of figures: clips that are in it are not measured again, others are added")
    parser.add_argument("--kept", action="store_true", help="measure nothing: a table of what the file has")
    options = parser.parse_args()
    kinds, missing = collected(options)
    table = ["| " + " | ".join(TITLES) + " |", "|" + "---|" * len(TITLES), *(row(kind, found) for kind, found in kinds.items())]
    verdicts = list(bars(kinds))
    lines = [f"- {words}: {figure:.3g} (bar: {most:g}{'' if figure <= most else ', MISSED'})" for words, figure, most in verdicts]
    text = "\n".join([*table, "", *lines])
    print(text)
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        about = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPUs, engines: {', '.join(languages.installed())}."
        if missing:
            about += " Not measured yet, clips by kind: " + ", ".join(f"{kind} ({count})" for kind, count in missing.items()) + "."
        PAGE.write_text(f"{before}{BEGIN}\n{about}\n\n{text}\n{END}{rest.partition(END)[2]}")
    sys.exit(any(figure > most for _, figure, most in verdicts))


def collected(options: argparse.Namespace) -> tuple[dict[str, list[Figures]], Counter[str]]:
    """The figures by the kind of their clips, kept ones or measured; and how many of a kind there are none of."""
    kept = {one.name: one for one in (Figures(**json.loads(line)) for line in _lines(options.keep))}
    kinds: dict[str, list[Figures]] = defaultdict(list)
    missing: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with_whisper = "whisper" in languages.installed() and not options.kept
        settings = {"PIPELINE_WHISPER_MODEL": str(models.whisper(folder))} if with_whisper else {}
        for plan in clips.every(folder, hour=options.hour):
            if options.only not in plan.kind:
                continue
            began = time.monotonic()
            found = kept.get(plan.name) or (None if options.kept else _measured(measure(plan.make(), folder, settings), options.keep))
            if found is None:
                missing[plan.kind] += 1
                continue
            kinds[plan.kind].append(found)
            print(f"{found.name}: WER {found.error}, DER {found.speakers}, {time.monotonic() - began:.0f} s", flush=True)
    return kinds, missing


def _lines(path: Path | None) -> list[str]:
    return path.read_text().splitlines() if path is not None and path.exists() else []


def _measured(figures: Figures, keep: Path | None) -> Figures:
    if keep is not None:
        with keep.open("a") as file:
            file.write(json.dumps(asdict(figures)) + "\n")
    return figures


if __name__ == "__main__":
    main()
