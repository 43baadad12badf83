"""`python -m pipeline_jobs.settings_doc` prints `docs/settings.md`, made from the descriptions in `settings`."""

from __future__ import annotations

import sys
from typing import Any

from pipeline_jobs.settings import Settings

HEAD = """\
# Settings

Every setting is an environment variable, read once at start. An empty one counts as unset. A wrong value, or an unknown name that
begins with `PIPELINE_` or `ENABLE_PIPELINE_`, ends the process at start with one line that says what is wrong. What Kubernetes puts
into the environment for a service named `pipeline-...` (`PIPELINE_..._SERVICE_HOST`, `..._SERVICE_PORT`, `..._PORT=tcp://...`,
`..._PORT_6379_TCP`) is passed over.

This page is made by `make docs` from `pipeline_jobs/settings.py`; a test fails when they differ.

| variable | default | allowed | what it is |
|---|---|---|---|
"""


def render() -> str:
    """The whole page, as Markdown."""
    return HEAD + "".join(_row(str(info.validation_alias), info) for info in Settings.model_fields.values())


def _row(name: str, info: Any) -> str:
    cells = (f"`{name}`", _default(info.default), _allowed(info), info.description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(value: Any) -> str:
    if value in ("", None):
        return "empty"
    return f"`{int(value) if isinstance(value, bool) else value}`"


def _allowed(info: Any) -> str:
    if info.annotation is bool:
        return "0, 1"
    kind = {int: "integer", int | None: "integer", float: "number"}.get(info.annotation, "")
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "pattern": "matches"}
    limits = [
        f"{sign} `{value}`" if name == "pattern" else f"{sign} {value}"
        for limit in info.metadata
        for name, sign in signs.items()
        if (value := getattr(limit, name, None)) is not None
    ]
    return " ".join(filter(None, (kind, ", ".join(limits))))


if __name__ == "__main__":
    sys.stdout.write(render())
