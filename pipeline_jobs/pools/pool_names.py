"""Pools: kinds of machines. A worker serves one; a stage names the one that runs it (docs/decisions/0016-pools.md).

A pool is known by its name, and `default` by the empty one: in records, in arguments of scripts and here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline_jobs.exceptions import ConfigurationError

#: The pool of every worker and stage that names none.
DEFAULT = ""
#: What people call it.
DEFAULT_NAME = "default"
#: Of a stage that any worker runs: in whatever pool its job is.
ANYWHERE = "*"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
#: What stands behind `jobs.` in the name of a class's queue.
_CLASS = re.compile(r"[0-9a-f]{8}")


def is_pool(name: str) -> bool:
    """Whether another pool than `default` may have this name: it stands in keys, and in the names of queues beside those of classes."""
    return bool(_NAME.fullmatch(name)) and not _CLASS.fullmatch(name) and name != DEFAULT_NAME


def check(name: object, whose: str) -> None:
    """:raises ConfigurationError: the name of a pool is none; `whose` it is stands in front of the message."""
    if not (isinstance(name, str) and (name in (DEFAULT, ANYWHERE) or is_pool(name))):
        raise ConfigurationError(
            f"{whose}: the name of a pool must match {_NAME.pattern} and not be {DEFAULT_NAME!r} (name none) or eight hexadecimal "
            f"digits, not {name!r}"
        )


def shown(pool: str | None) -> str:
    """The name of a pool as people are told it."""
    return pool or DEFAULT_NAME


def served(queues: Iterable[str], jobs: str) -> list[str]:
    """The pools whose queues are among these.

    :param jobs: the queue of the pool `default`; that of the pool X is `{jobs}.X`, and behind both may stand a class.
    """
    found = {DEFAULT} if jobs in queues else set()
    behind = (queue.removeprefix(f"{jobs}.") for queue in queues if queue.startswith(f"{jobs}."))
    return sorted(found | {name for name in behind if is_pool(name)})
