"""Signatures held against Standard Webhooks libraries of other languages: npm's `standardwebhooks`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.receiver import Hit

PACKAGE = "standardwebhooks@1.1.1"
SCRIPT = Path(__file__).with_name("verify.mjs")


def install(folder: Path) -> bool:
    """Fetch the package into this folder. :return: False: there is no node or npm here, or the registry is out of reach."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}')
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE], cwd=folder, capture_output=True, timeout=300, check=False
    )
    return done.returncode == 0


def verify(folder: Path, signed: Iterable[tuple[str, Hit]]) -> dict[str, int]:
    """:param signed: (secret, request). :return: `{"good", "bad", "forged"}`: accepted, refused, accepted though the body was changed."""
    lines = [json.dumps({"secret": secret, "headers": dict(hit.headers), "body": hit.body.decode()}) for secret, hit in signed]
    done = subprocess.run(
        ["node", str(SCRIPT)], cwd=folder, input="\n".join(lines), capture_output=True, text=True, timeout=600, check=True
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found
