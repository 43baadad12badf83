"""Hooks of mkdocs, run by its own environment: the generated pages, links to files outside of docs/, and scripts that a strict content
security policy lets run."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / ".site/pages"
#: A Markdown link to a file, and its anchor. Not a picture, nor an address.
LINK = re.compile(r"(?<!!)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
#: The contents of what were inline scripts, by their file.
SCRIPTS: dict[str, str] = {}


def on_files(files: Any, config: Any) -> Any:
    """Adds what `tests.docs_site` made."""
    for page in sorted(GENERATED.rglob("*.md")):
        files.append(File.generated(config, page.relative_to(GENERATED).as_posix(), abs_src_path=str(page)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link to a file of the repository outside of docs/ becomes the file's name: the site has only what a reader of it needs."""
    here = PurePosixPath("docs", page.file.src_uri).parent
    shown = sources()

    def lead(found: re.Match[str]) -> str:
        there = normpath(str(here / found[1]))
        if there.startswith("docs/"):
            return found[0]
        if there in shown:
            return f"]({relpath('docs/' + shown[there], str(here))}{found[2] or ''})"
        raise ValueError(f"{page.file.src_uri}: {found[1]} is not in the site")

    return LINK.sub(lead, markdown)


def sources() -> dict[str, str]:
    """Files outside of docs/ that have a page in the site, with it."""
    listed = (GENERATED / "sources.txt").read_text().splitlines()
    return dict(line.split("\t") for line in listed)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Scripts in the page become files: the policy permits scripts of our own address only."""
    up = "../" * page.url.count("/")

    def out(found: re.Match[str]) -> str:
        name = hashlib.sha256(found[1].encode()).hexdigest()[:16]
        SCRIPTS[f"assets/inline/{name}.js"] = found[1]
        return f'<script src="{up}assets/inline/{name}.js"></script>'

    return INLINE.sub(out, output)


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """Likewise of the page for what is not there, which the API does not use: it answers 404 itself."""
    return "" if template_name == "404.html" else output_content


def on_post_build(config: Any, **_: Any) -> None:
    for name, text in SCRIPTS.items():
        file = Path(config["site_dir"]) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
