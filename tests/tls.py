"""A server that speaks TLS alone, on loopback, with a certificate of an authority of its own. The server that we bring has no TLS: this is
Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.servers import Server

#: By whatever name it is there: Debian's `valkey-tools` has the server as `valkey-check-rdb`, which is what it is called by that tells it
#: what to be.
PROGRAM = next(filter(None, map(shutil.which, ("valkey-server", "redis-server", "valkey-check-rdb", "redis-check-rdb"))), None)
PASSWORD = "p/a:s s"
_AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
_SERVER = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n"


def tls_program() -> str:
    """A server with TLS. On CI its absence is a failure: `.ci/run` installs it."""
    if PROGRAM and shutil.which("openssl"):
        return PROGRAM
    missing = "NO SERVER WITH TLS IS HERE (Debian: apt install valkey-tools openssl)"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


class Authority:
    """One that signs certificates for `localhost`: `file` is its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder, self.file = folder, folder / "authority.pem"
        self._make("authority", _AUTHORITY)

    def sign(self) -> tuple[Path, Path]:
        """:return: the files of a certificate and its key."""
        self._make("server", _SERVER, "-CA", str(self.file), "-CAkey", str(self._folder / "authority.key"))
        return self._folder / "server.pem", self._folder / "server.key"

    def _make(self, name: str, extensions: str, *signed_by: str) -> None:
        config = self._folder / f"{name}.conf"
        config.write_text(f"[req]\ndistinguished_name=of\nx509_extensions=as\n[of]\n[as]\n{extensions}")
        command = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
            f"/CN={name}", "-config", str(config), "-keyout", str(self._folder / f"{name}.key"), "-out", str(self._folder / f"{name}.pem"),
        ]  # fmt: skip
        subprocess.run([*command, *signed_by], check=True, capture_output=True)


class TlsServer(Server):
    """Takes no connection without TLS; clients need no certificate."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.authority = authority
        certificate, key = authority.sign()
        super().__init__(folder, requirepass=PASSWORD, tls_cert_file=str(certificate), tls_key_file=str(key), tls_auth_clients="no")

    @property
    def url(self) -> str:
        """As docs/high-availability.md spells it."""
        return f"{self.address}?ssl_ca_certs={self.authority.file}"

    @property
    def address(self) -> str:
        """Without a word about whom to believe: those that the system does."""
        return f"rediss://:{quote(PASSWORD, safe='')}@localhost:{self.port}/0"

    def _command(self) -> list[str]:
        program = self.folder / "valkey-server"
        if not program.is_symlink():
            program.symlink_to(tls_program())
        return [str(program), "--port", "0", "--tls-port", str(self.port)]
