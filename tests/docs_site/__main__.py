"""`python -m tests.docs_site`: the generated pages, then the site by mkdocs, then its files to where the API serves them from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.docs_site import operations, reference, sources
from tests.docs_site.places import BUILT, PAGES, PYTHON, ROOT, SERVED


def write_pages() -> None:
    """All pages that are not in docs/."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for module in (operations, reference, sources):
        for name, text in module.pages().items():
            file = PAGES / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


def build() -> None:
    """The site, checked: a link that leads nowhere ends it."""
    env = {**os.environ, "DISABLE_MKDOCS_2_WARNING": "true", "NO_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(
        [str(PYTHON), "-m", "mkdocs", "build", "--strict", "--quiet"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or "WARNING" in done.stderr:
        sys.exit(done.stdout + done.stderr)


def main() -> None:
    write_pages()
    build()
    shutil.rmtree(SERVED, ignore_errors=True)
    shutil.copytree(BUILT, SERVED)
    pages = len(list(SERVED.rglob("*.html")))
    print(f"made a site of {pages} pages; the API serves it at /pipeline/docs/ from its next start on")


if __name__ == "__main__":
    main()
