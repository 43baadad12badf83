"""What forms share: a token, numbers and lists of words as they are typed, and what is wrong with a form, at its fields."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable

from flask import Response, request

from pipeline_jobs.web.problems import Refused

#: A word of a list: in quotes, within which a quote is doubled, or all up to the next comma.
_WORD = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"\s*|(?P<plain>[^,]*))(?:,|$)')
#: Only in quotes a word is read as it is written.
_MUST_BE_QUOTED = re.compile(r'[,"]|^\s|\s$')


def form_token() -> str:
    """For a form that does something: sent twice, it does it once. A form that was refused has done nothing and keeps its token."""
    return request.form.get("token") or secrets.token_urlsafe(16)


def sent_token() -> str | None:
    """The token of the form that was sent, as an idempotency key."""
    return request.form.get("token", "")[:64] or None


def typed_number(text: str, whole: bool) -> int | float | str:
    """What is no number stays a text, for the check of the fields to refuse."""
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return text


def write_words(words: Iterable[str]) -> str:
    """As they are typed into one field: separated by commas, in quotes where a word has a comma itself."""
    return ", ".join('"' + word.replace('"', '""') + '"' if _MUST_BE_QUOTED.search(word) else word for word in words)


def read_words(name: str, text: str) -> list[str]:
    """What `write_words` wrote; without those that are empty.

    :param name: of the field. :raises Refused: 422, a quote is not closed, or something but a comma follows one that is.
    """
    words, at = [], 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None or (found["plain"] or "").startswith('"'):
            raise Refused(422, "invalid_input", 'a word in quotes ends with a quote and a comma: "one, two", three', field=name)
        words.append((found["plain"] or "").strip() if found["quoted"] is None else found["quoted"].replace('""', '"'))
        at = found.end()
    return [word for word in words if word]


def problems_at(told: Response, shown: Collection[str]) -> dict[str, str]:
    """Each error of an answer of the API's at the field of the form where it belongs: `params.seconds` at its own, else at `params`; what
    has none at the top (`form`).

    :param shown: the fields that the form has.
    """
    body = told.get_json()
    errors = body.get("errors") or [{"field": body.get("field") or "form", "message": body["detail"]}]
    placed: dict[str, list[str]] = {}
    for one in errors:
        field, text = str(one["field"]), str(one["message"])
        parts = field.split(".")
        name = next((one for one in (".".join(parts[:2]), parts[0]) if one in shown), "form")
        placed.setdefault(name, []).append(text if field in (name, "form") or text.startswith(field) else f"{field}: {text}")
    return {name: "; ".join(texts) for name, texts in placed.items()}
