"""Where the site is made, and where from it is served."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The pages that are made from the code.
PAGES = ROOT / ".site/pages"
BUILT = ROOT / ".site/html"
#: Data of our package, if it is there when the package is built.
SERVED = ROOT / "pipeline_jobs/web/site"
PYTHON = ROOT / ".venv-site/bin/python"
