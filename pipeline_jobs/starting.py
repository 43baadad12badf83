"""What a process begins with: its environment, and how it says that it cannot start."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from pipeline_jobs.exceptions import ConfigurationError

#: What Kubernetes (and Docker's links) puts into the environment of every pod for a service whose name begins like our settings.
_OF_SERVICE = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
#: Of those `..._PORT` may be the name of a setting, or nearly: its value tells.
_PORT_OF_SERVICE = re.compile(r"(tcp|udp|sctp)://[0-9A-Za-z.:\[\]-]+:[0-9]{1,5}")


@contextmanager
def one_line_errors(code: int = 2) -> Iterator[None]:
    """For what a process begins with: a wrong setting ends it with one line, and no traceback. :raises SystemExit: with this code."""
    try:
        yield
    except ConfigurationError as error:
        sys.stderr.write(f"Error: {error.message}\n")
        raise SystemExit(code) from None


def is_of_service(name: str, value: str) -> bool:
    """A variable is what Kubernetes or Docker says of a service."""
    return bool(_OF_SERVICE.search(name) or (name.endswith("_PORT") and _PORT_OF_SERVICE.fullmatch(value)))


def server_url(text: str) -> str:
    """:raises ValueError: this is no address of a server."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        # Its own text may quote a part of the password.
        raise ValueError("this is no URL: characters such as / in a password are written as %2F") from None
    if url.scheme not in ("redis", "rediss", "unix") or not (url.path if url.scheme == "unix" else url.hostname):
        raise ValueError("must be redis://HOST:PORT/NUMBER, rediss://... or unix://PATH")
    if url.scheme != "unix" and (port == 0 or not re.fullmatch(r"/?[0-9]{0,5}", url.path)):
        raise ValueError("the port or the number of the database is wrong")
    return text
