"""Files of the repository that pages of docs/ link to: each has a page of its own in the site."""

from __future__ import annotations

import re
from posixpath import normpath

from tests.docs_site.places import ROOT

LINK = re.compile(r"(?<!!)\]\((?!\w+:|#)([^)#\s]+)(?:#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".yml": "yaml", ".yaml": "yaml", ".json": "json", ".conf": "nginx", ".cfg": "ini", ".lock": "text"}


def linked() -> list[str]:
    """Files outside of docs/ that its pages link to."""
    found = set()
    for page in (ROOT / "docs").rglob("*.md"):
        here = page.parent.relative_to(ROOT).as_posix()
        found |= {normpath(f"{here}/{path}") for path in LINK.findall(page.read_text("utf-8"))}
    return sorted(path for path in found if not path.startswith("docs/"))


def pages() -> dict[str, str]:
    made, listed = {}, []
    for name in linked():
        page = f"source/{name.replace('/', '-')}.md"
        made[page] = _page(name)
        listed.append(f"{name}\t{page}")
    made["sources.txt"] = "\n".join(listed)
    return made


def _page(name: str) -> str:
    path = ROOT / name
    if path.is_dir():
        files = "\n".join(f"- `{file.relative_to(path).as_posix()}`" for file in sorted(path.rglob("*")) if file.is_file())
        return f"# {name}\n\nA folder of the repository:\n\n{files}\n"
    text = path.read_text("utf-8")
    return f"# {name}\n\nA file of the repository.\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{text}\n````\n"
