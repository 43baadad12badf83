from __future__ import annotations

from pipeline_jobs.media.sentences import LONGEST, sentences, words
from tests.cases import each


@each(
    ("text", "expected"),
    [
        ("", []),
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith met Mr. J. Doe. They talked.", ["Dr. Smith met Mr. J. Doe.", "They talked."]),
        ("It is 3.5 metres long. Very long.", ["It is 3.5 metres long.", "Very long."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("no full stop at all", ["no full stop at all"]),
        ("Wait... what? Yes.", ["Wait... what?", "Yes."]),
        ("Élan vital. Überall. Привет. Да.", ["Élan vital.", "Überall.", "Привет.", "Да."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_text_without_any_stop_is_cut_by_length() -> None:
    text = " ".join(["word"] * (LONGEST * 2 + 5))
    assert [len(part.split()) for part in sentences(text)] == [LONGEST, LONGEST, 5]


def test_no_word_is_lost() -> None:
    text = "Well, i.e. this. And e.g. that? See No. 5 etc. and so on! End"
    assert " ".join(sentences(text)).split() == text.split()


def test_words() -> None:
    assert words("Don't stop-over, it's 5 o’clock_now!") == ["Don't", "stop-over", "it's", "5", "o’clock", "now"]
