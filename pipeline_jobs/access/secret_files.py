"""Secrets that are generated once and kept in a file: Flower's password, the key that signs links if there is no store."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from pipeline_jobs.exceptions import ConfigurationError

#: The name of the login that Flower has when it is given none, and the file in the data folder with its password.
FLOWER_USER = "flower"
FLOWER_PASSWORD = "flower-password"  # noqa: S105 - a name of a file  # nosec B105
#: The file there with the key that signs links where there is no store.
SIGNING_KEY = "signing-key"
#: Random bytes of a secret; base64 makes 43 characters of them.
RANDOM_BYTES = 32


def kept_secret(path: Path) -> str:
    """The secret in this file; the first to ask draws it. Only the file's owner can read it (mode 0600).

    :return: printable ASCII without spaces, the same for every process and after every restart.
    :raises ConfigurationError: the file cannot be read or made, or it is empty.
    """
    try:
        if not path.exists():
            _draw(path)
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be written ({error}): set PIPELINE_DATA_DIR to a folder that can be written") from None
    if not text:
        raise ConfigurationError(f"{path} is empty: remove it, and a new secret is created")
    return text


def _draw(path: Path) -> None:
    """Write beside it, then link: of two processes at once the later finds the name taken, and both read what the earlier wrote in full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(RANDOM_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    except FileExistsError:
        pass  # another process was earlier
    finally:
        os.unlink(beside)
