"""The processes of an installation, as they announce themselves: what each is, since when, and what it found wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from pipeline_jobs.exceptions import ConfigurationError, StoreUnavailable
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.connection import store_errors
from pipeline_jobs.store.contract import ms
from pipeline_jobs.store.reader import Reader
from pipeline_jobs.store.runner import Runner

#: How often a process announces itself; after how long without a word it is lost; how long that is remembered. In seconds.
ANNOUNCE_SECONDS, LOST_SECONDS, KEEP_SECONDS = 5.0, 20.0, 3600.0


@dataclass(frozen=True, slots=True)
class About:
    """What a process says of itself."""

    #: `api`, `jobs`, `maintenance`, `worker` (of other queues) or `beat`.
    kind: str
    #: Its version and a hash of its code: `1.0.0+1a2b3c4d`.
    version: str = ""
    #: Hashes of its settings that are not the defaults, by field.
    settings: Mapping[str, str] = field(default_factory=dict)
    #: How far its clock is ahead of the server's, in ms; None: it could not be measured.
    skew_ms: int | None = None
    #: What it found wrong, by the names of `operation.conditions`.
    findings: Mapping[str, str] = field(default_factory=dict)
    #: Why it does not start; empty: it has started.
    refused: str = ""
    #: The highest schema of records that it reads; 0: it does not say.
    schema: int = 0


@dataclass(frozen=True, slots=True)
class Process:
    """A process that has announced itself. Times are Unix ms of the server."""

    #: `{node}/{8 hex}`; of a job worker its id.
    name: str
    about: About
    began: int
    #: Since when without a gap.
    steady: int
    last: int
    #: Another one of its node has begun since its last word, or has ended on purpose long after it: nobody misses it.
    followed: bool = False

    @property
    def node(self) -> str:
        """What a restart keeps: `jobs@host`."""
        return self.name.partition("/")[0]

    def silent_seconds(self, now: int) -> float:
        return (now - self.last) / 1000

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "began": self.began, "last": self.last, **asdict(self.about)}


def announce(store: Runner, name: str, about: About) -> None:
    """:raises StoreUnavailable:"""
    _say(store, name, json.dumps(asdict(about), separators=(",", ":")), leaving=False)


def leave(store: Runner, name: str) -> None:
    """It ends on purpose: nobody need look for it, nor for those of its node that it followed. :raises StoreUnavailable:"""
    _say(store, name, "", leaving=True)


def _say(store: Runner, name: str, about: str, *, leaving: bool) -> None:
    store.run("announce_process", process=name, about=about, life=ms(3 * ANNOUNCE_SECONDS), keep=ms(KEEP_SECONDS), leaving=leaving)


def tries_artifacts(store: Runner, name: str, seconds: float) -> bool:
    """Whether it is this process that tries the artifact store by a write: one of an installation is enough.

    :param seconds: when it does not ask again for so long, another one does. :raises StoreUnavailable:
    """
    return bool(store.run("try_artifacts", process=name, life=ms(seconds)))


def processes(store: Reader) -> list[Process]:
    """All that are known, by name. :raises StoreUnavailable:"""
    return _read_all(store.record("processes"))


@dataclass(frozen=True, slots=True)
class Census:
    """Who is there, of one moment."""

    #: The server's clock, in ms.
    now: int
    #: All that are known, by name.
    processes: list[Process]
    #: Names of live job workers and API processes that do not say what they are: those of earlier versions.
    earlier: list[str]


def census(store: Reader) -> Census:
    """:raises StoreUnavailable:"""
    # In one transaction: else one that begins or ends between two looks would pass for one of an earlier version.
    with store_errors(), store.client.pipeline() as pipe:
        pipe.time()
        pipe.hgetall(store.keys("processes"))
        for key in ("workers", "apis"):
            pipe.zrange(store.keys(key), 0, -1, withscores=True)
        (seconds, micros), rows, *members = pipe.execute()
    now = seconds * 1000 + micros // 1000
    live = [name for name, until in chain(*members) if until > now]
    return Census(now, _read_all(rows), [name for name in live if name not in rows])


def refuse_other_queues(store: Reader, settings: Settings) -> None:
    """As a process starts: none of a version whose queues had no prefix may be there. Each would read queues that the other does not write,
    and nobody would hear of it. A store that is away is not waited for.

    :raises ConfigurationError: names them.
    """
    if not settings.celery_prefix:
        return
    try:
        earlier = census(store).earlier
    except StoreUnavailable:
        return
    if earlier:
        names = ", ".join(sorted(name.partition("/")[0] for name in earlier))
        raise ConfigurationError(
            f"PIPELINE_KEY_PREFIX: {names} of an earlier version, whose queues have no prefix, would not work with this process: drain the "
            "installation and stop them first (docs/operations.md)"
        )


def _read_all(rows: Mapping[str, str]) -> list[Process]:
    return sorted((_read(name, row) for name, row in rows.items()), key=lambda one: one.name)


def _read(name: str, row: str) -> Process:
    began, steady, last, text = row.split(" ", 3)
    said = json.loads(text)
    # A newer process may say more.
    about = About(**{key: said[key] for key in said.keys() & About.__dataclass_fields__.keys()})
    return Process(name, about, int(began), int(steady), int(last), followed=said.get("followed", False))


def live(known: Iterable[Process], now: int) -> list[Process]:
    """Those that have announced themselves lately, and have started."""
    return [one for one in known if one.silent_seconds(now) <= LOST_SECONDS and not one.about.refused]


def lost(known: Iterable[Process], now: int) -> list[Process]:
    """Those that have ended without a word, or stand still: killed, or wedged.

    While nobody could announce itself (the server was away), nobody is lost: another process must have done so without a gap for as long.
    One in whose place another of its node has begun is missed by nobody, whatever became of that one since.
    """
    # Rows are swept when a process begins; what has been silent for that long is no news.
    known = [one for one in known if not one.about.refused and one.silent_seconds(now) <= KEEP_SECONDS]
    if not any(now - one.steady >= 1000 * LOST_SECONDS and one.silent_seconds(now) <= LOST_SECONDS for one in known):
        return []
    # One of an earlier version marks nobody as followed. It is known by its row, as long as that is there.
    newest: dict[str, int] = {}
    for one in known:
        newest[one.node] = max(newest.get(one.node, 0), one.began)
    silent = [one for one in known if one.silent_seconds(now) > LOST_SECONDS and not one.followed]
    return [one for one in silent if newest[one.node] <= one.last]
