"""Contenders as processes, each peer in an environment of its own under `.bench/` (made when first needed)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benchmarks" / "peers"
HOME = ROOT / ".bench"


def python_of(peer: str) -> str:
    """The interpreter that has a peer's pinned packages (`benchmarks/peers/{peer}.txt`)."""
    pinned = (PEERS / f"{peer}.txt").read_text("utf-8")
    folder = HOME / peer
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if not stamp.is_file() or stamp.read_text("utf-8") != pinned:
        print(f"  installing {peer} into {folder.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", str(PEERS / f"{peer}.txt")]
        subprocess.run(pip, check=True)
        stamp.write_text(pinned, "utf-8")
    return str(python)


def spawn(command: list[str], environ: dict[str, str], log: Path, **options: Any) -> subprocess.Popen[bytes]:
    """A process in a group of its own, in the folder of the peers' scripts unless `cwd` says another."""
    with log.open("ab") as file:
        return subprocess.Popen(
            command, cwd=options.pop("cwd", PEERS), env=environ, stderr=file, start_new_session=True, **{"stdout": file, **options}
        )


class Peer:
    """A contender's submitting side: `call("enqueue", n=1000)`."""

    def __init__(self, name: str, script: str, python: str, environ: dict[str, str], log: Path) -> None:
        self.name, self._log = name, log
        self._process = spawn([python, str(PEERS / script)], {**os.environ, **environ}, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._read()

    def call(self, command: str, **arguments: Any) -> Any:
        """:raises RuntimeError: the peer failed; its log's end is in the text."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        return self._read()

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended:\n{self._log.read_text('utf-8', 'replace')[-2000:]}")
        return json.loads(line)
