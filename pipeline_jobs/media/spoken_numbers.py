"""Numbers in a transcript as digits or as words. A model writes them either way, as it happens to."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from num2words import CONVERTER_CLASSES, num2words
from text_to_num import alpha2digit, text2num

Style = Literal["heard", "digits", "words"]

#: ISO 639-1 codes whose number words text2num knows.
LANGUAGES = frozenset({"da", "de", "en", "es", "fr", "it", "nl", "pt"})

#: "19 84" and "20 26", which were years in words; and "a 100".
_YEAR = re.compile(r"\b(1[1-9]|20) ([1-9]\d)\b(?![.,:]?\d)")
_A_HUNDRED = re.compile(r"\b[Aa] (?=1000?\b)")
#: An ordinal, a percentage, a number with or without separators; none that is a part of a word, a price, a time or a version.
_NUMBER = re.compile(r"(?<![\w$€£.,:/-])(\d{1,3}(?:,\d{3})+|\d{1,15})(\.\d{1,6})?(st|nd|rd|th|%)?(?![\w/:]|[.,]\d)")


def written(text: str, style: Style, language: str | None) -> str:
    """The text with its numbers in this style. In a language that nobody knows the numbers of, it stays as it was heard."""
    convert: Callable[[str, str], str] = {"heard": _heard, "digits": _digits, "words": _words}[style]
    return convert(text, language or "en")


def known(style: Style, language: str | None) -> bool:
    """`written` can do it in this language."""
    return style == "heard" or (language or "en") in (LANGUAGES if style == "digits" else CONVERTER_CLASSES)


@lru_cache(maxsize=4096)
def is_number(word: str, language: str | None) -> bool:
    """It is a number, in digits or in words of this language."""
    if any(map(str.isdigit, word)) or language not in LANGUAGES:
        return any(map(str.isdigit, word))
    try:
        text2num(word.lower(), language)
    except ValueError:
        return False
    return True


def _heard(text: str, language: str) -> str:
    return text


def _digits(text: str, language: str) -> str:
    if language not in LANGUAGES:
        return text
    found = str(alpha2digit(text, language))
    return _A_HUNDRED.sub("", _YEAR.sub(r"\1\2", found)) if language == "en" else found


def _words(text: str, language: str) -> str:
    if language not in CONVERTER_CLASSES:
        return text
    return _NUMBER.sub(lambda match: _in_words(match, language), text)


def _in_words(match: re.Match[str], language: str) -> str:
    whole, fraction, mark = match[1].replace(",", ""), match[2] or "", match[3]
    if mark in ("st", "nd", "rd", "th"):
        return str(num2words(int(whole), lang=language, to="ordinal"))
    year = not fraction and not mark and "," not in match[1] and 1100 <= int(whole) <= 2099
    number = float(whole + fraction) if fraction else int(whole)
    said = str(num2words(number, lang=language, **({"to": "year"} if year and language == "en" else {})))
    return f"{said} percent" if mark == "%" and language == "en" else said + (mark or "")
