"""A PostgreSQL server for tests of the history, and for the peer of the benchmarks that needs one: the newest that the machine has."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.stack import free_port

#: Who runs it if we are root: the server refuses to be run by root.
USER = "postgres"


def programs() -> Path | None:
    """The folder of initdb and postgres, if there is one."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    if found := shutil.which("initdb"):
        folders.append(Path(found).parent)
    return next((folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()), None)


class Postgres:
    """One server in a folder of its own, on loopback."""

    def __init__(self, folder: Path, *, synchronous: bool) -> None:
        """:param synchronous: a commit waits for the disk, as a write to our store does with `appendfsync always`."""
        home = programs()
        if home is None:
            raise RuntimeError("PostgreSQL is not installed (Debian: apt install postgresql)")
        self.port = free_port()
        self._user = USER if os.geteuid() == 0 else None
        data = folder / "data"
        data.mkdir(parents=True)
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(data, account.pw_uid, account.pw_gid)
            for parent in (folder, *folder.parents[:2]):
                if parent.owner() == "root" and parent != Path(parent.anchor):
                    parent.chmod(parent.stat().st_mode | 0o011)
        with (folder / "postgres.log").open("ab") as log:
            initdb = [str(home / "initdb"), "-D", str(data), "-U", "bench", "--auth=trust", "--no-sync"]
            subprocess.run(initdb, check=True, stdout=log, stderr=log, user=self._user, cwd="/")
            command = [
                str(home / "postgres"), "-D", str(data), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                "-c", "unix_socket_directories=", "-c", f"synchronous_commit={'on' if synchronous else 'off'}",
            ]  # fmt: skip
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd="/")
        deadline = time.monotonic() + 60
        while not _ready(data / "postmaster.pid"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not come up:\n{(folder / 'postgres.log').read_text('utf-8')[-2000:]}")
            time.sleep(0.05)

    @property
    def connection(self) -> str:
        """For psycopg."""
        return f"host=127.0.0.1 port={self.port} user=bench dbname=postgres"

    def stop(self) -> None:
        """As PostgreSQL calls it, fast: it does not wait for clients, of which a test's own process may have some in its pool."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)


def _ready(file: Path) -> bool:
    """What the server itself says, in the last line of its file."""
    try:
        return file.read_text("utf-8").split()[-1:] == ["ready"]
    except FileNotFoundError:
        return False
