"""The settings of this process as an operator sees them: what holds, where it is from, no secret. For `jobs config`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline_jobs.operation.conditions import drift
from pipeline_jobs.operation.watch import build, fingerprint
from pipeline_jobs.settings import Settings, env_names
from pipeline_jobs.store import presence
from pipeline_jobs.store.presence import About, Process
from pipeline_jobs.store.store import Store

MASK = "***"
#: Stands for this process among the others.
HERE = "this command"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as it holds in this process."""

    variable: str
    value: str
    #: `environment`, `default`, or `store`: the value that was written there last holds for all.
    source: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def effective(settings: Settings, environ: Mapping[str, str], cap: int | None) -> list[Setting]:
    """Each setting. :param cap: the installation's maximum of running jobs, as the store has it."""
    found = [_setting(settings, name, field, environ) for name, field in env_names().items()]
    if cap is None:
        return found
    stored = Setting("PIPELINE_MAX_CONCURRENT_JOBS", str(cap), "store")
    return [stored if one.variable == stored.variable else one for one in found]


def _setting(settings: Settings, name: str, field: str, environ: Mapping[str, str]) -> Setting:
    value, info = getattr(settings, field), Settings.model_fields[field]
    text = str(int(value)) if isinstance(value, bool) else "" if value is None else str(value)
    shown = (MASK if text else "") if not info.repr else masked(text)
    return Setting(name, shown, "environment" if environ.get(name) else "default")


#: A password may hold what a URL should not have unescaped: all up to the last `@`.
_PASSWORD = re.compile(r"^([a-z][a-z0-9+.-]*://[^:@/]*:).*@", re.IGNORECASE | re.DOTALL)
_QUERY = re.compile(r"^([a-z][a-z0-9+.-]*://[^?]*)\?.*$", re.IGNORECASE | re.DOTALL)


def masked(text: str) -> str:
    """URLs (several of a broker are parted by `;`) without the password in them, and without their query, which may have one."""
    return ";".join(_QUERY.sub(rf"\1?{MASK}", _PASSWORD.sub(rf"\1{MASK}@", one)) for one in text.split(";"))


def drifting(store: Store, settings: Settings) -> dict[str, dict[str, list[str]]]:
    """Settings that differ between the processes of this version, this one among them: of each variable the hashes of its values (or
    `default`), and who has each.

    :raises StoreUnavailable:
    """
    now, known = store.now(), presence.processes(store)
    here = Process(HERE, About("api", build(), fingerprint(settings, store.secret())), now, now, now)
    variables = {field: name for name, field in env_names().items()}
    found = drift([*presence.live(known, now), here])
    return {variables[field]: {text or "default": nodes for text, nodes in values.items()} for field, values in found.items()}
