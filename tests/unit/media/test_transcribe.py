from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tracemalloc
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import JobCancelled
from pipeline_jobs.media import analyse, cues, languages, speech, transcribe, voice, whisper_model
from pipeline_jobs.media.languages import Heard, LanguageUnsupported
from pipeline_jobs.media.speech import Phrase, Samples, Word
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import SAMPLES, FakeReporter, word_share

RATE = speech.RATE


class Counting:
    """An engine that says how long each piece was."""

    name = "counting-en"

    def __init__(self) -> None:
        self.lengths: list[float] = []

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        self.lengths.append(len(samples) / RATE)
        return [Phrase(0.0, 100.0, f"This is piece number {len(self.lengths)}.")]


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    engine = Counting()
    monkeypatch.setattr(speech, "load", lambda name, model=None: engine)
    return engine


class Bilingual(speech.Whisper):
    """An engine that hears Whisper's way: the language that it is told, its words with their times."""

    def __init__(self, language: str, probability: float) -> None:
        self.name, self.heard, self.asked = "whisper-base", Heard(language, probability), list[str | None]()

    def language(self, samples: Samples) -> Heard:
        assert len(samples) <= transcribe.ENOUGH * RATE
        return self.heard

    def transcribe(self, samples: Samples, language: str | None) -> Sequence[Phrase]:
        self.asked.append(language)
        words = (Word(0.5, 0.9, "Guten", 0.9), Word(1.0, 1000.0, "Tag.", 0.4567))
        return [Phrase(0.5, 1.5, "Guten Tag.", words)]


@pytest.fixture
def hears(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counting: Counting) -> Callable[[str, float], Bilingual]:
    """`hears("de", 0.9)`: both engines are installed, and Whisper finds this language in the sound."""

    def make(language: str, probability: float) -> Bilingual:
        engine = Bilingual(language, probability)
        (tmp_path / "model.bin").touch()
        monkeypatch.setattr(languages, "installed", lambda: ("moonshine", "whisper"))
        monkeypatch.setattr(whisper_model, "folder", lambda named: tmp_path)
        monkeypatch.setattr(speech, "load", lambda name, model=None: counting if name == "moonshine" else engine)
        return engine

    return make


def write(path: Path, samples: Samples) -> Path:
    with wave.open(str(path), "wb") as wav:
        wav.setparams((1, 2, RATE, 0, "NONE", ""))
        wav.writeframes((samples * 32767).astype(np.int16).tobytes())
    return path


def read(name: str) -> Samples:
    with wave.open(str(SAMPLES / name)) as wav:
        return np.frombuffer(wav.readframes(wav.getnframes()), dtype=np.int16).astype(np.float32) / np.float32(32767)


HARBOR = read("harbor.wav")
#: Its first two sentences.
BEGINNING = HARBOR[: 9 * RATE]
#: And its first one.
SENTENCE = HARBOR[: 5 * RATE]


def with_sound(make_context: MakeContext, samples: Samples, start: float = 0.0, **options: object) -> JobContext:
    context = make_context(data={"speech": "speech.wav", "speech_start": start}, **options)
    write(context.workdir / "speech.wav", samples)
    context.stage = "transcribe"
    return context


def noise(seconds: float, level: float = 0.2) -> Samples:
    generator = np.random.default_rng(1)
    return (generator.uniform(-level, level, int(seconds * RATE))).astype(np.float32)


def tone(seconds: float, hertz: float = 440.0) -> Samples:
    made: Samples = (0.3 * np.sin(np.arange(int(seconds * RATE)) * (2 * np.pi * hertz / RATE))).astype(np.float32)
    return made


def chord(seconds: float) -> Samples:
    """Music of a kind: three notes that change twice a second."""
    notes = [sum((tone(0.5, 220 * 2 ** ((step + third) / 12)) for third in (0, 4, 7)), silence(0.5)) / 3 for step in (0, 5, 7, 3)]
    return np.tile(np.concatenate(notes), int(seconds / 2))


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE), dtype=np.float32)


def espeak(path: Path, text: str, language: str = "en-us", speed: int = 150) -> Samples:
    """The text by a synthetic voice, at the rate of the model (each second sample of 22 kHz would squeak: resampled by lines)."""
    subprocess.run(["espeak-ng", "-v", language, "-s", str(speed), "-w", str(path), text], check=True)
    with wave.open(str(path)) as wav:
        sound = np.frombuffer(wav.readframes(wav.getnframes()), dtype=np.int16).astype(np.float32) / 32768
        moments = np.arange(0, len(sound) / wav.getframerate(), 1 / RATE)
        spoken: Samples = np.interp(moments * wav.getframerate(), np.arange(len(sound)), sound).astype(np.float32)
        return spoken


def test_the_spoken_words_are_found_with_their_times(make_context: MakeContext) -> None:
    said = transcribe.run(with_sound(make_context, HARBOR, start=10.0))
    assert word_share((SAMPLES / "harbor.txt").read_text(), said["transcript"]) > 0.9
    assert said["speech_model"] == "moonshine-tiny-en"
    assert said["transcript"] == " ".join(segment["text"] for segment in said["segments"])
    ends = [10.0]
    for segment in said["segments"]:
        assert ends[-1] <= segment["start"] < segment["end"] <= 10.0 + len(HARBOR) / RATE
        assert segment["end"] - segment["start"] >= voice.SHORTEST_SENT
        ends.append(segment["end"])
    assert len(ends) >= 3


def spans_of(sound: Samples, path: Path) -> list[tuple[int, int]]:
    return voice.joined(voice.stretches(write(path, sound), lambda done: None))


#: What a process may have heard before a clip, of the same or of another tenant.
HISTORIES: dict[str, Callable[[Path], Samples]] = {
    "itself": lambda folder: SENTENCE,
    "a tone": lambda folder: tone(2),
    "noise": lambda folder: noise(2),
    "another voice": lambda folder: espeak(folder / "voice.wav", "Another person says this."),
    "half a word": lambda folder: HARBOR[: int(1.3 * RATE)],
    "silence": lambda folder: silence(2),
}


def test_a_clip_has_the_same_transcript_whatever_was_heard_before(make_context: MakeContext, tmp_path: Path) -> None:
    """State of a model or a detector that outlives a job would show one tenant's sound in another's transcript."""
    alone = in_a_new_process(tmp_path)
    for name, history in HISTORIES.items():
        before = history(tmp_path)
        if not transcribe.run(with_sound(make_context, before))["transcript"]:
            # As it would be if no detector of ours stood before the model.
            speech.load("moonshine").transcribe(before[: int(voice.LONGEST) * RATE], None)
        assert json.dumps(transcribe.run(with_sound(make_context, SENTENCE))) == alone, f"after {name}"


def in_a_new_process(folder: Path) -> str:
    """The JSON of that sentence by a process that heard nothing before."""
    code = (
        "import json, sys; from types import SimpleNamespace; from pathlib import Path; from pipeline_jobs.media import transcribe; "
        "context = SimpleNamespace(params={}, workdir=Path(sys.argv[1]), data={'speech': 'alone.wav', 'speech_start': 0.0}, "
        "progress=lambda fraction, message: None); print(json.dumps(transcribe.run(context)))"
    )
    write(folder / "alone.wav", SENTENCE)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True, cwd=SAMPLES.parent)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "sound", [silence(20), noise(20), noise(20, level=0.02), tone(20), chord(20)], ids=["silence", "loud noise", "noise", "tone", "music"]
)
def test_what_is_no_speech_has_no_words(make_context: MakeContext, reporter: FakeReporter, sound: Samples) -> None:
    said = transcribe.run(with_sound(make_context, sound))
    assert (said["transcript"], said["segments"]) == ("", [])
    assert reporter.percents[-1] == 100.0


def test_quiet_speech_is_heard(make_context: MakeContext) -> None:
    said = transcribe.run(with_sound(make_context, BEGINNING * 0.02))
    spoken = re.split(r"(?<=\.) ", (SAMPLES / "harbor.txt").read_text())
    assert word_share(" ".join(spoken[:2]), said["transcript"]) > 0.9


def test_nothing_is_said_twice_and_no_piece_is_too_long_or_too_short(
    make_context: MakeContext, counting: Counting, reporter: FakeReporter
) -> None:
    parts = [HARBOR, silence(3), HARBOR[: 3 * RATE], silence(1), np.tile(HARBOR, 3)]
    said = transcribe.run(with_sound(make_context, np.concatenate(parts)))
    assert all(voice.SHORTEST_SENT <= length <= voice.LONGEST for length in counting.lengths)
    assert len(said["segments"]) == len(counting.lengths)
    times = [time for segment in said["segments"] for time in (segment["start"], segment["end"])]
    assert times == sorted(times), "an end that the model set too late goes back to its piece's"
    assert reporter.percents == sorted(set(reporter.percents)), "each piece is a step"
    assert reporter.percents[-1] == 100.0


def test_speech_without_a_pause_is_cut_where_it_is_quietest(tmp_path: Path) -> None:
    sound = np.concatenate([noise(15), noise(0.4, 0.002), noise(19), noise(0.4, 0.002), noise(60)])
    path = write(tmp_path / "a.wav", sound)
    found = list(voice.pieces(path, [(0, len(sound))]))
    ends = [span[1] / RATE for span, _ in found]
    assert ends[:2] == pytest.approx([15.2, 34.6], abs=0.2)
    assert all(voice.SHORTEST * RATE <= len(samples) <= voice.LONGEST * RATE for _, samples in found)
    assert [span[0] for span, _ in found] == [0, *(span[1] for span, _ in found[:-1])], "nothing is lost and nothing is heard twice"
    assert ends[-1] * RATE == len(sound)


def test_neighbours_are_joined_up_to_a_length_and_over_a_short_silence_only() -> None:
    seconds = [(0, 8), (9, 17), (18, 25), (25.5, 28), (32, 33)]
    found = voice.joined((int(begin * RATE), int(end * RATE)) for begin, end in seconds)
    assert [(begin / RATE, end / RATE) for begin, end in found] == [(0, 25), (25.5, 28), (32, 33)]


def test_a_cue_is_a_caption_and_stands_while_it_is_said(make_context: MakeContext) -> None:
    """The two sentences of the sample's middle, with the silence of a second between: the cues know it, the model does not."""
    said = transcribe.run(with_sound(make_context, np.concatenate([HARBOR[: 9 * RATE], silence(1.5), HARBOR[: 9 * RATE]])))
    assert all(cues.fits(segment["text"]) for segment in said["segments"])
    quiet = [segment for segment in said["segments"] if segment["start"] < 9.3 and segment["end"] > 10.2]
    assert quiet == [], "no cue stands over a silence that ends a sentence"


def test_numbers_are_written_as_the_job_says(make_context: MakeContext, counting: Counting) -> None:
    said = transcribe.run(with_sound(make_context, HARBOR[: 5 * RATE], params={"numbers": "words"}))
    assert said["transcript"] == "This is piece number one."


def test_the_model_is_given_the_sound_and_no_copy_of_it_as_a_list() -> None:
    """A list has 32 bytes a sample where the sound has four: 1.8 GB of an hour."""
    moonshine, sound = speech.load("moonshine"), BEGINNING
    moonshine.transcribe(sound[:RATE], None)
    tracemalloc.start()
    moonshine.transcribe(sound, None)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2 * sound.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted on Linux only")
def test_the_search_for_speech_is_done_by_one_thread_and_leaves_others_theirs(tmp_path: Path) -> None:
    """Several wait for each other at each frame. A new process: threads of one that has searched before would be there already."""
    code = (
        "import os, sys; from pathlib import Path; from pipeline_jobs.media import voice; "
        "threads = lambda: len(os.listdir('/proc/self/task')); before = threads(); "
        "found = voice.stretches(Path(sys.argv[1]), lambda share: None); "
        "print(len(found), threads() - before, os.environ['OMP_THREAD_LIMIT'])"
    )
    path = write(tmp_path / "speech.wav", SENTENCE)
    env = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_THREAD_LIMIT": "7"}
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, cwd=SAMPLES.parent, env=env)
    found, more, limit = done.stdout.split()
    assert (int(found) > 0, more, limit) == (True, "0", "7")


def test_a_click_is_no_speech_and_the_edges_of_words_are_kept(tmp_path: Path) -> None:
    click = HARBOR[int(1.0 * RATE) : int(1.2 * RATE)]
    assert spans_of(np.concatenate([silence(2), click, silence(2)]), tmp_path / "click.wav") == []
    (span,) = spans_of(np.concatenate([silence(2), HARBOR[: 3 * RATE], silence(2)]), tmp_path / "words.wav")
    assert 1.8 <= span[0] / RATE <= 2.3
    assert 4.7 <= span[1] / RATE <= 5.3


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.1, 0.29])
def test_a_moment_of_sound_is_not_sent_to_the_model(make_context: MakeContext, counting: Counting, seconds: float) -> None:
    said = transcribe.run(with_sound(make_context, HARBOR[RATE : RATE + int(seconds * RATE)]))
    assert (said["transcript"], said["segments"], counting.lengths) == ("", [], [])


def test_a_cancel_reaches_the_search_and_the_middle(make_context: MakeContext, counting: Counting, reporter: FakeReporter) -> None:
    reporter.cancel_if = lambda percent, message: percent > 2
    with pytest.raises(JobCancelled):
        transcribe.run(with_sound(make_context, np.tile(HARBOR, 4)))
    assert counting.lengths == []
    reporter.cancelled.clear()
    reporter.cancel_if = lambda percent, message: percent > 60
    with pytest.raises(JobCancelled):
        transcribe.run(with_sound(make_context, np.tile(HARBOR, 4)))
    assert 0 < sum(counting.lengths) < 50


def test_a_language_that_the_model_does_not_know_is_refused(make_context: MakeContext, counting: Counting) -> None:
    context = with_sound(make_context, HARBOR[: 3 * RATE])
    context.params = {**context.params, "language": "de"}
    with pytest.raises(LanguageUnsupported, match=r"'de'.*en"):
        transcribe.run(context)


def test_speech_in_another_language_is_heard_by_the_model_that_knows_it(
    make_context: MakeContext, hears: Callable[[str, float], Bilingual]
) -> None:
    engine = hears("de", 0.9)
    said = transcribe.run(with_sound(make_context, HARBOR[: 5 * RATE], start=2.0))
    assert (said["speech_model"], said["spoken_language"], said["warnings"], set(engine.asked)) == ("whisper-base", "de", [], {"de"})
    (segment,) = said["segments"]
    assert segment["text"] == said["transcript"] == "Guten Tag."
    words = json.loads((make_context().workdir / said["words"]).read_text())
    assert [(word["text"], word["confidence"]) for word in words] == [("Guten", 0.9), ("Tag.", 0.457)]
    assert (words[0]["start"], words[-1]["end"]) == (segment["start"], segment["end"])
    assert 2.5 <= segment["start"] < segment["end"] <= 7.0, "no word ends after its piece"


def test_it_is_refused_where_the_model_that_does_not_know_it_was_asked_for(
    make_context: MakeContext, hears: Callable[[str, float], Bilingual]
) -> None:
    hears("de", 0.9)
    with pytest.raises(LanguageUnsupported):
        transcribe.run(with_sound(make_context, HARBOR[: 5 * RATE], params={"speech_model": "moonshine"}))


def test_a_language_that_is_not_clear_is_a_warning_or_the_end(
    make_context: MakeContext, hears: Callable[[str, float], Bilingual], counting: Counting
) -> None:
    hears("de", 0.4)
    said = transcribe.run(with_sound(make_context, HARBOR[: 5 * RATE]))
    assert (said["speech_model"], said["spoken_language"], len(counting.lengths)) == ("counting-en", None, 1)
    assert [text.partition(":")[0] for text in said["warnings"]] == ["language_unknown"]
    with pytest.raises(LanguageUnsupported, match="not say clearly"):
        transcribe.run(with_sound(make_context, HARBOR[: 5 * RATE], params={"on_language": "fail"}))


def test_english_is_heard_by_the_default_engine_and_a_language_that_is_named_is_believed(
    make_context: MakeContext, hears: Callable[[str, float], Bilingual], counting: Counting
) -> None:
    engine = hears("en", 0.9)
    assert transcribe.run(with_sound(make_context, HARBOR[: 5 * RATE]))["speech_model"] == "counting-en"
    hears("fr", 0.9)
    said = transcribe.run(with_sound(make_context, HARBOR[: 5 * RATE], params={"language": "en"}))
    assert (said["speech_model"], said["spoken_language"], engine.asked) == ("counting-en", "en", [])


def test_a_model_that_is_not_there_yet_leaves_the_language_to_the_transcript(
    make_context: MakeContext, hears: Callable[[str, float], Bilingual], tmp_path: Path
) -> None:
    hears("de", 0.9)
    (tmp_path / "model.bin").unlink()
    said = transcribe.run(with_sound(make_context, HARBOR[: 5 * RATE]))
    assert (said["speech_model"], [text.partition(":")[0] for text in said["warnings"]]) == ("counting-en", ["language_unchecked"])


#: What is said in four languages; the model knows English.
SAID = {
    "en-us": (
        "The river rises in the hills and runs for eighty miles before it meets the sea. In the last century a ferry carried people from "
        "one bank to the other. Then the bridge was built, and the ferry stopped. The old pier is still there. Children jump from it in "
        "summer, and in winter the waves break over it. Every few years somebody wants to pull it down, and every time the people of the "
        "town say no."
    ),
    "es": (
        "El río nace en las montañas y corre durante ochenta kilómetros antes de llegar al mar. En el siglo pasado un barco llevaba a la "
        "gente de una orilla a la otra. Después se construyó el puente y el barco dejó de funcionar. El viejo muelle sigue allí. Los "
        "niños saltan desde él en verano y en invierno las olas lo cubren. Un buen pan necesita harina, agua, sal y tiempo. Mezcla todo "
        "en un recipiente grande y deja reposar la masa una hora. Dóblala varias veces y espera hasta que doble su tamaño. Calienta el "
        "horno con una olla pesada dentro. Cuando la olla esté caliente, pon la masa y la tapa. El consejo se reunió el martes por la "
        "tarde para hablar de la nueva biblioteca. El arquitecto mostró un modelo de madera y papel. Algunos miembros preguntaron por el "
        "precio, otros por los árboles que habría que cortar. Una maestra dijo que la escuela esperaba desde hacía diez años."
    ),
    "fr": (
        "La rivière naît dans les collines et coule pendant quatre-vingts kilomètres avant de rejoindre la mer. Au siècle dernier un bac "
        "portait les gens d'une rive à l'autre. Puis le pont fut construit et le bac s'arrêta. Le vieux quai est toujours là. Les enfants"
        " y sautent en été. Un bon pain demande de la farine, de l'eau, du sel et du temps. Mélangez le tout dans un grand bol et laissez"
        " reposer la pâte une heure. Pliez-la plusieurs fois et attendez qu'elle double de volume. Chauffez le four avec une lourde "
        "marmite à l'intérieur."
    ),
    "it": (
        "Il fiume nasce sulle colline e scorre per ottanta chilometri prima di arrivare al mare. Nel secolo scorso un traghetto portava "
        "la gente da una riva all'altra. Poi fu costruito il ponte e il traghetto si fermò. Il vecchio molo è ancora lì. I bambini "
        "saltano da lì in estate. Un buon pane ha bisogno di farina, acqua, sale e tempo. Mescola tutto in una grande ciotola e lascia "
        "riposare la pasta per un'ora. Piegala alcune volte e aspetta che raddoppi. Scalda il forno con una pentola pesante dentro."
    ),
}


def test_speech_in_another_language_is_told_and_english_is_not_doubted(make_context: MakeContext, tmp_path: Path) -> None:
    """A sign and no proof (see `analyse.is_uncertain`): with another release of the voices one of the three may pass unnoticed, so the
    first that is told will do. How many of ten are: `tests/heavy/bar_languages.py`."""

    def is_doubted(language: str) -> bool:
        context = with_sound(make_context, espeak(tmp_path / "voice.wav", SAID[language], language, speed=175))
        context.data.update(transcribe.run(context))
        said = analyse.run(context)
        doubted = any(text.startswith("language_uncertain") for text in said["warnings"])
        assert (said["language"], bool(said["summary"])) == ((None, False) if doubted else ("en", True))
        return doubted

    assert not is_doubted("en-us")
    assert any(map(is_doubted, ("fr", "it", "es")))
