"""Which language is spoken, by the extra `[whisper]` with the base model: five clips of 30 s in each of five languages."""

from __future__ import annotations

from pathlib import Path

from pipeline_jobs.media import speech, transcribe, voice
from pipeline_jobs.media.speech import Whisper
from tests.quality import models, voices
from tests.quality.clips import clean
from tests.quality.texts import FOREIGN, FOREIGN_HELD_OUT

#: espeak-ng's voice of the language, and others of its.
VARIANTS = (("", FOREIGN), ("+f2", FOREIGN), ("+m3", FOREIGN), ("", FOREIGN_HELD_OUT), ("+f2", FOREIGN_HELD_OUT))
SECONDS, RIGHT = 30, 24


def test_the_language_of_24_of_25_clips_is_heard(tmp_path: Path) -> None:
    engine = speech.load("whisper", models.whisper(tmp_path))
    assert isinstance(engine, Whisper)
    wrong, clips = [], [(language, variant, texts) for variant, texts in VARIANTS for language in texts]
    for language, variant, texts in clips:
        sound, _ = clean(f"espeak-{language}{variant}", texts[language], tmp_path)
        path = voices.write(tmp_path / "speech.wav", sound[: SECONDS * voices.RATE])
        spans = voice.joined(voice.stretches(path, lambda done: None))
        heard = engine.language(voice.sample(path, spans, transcribe.ENOUGH))
        print(f"{language}{variant}: {heard.language} {heard.probability:.2f}", flush=True)
        if heard.sure != language:
            wrong.append((language, variant, heard))
    print(f"the language is right in {len(clips) - len(wrong)} of {len(clips)}: {wrong}")
    assert len(clips) == 25
    assert len(clips) - len(wrong) >= RIGHT
