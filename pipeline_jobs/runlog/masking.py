"""Takes secrets out of a text: those that are known by their value, and those that are known by their shape.

What is masked: API keys and webhook secrets of ours, passwords in URLs, signatures and tokens in the queries of URLs, what an
`Authorization` header has, and the values that `Mask` was made with. A secret of another shape, which nobody has named, is not known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from urllib.parse import quote

MASK = "***"
#: A shorter value may be part of any word: to mask it would say what it is.
SHORTEST = 4
#: The same of a line of one that has several, and how many lines of it are looked for: those of the longest keys.
SHORTEST_LINE, MOST_LINES = 12, 200
#: Each has one group: what stays. Numbers of repetitions are bounded, so that no text makes a pattern work longer than in proportion.
_SHAPES = (
    re.compile(r"(pjk_[0-9a-f]{16}_)[A-Za-z0-9_-]{16,64}"),
    re.compile(r"(whsec_)[A-Za-z0-9+/=]{16,128}"),
    re.compile(r"(://[^\s:/@]{0,128}:)[^\s@]{1,128}@"),
    re.compile(
        r"([?&](?:signature|sig|link|token|access_token|api_?key|key|password|secret|x-amz-signature|x-amz-credential|x-amz-security-token|"
        r"x-goog-signature|x-goog-credential)=)[^&\s\"'<>]{1,4096}",
        re.IGNORECASE,
    ),
    re.compile(r"(\b(?:bearer|basic) )[A-Za-z0-9._~+/=-]{8,4096}", re.IGNORECASE),
)
#: A text without any of these has no secret by its shape: to look for them takes a tenth of the time.
_HINTS = ("pjk_", "whsec_", "://", "=", "earer ", "asic ", "EARER ", "ASIC ")


class Mask:
    """Masks a text. `Mask()` knows secrets by their shape only."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        """:param values: secrets, each masked as it is, as a URL, JSON and Python have it, and line by line: so it is printed."""
        # Asterisks stand for a secret that is kept apart, and are none.
        whole = {value for value in values if len(value) >= SHORTEST and value.strip("*")}
        lines = {line.strip() for value in whole for line in value.splitlines()[:MOST_LINES]}
        known = whole | {line for line in lines if len(line) >= SHORTEST_LINE}
        known |= {form for value in whole for form in (quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1])}
        # The longest first: one may begin as another does.
        self._known = [*sorted(known, key=len, reverse=True)]

    def __call__(self, text: str) -> str:
        for value in self._known:
            text = text.replace(value, MASK)
        if any(hint in text for hint in _HINTS):
            for shape in _SHAPES:
                text = shape.sub(_masked, text)
        return text


def _masked(found: re.Match[str]) -> str:
    return f"{found[1]}{MASK}{'@' if found[0].endswith('@') else ''}"


#: What `Mask` does.
Masks = Callable[[str], str]
