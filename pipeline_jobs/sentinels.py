"""The address of a store that Sentinel watches over.

    sentinel://:PASSWORD@one:26379;sentinel://two:26379;sentinel://three:26379/0?master_name=pipeline

As Celery spells it, with the name of the master in the query. User and password, of the first part, are the servers'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SCHEME = "sentinel://"
DEFAULT_PORT = 26379


@dataclass(frozen=True, slots=True)
class Watched:
    """What such an address says."""

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
