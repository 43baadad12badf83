"""What a process begins with: its environment, settings of what it may use beside, how many files it may have open, how it says that it
cannot start, and that it ends with its parent."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from dotenv import load_dotenv
from pydantic import AfterValidator, BaseModel, Field

from pipeline_jobs.exceptions import ConfigurationError

#: What Kubernetes (and Docker's links) puts into the environment of every pod for a service whose name begins like our settings.
_OF_SERVICE = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
#: Of those `..._PORT` may be the name of a setting, or nearly: its value tells.
_PORT_OF_SERVICE = re.compile(r"(tcp|udp|sctp)://[0-9A-Za-z.:\[\]-]+:[0-9]{1,5}")

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: in a child between fork and exec nothing should be imported.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with(parent: int) -> None:
    """In a child: be killed when this parent dies (Linux; elsewhere nothing), at once if it is dead already."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


#: Most files that a process allows itself to open. There are programs, and a job may start one, that go over all numbers which their files
#: may have, and in a container the hard limit can be a thousand million.
MOST_FILES = 65_536


def allow_files() -> None:
    """Raise the soft limit of open files to the hard one, for this process and those that it will start. The usual 1,024 are for programs
    that call select(), which ours do not, and an API process takes about as many connections, and has files beside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    # A system may have a limit below the hard one (macOS).
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def one_line_errors(code: int = 2) -> Iterator[None]:
    """For what a process begins with: a wrong setting ends it with one line, and no traceback. :raises SystemExit: with this code."""
    try:
        yield
    except ConfigurationError as error:
        sys.stderr.write(f"Error: {error.message}\n")
        raise SystemExit(code) from None


def environment() -> Mapping[str, str]:
    """The environment, into which a file `.env` of the working directory was taken: processes that are started get it too. What the
    environment says already stays. With `PYTHON_DOTENV_DISABLED=1` no file is read.

    :raises ConfigurationError: it cannot be read.
    """
    try:
        load_dotenv(".env")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f".env cannot be read: {error}") from None
    return os.environ


def is_of_service(name: str, value: str) -> bool:
    """A variable is what Kubernetes or Docker says of a service."""
    return bool(_OF_SERVICE.search(name) or (name.endswith("_PORT") and _PORT_OF_SERVICE.fullmatch(value)))


SCHEME = "sentinel://"
DEFAULT_PORT = 26379


@dataclass(frozen=True, slots=True)
class Watched:
    """What the address of a store says that Sentinel watches over, in Celery's spelling, with the name of the master in the query:
    `sentinel://:PASSWORD@one:26379;sentinel://two:26379/0?master_name=NAME`. User and password, of the first part, are the servers'."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    number: int
    #: `username` and `password` of the servers, those that are given.
    login: tuple[tuple[str, str], ...]

    @property
    def broker_url(self) -> str:
        """The same for kombu, which takes the name of the master as an option of its transport."""
        said = dict(self.login)
        login = f"{quote(said.get('username', ''), safe='')}:{quote(said.get('password', ''), safe='')}@" if said else ""
        return ";".join(f"{SCHEME}{login}{host}:{port}/{self.number}" for host, port in self.sentinels)


def watched(url: str) -> Watched:
    """:raises ValueError: it is no such address; its text quotes nothing of it."""
    parts = url.split(";")
    if not all(part.startswith(SCHEME) for part in parts):
        raise ValueError("each part begins with sentinel://")
    try:
        split = [urlsplit(part) for part in parts]
        sentinels = tuple((part.hostname or "", part.port or DEFAULT_PORT) for part in split)
    except ValueError:
        raise ValueError("this is no URL: characters such as / in a password are written as %2F") from None
    last, query = split[-1], dict(parse_qsl(split[-1].query))
    if not all(host for host, _ in sentinels) or not re.fullmatch(r"/?[0-9]{0,5}", last.path):
        raise ValueError("a host or the number of the database is wrong")
    if set(query) != {"master_name"}:
        raise ValueError("must end with ?master_name=NAME, as sentinel monitor has it")
    given = (("username", split[0].username), ("password", split[0].password))
    login = tuple((name, unquote(value)) for name, value in given if value)
    return Watched(sentinels, query["master_name"], int(last.path.strip("/") or 0), login)


def server_url(text: str) -> str:
    """:raises ValueError: this is no address of a server."""
    if text.startswith(SCHEME):
        watched(text)
        return text
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        # Its own text may quote a part of the password.
        raise ValueError("this is no URL: characters such as / in a password are written as %2F") from None
    if url.scheme not in ("redis", "rediss", "unix") or not (url.path if url.scheme == "unix" else url.hostname):
        raise ValueError("must be redis://HOST:PORT/NUMBER, rediss://..., unix://PATH or sentinel://HOST:PORT;...?master_name=NAME")
    if url.scheme != "unix" and (port == 0 or not re.fullmatch(r"/?[0-9]{0,5}", url.path)):
        raise ValueError("the port or the number of the database is wrong")
    return text


Url = Annotated[str, AfterValidator(lambda text: text.rstrip("/"))]


def setting(default: Any, purpose: str, *, env: str | None = None, **limits: Any) -> Any:
    """:param env: its environment variable, where that is not `PIPELINE_` and its name (`settings.env_names`)."""
    return Field(default, validation_alias=env, description=purpose, **limits)


class OutsideSettings(BaseModel):
    """Services of others that the installation uses: fields of `settings.Settings`."""

    store_replicas: int = setting(
        0,
        "A job is accepted once so many replicas have it on their disks, too (WAITAOF); if they do not within 5 s, the answer is 503. "
        "With Sentinel: 1, or a failover may lose accepted jobs.",
        ge=0,
        le=5,
    )
    broker_queue_type: str = setting(
        "classic",
        "Type of the queues on RabbitMQ: `classic`, or `quorum` for a cluster of three nodes. Delete the queues before you change it.",
        pattern="^(classic|quorum)$",
    )
    flower_url: str = setting("", "Address of Flower for the link on the page On call.", pattern=r"^(https?://\S+)?$")
    grafana_url: str = setting(
        "", "Address of Grafana, or of its dashboard of this installation, for the same.", pattern=r"^(https?://\S+)?$"
    )
    gdrive_credentials: str = setting(
        "", "File with the key of a Google service account. With it, results of `media` are copied to Google Drive. Extra `[gdrive]`."
    )
    gdrive_folder: str = setting(
        "",
        "Id of the folder of Google Drive, or of the shared drive, in which each tenant gets a folder for its copies.",
        pattern=r"^[A-Za-z0-9_-]{0,128}$",
    )
    gdrive_url: Url = setting("https://www.googleapis.com", "Address of Google's API.", pattern=r"^https?://[^/?#@]+/?$")
    llm_url: Url = setting(
        "",
        "Address of a server of OpenAI's chat API (http://HOST:PORT/v1), which summarises transcripts of jobs that ask for it "
        "(`summary_by`). Empty: there is none.",
        pattern=r"^(https?://[^?#@\s]+)?$",
    )
    llm_key_file: str = setting("", "File with the key of that server. Empty: it needs none.")
    llm_model: str = setting("default", "Name of the model that it is asked for.", pattern=r"^[!-~]{1,200}$")
    llm_characters: int = setting(
        48_000, "Maximum number of characters of a transcript that it is given; of a longer one, the beginning and the end.", ge=100
    )
    llm_tokens_per_tenant: int = setting(
        200_000,
        "Maximum number of tokens that a tenant's jobs may use of it per day (UTC), unless its limits set another value. 0: only those "
        "tenants may use it whose limits say so.",
        ge=0,
        le=10**12,
    )
    max_drive_bytes_per_tenant: int = setting(
        50 * 1024**3,
        "Maximum size of a tenant's copies in Google Drive in total, in bytes, unless its limits set another value; what is larger is not "
        "copied. 0: only those tenants have copies whose limits say so.",
        ge=0,
        le=10**15,
    )


class HistorySettings(BaseModel):
    """A part of `Settings`: where ended jobs are kept for long, and for how long."""

    history_url: str = setting(
        "",
        "Database to which ended jobs are moved before their records are deleted: `sqlite:///PATH` or `postgresql://...`. Needs the extra "
        "`history`. Empty: there is no history.",
        pattern=r"^($|sqlite:///.|postgresql(\+psycopg)?://.)",
        repr=False,
    )
    history_seconds: float = setting(5, "How often beat looks for ended jobs that are to be moved into the history, in seconds.", gt=0)
    history_retention_days: float = setting(400, "How long a job is kept in the history after its end, in days. 0: for ever.", ge=0)
    history_max_waiting: int = setting(
        100_000,
        "Maximum number of ended jobs past their time that are kept while the history's database is away. Of more, those of the tenants "
        "with the most are deleted without having been moved.",
        ge=0,
    )
