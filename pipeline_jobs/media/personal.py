"""Mask what names a person or an account in what was heard (`params.mask`): e-mail addresses, cards, IBANs, and other long numbers.

Rules, and no model: they see digits and addresses, written or spoken, and neither names, streets nor dates in words. Where they are not
sure they mask: somebody who counts aloud to ten loses the numbers. The sound still says all of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from text_to_num import text2num

from pipeline_jobs.media.speech import Phrase, Word
from pipeline_jobs.media.spoken_numbers import is_number

Kind = Literal["email", "card", "iban", "number"]

#: Digits of a number that is masked, at least; a card's; characters of an IBAN.
LEAST, CARD, IBAN = 7, range(13, 20), range(15, 35)
#: An address that is spoken has at most so many words.
LONGEST_ADDRESS = 14
#: Where many have their addresses: "smith at gmail dot com" is one, "look at example dot com" is none.
PROVIDERS = ("aol", "gmail", "gmx", "googlemail", "hotmail", "icloud", "live", "mail", "me", "msn", "outlook", "proton", "protonmail",
             "web", "yahoo", "yandex")  # fmt: skip

_MARKS = ".,;:!?"
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}")
_SPOKEN = re.compile(
    r"(?P<local>[\w+-]+(?:\.[\w+-]+)*(?P<joined>(?: (?:dot|underscore|dash|hyphen) [\w+-]+(?:\.[\w+-]+)*)*)) at "
    r"(?P<domain>[\w-]+(?:(?: dot |\.)[\w-]+)*)(?: dot |\.)[a-z]{2,}(?=[.,;:!?]*(?: |$))"
)
#: Digits with what stands between those of a telephone number, or of a card.
_DIGITS = re.compile(r"\+?\(?\d[\d().\-/]*")
#: 1,500,000 and 12.50 are amounts; "2023," is a year of a list.
_AMOUNT = re.compile(r"\d+[.,]\d+|\d{1,3}(?:[.,]\d{3})+(?:[.,]\d+)?")
_YEAR = re.compile(r"(?:19|20)\d\d[.,;]")
#: What is said between the digits of one number; and how often the next digit is said to stand there.
_BETWEEN, _TIMES = ("-", "–", "dash", "hyphen", "plus"), {"double": 2, "triple": 3}


class Mark(NamedTuple):
    """Words to mask: the first, and the one after the last."""

    begin: int
    end: int
    kind: Kind


def masked(phrases: Sequence[Phrase], kinds: Collection[str], language: str | None) -> tuple[list[Phrase], Counter[str]]:
    """The phrases with `[email]`, `[card]`, `[iban]` or `[number]` in the place of what is of these kinds, and how many of each there were.

    What is said across phrases is masked in the first of them; one of which nothing is left is left out.

    :param language: ISO 639-1, of number words; None: English.
    """
    said = [(number, word) for number, phrase in enumerate(phrases) for word in _words(phrase)]
    marks = [mark for mark in found([word.text for _, word in said], language or "en") if mark.kind in kinds]
    kept: dict[int, list[Word]] = {number: [] for number in range(len(phrases))}
    at = 0
    for mark in [*marks, Mark(len(said), len(said), "number")]:
        for number, word in said[at : mark.begin]:
            kept[number].append(word)
        if mark.begin < mark.end:
            kept[said[mark.begin][0]].append(_instead([word for _, word in said[mark.begin : mark.end]], mark.kind))
        at = mark.end
    return [_of(phrase, kept[number]) for number, phrase in enumerate(phrases) if kept[number]], Counter(mark.kind for mark in marks)


def _words(phrase: Phrase) -> Sequence[Word]:
    """The words of a phrase, each with its time, or with that of the phrase where words have none."""
    return phrase.words or [Word(phrase.start, phrase.end, text, 1.0) for text in phrase.text.split()]


def _instead(words: Sequence[Word], kind: Kind) -> Word:
    last = words[-1].text
    mark = f"[{kind}]{last[len(last.rstrip(_MARKS)) :]}"
    return Word(words[0].start, words[-1].end, mark, min(word.confidence for word in words))


def _of(phrase: Phrase, words: Sequence[Word]) -> Phrase:
    return replace(phrase, text=" ".join(word.text for word in words), words=tuple(words) if phrase.words else ())


def found(words: Sequence[str], language: str) -> Iterator[Mark]:
    """The places to mask, in order; none overlaps another."""
    at = 0
    while at < len(words):
        mark = _iban(words, at) or _email(words, at) or _number(words, at, language)
        if mark:
            yield mark
        at = mark.end if mark else at + 1


def _email(words: Sequence[str], at: int) -> Mark | None:
    if _EMAIL.fullmatch(words[at].strip(_MARKS + "<>()\"'")):
        return Mark(at, at + 1, "email")
    said = _SPOKEN.match(" ".join(words[at : at + LONGEST_ADDRESS]).lower())
    if said and (said["joined"] or re.search(r"[\d.]", said["local"]) or re.split(r"[ .]", said["domain"])[0] in PROVIDERS):
        return Mark(at, at + said[0].count(" ") + 1, "email")
    return None


def _iban(words: Sequence[str], at: int) -> Mark | None:
    if not re.match(r"[A-Z]{2}\d\d[A-Z\d]*$", words[at].strip(_MARKS)):
        return None
    whole, best = "", None
    for end in range(at, len(words)):
        part = words[end].strip(_MARKS)
        whole += part
        if not re.fullmatch(r"[A-Z\d]+", part) or len(whole) > IBAN[-1]:
            break
        if len(whole) in IBAN and _mod_97(whole) == 1:
            best = Mark(at, end + 1, "iban")
    return best


def _mod_97(iban: str) -> int:
    """ISO 7064, as IBANs are checked: letters are numbers from 10 on, and the first four characters stand at the end."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97


def _number(words: Sequence[str], at: int, language: str) -> Mark | None:
    if _YEAR.fullmatch(words[at]) or words[at] in _BETWEEN[:-1]:
        return None
    digits, end, times = "", at, 1
    for place in range(at, len(words)):
        word = words[place].strip(_MARKS).lower()
        said = _digits(word, language, inside=bool(digits))
        if said is None and word not in _BETWEEN and word not in _TIMES:
            break
        if said is not None:
            digits, end = digits + said[:1] * (times - 1) + said, place + 1
        times = _TIMES.get(word, 1)
    if len(digits) < LEAST:
        return None
    return Mark(at, end, "card" if len(digits) in CARD and is_card(digits) else "number")


def _digits(word: str, language: str, *, inside: bool) -> str | None:
    """Of a word that is a part of a number. "oh" is a nought inside of one only."""
    if _DIGITS.fullmatch(word):
        return None if _AMOUNT.fullmatch(word) else re.sub(r"\D", "", word)
    # "fifty-five" is one number, "four-one-five" are three.
    values = [_value(part, language, inside=inside) for part in ([word] if is_number(word, language) else word.split("-"))]
    return None if None in values else "".join(filter(None, values))


def _value(word: str, language: str, *, inside: bool) -> str | None:
    if language == "en" and inside and word in ("o", "oh"):
        return "0"
    if word.isdecimal() or any(map(str.isdigit, word)) or not is_number(word, language):
        return word if word.isdecimal() else None
    # A hundred is an amount, or a part of one.
    return str(value) if (value := text2num(word, language)) < 100 else None


def is_card(digits: str) -> bool:
    """ISO/IEC 7812: the sum that Luhn's formula wants."""
    doubled = (sum(divmod(int(digit) * (1 + place % 2), 10)) for place, digit in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0
