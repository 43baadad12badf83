"""What a browser would make of a page, and that nothing in it is of somebody else: no element, attribute or address that acts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser

UI = "/pipeline/ui"
#: An attribute that the hostile texts of the tests carry: no element of a page has it, unless a text became one.
MARK = "data-mark"

Attributes = dict[str, str | None]

#: What no page of ours has, whoever wrote it.
_NEVER = frozenset(
    {"iframe", "frame", "style", "object", "embed", "applet", "base", "math", "foreignobject", "use", "animate", "set", "template"}
)
_ADDRESSES = ("href", "src", "action", "formaction", "poster", "hx-get", "data-storyboard", "xlink:href")
#: A path (and no `//host`), the web, or a place on the page.
_ADDRESS = re.compile(r"/(?![/\\])|https?://|#|\Z")
_NUMBER, _PATH, _NAMES = re.compile(r"-?[\d.]+"), re.compile(r"[MCLHVZhvlcz\d\s.,-]+"), re.compile(r"[a-z0-9 _-]+")
_BOX = re.compile(r"0 0 [\d.]+ [\d.]+")
_ANY = re.compile(r".*", re.DOTALL)
_PLACE = {"class": _NAMES, "x": _NUMBER, "y": _NUMBER, "width": _NUMBER, "height": _NUMBER, "rx": _NUMBER}
_COLOUR = re.compile(r"#[0-9a-f]{3,6}|none")
_INK = {"fill": _COLOUR, "stroke": _COLOUR, "stroke-width": _NUMBER, "font-size": _NUMBER}
#: The elements of the server's own pictures, the attributes that each may have, and the whole of their values.
_PICTURE: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "svg": {
        **_PLACE,
        **_INK,
        "xmlns": re.compile(r"http://www\.w3\.org/2000/svg"),
        "viewbox": _BOX,
        "preserveaspectratio": re.compile("none"),
        "role": re.compile("img|group|slider"),
        "tabindex": re.compile("0"),
        "aria-label": _ANY,
        "aria-hidden": re.compile("true"),
        "aria-valuemin": _NUMBER,
        "font-family": re.compile("sans-serif"),
        "data-chart": _ANY,
    },
    "g": {"class": _NAMES},
    "rect": {**_PLACE, **_INK},
    "path": {**_INK, "class": _NAMES, "d": _PATH},
    "text": {**_PLACE, **_INK},
    "title": {},
    # The boxes of a workflow lead to its jobs, and nowhere else.
    "a": {"href": re.compile(re.escape(UI) + r"/jobs/[A-Za-z0-9_-]+")},
}


class Reader(HTMLParser):
    """The elements of a page, each with its attributes and whether it stands in a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, Attributes, bool]] = []
        self._open = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), self._open > 0 or tag == "svg"))
        self._open += tag == "svg"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), self._open > 0 or tag == "svg"))

    def handle_endtag(self, tag: str) -> None:
        self._open -= tag == "svg" and self._open > 0


def elements(page: str) -> Iterator[tuple[str, Attributes, bool]]:
    reader = Reader()
    reader.feed(page)
    yield from reader.found


def harmless(page: str) -> None:
    """Nothing of a hostile text became an element or an attribute, and nothing acts but the server's own files."""
    for tag, attributes, in_picture in elements(page):
        assert tag not in _NEVER, (tag, attributes)
        assert not [name for name in attributes if name.startswith(("on", "hx-on")) or name in (MARK, "style", "srcdoc")], (tag, attributes)
        assert tag != "script" or (attributes.get("src") or "").startswith(UI + "/static/"), attributes
        assert tag != "meta" or (attributes.get("http-equiv") or "") == "", attributes
        for name in _ADDRESSES:
            assert _ADDRESS.match(attributes.get(name) or ""), (tag, attributes)
        if in_picture:
            _drawn(tag, attributes)
    assert str(7919 * 7907) not in page


def _drawn(tag: str, attributes: Attributes) -> None:
    assert tag in _PICTURE, (tag, attributes)
    for name, value in attributes.items():
        allowed = _PICTURE[tag].get(name)
        assert allowed is not None, (tag, name)
        assert allowed.fullmatch(value or ""), (tag, name, value)
