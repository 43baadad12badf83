"""The owner of a job: tenant and workspace, as a value, as the current context, and in message headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import lru_cache

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.tracing.within import Within

DEFAULT_TENANT = "default"
DEFAULT_WORKSPACE = "main"

#: Letters, digits, `.`, `_`, `-`; starts with a letter or digit; at most 64. Safe in a key, a path, a header and a label.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: That, for people.
NAME_RULE = "must be 1 to 64 letters, digits, '.', '_' or '-', of which the first is a letter or digit"
#: The same, or `*`: all tenants.
NAME_OR_ALL = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

#: Whose jobs the canaries are (`operation/canary.py`), and what they run: in no list, count, chart or label unless asked for by name.
CANARY_TENANT, CANARY_PIPELINE = "pipeline-jobs", "canary"
#: How the id of each canary ends.
CANARY_SUFFIX = "ca0a4b0"

TENANT_HEADER = "tenant"
WORKSPACE_HEADER = "workspace"


def is_canary(tenant_id: str | None) -> bool:
    """This tenant is the platform's own canary."""
    return tenant_id == CANARY_TENANT


def is_canary_pipeline(pipeline: str | None) -> bool:
    """This pipeline is what canaries run."""
    return pipeline == CANARY_PIPELINE


def check_name(field: str, name: str) -> None:
    """:raises InvalidInput: it is no name of a tenant or workspace; names the field."""
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{field} {NAME_RULE}", field=field)


@lru_cache(maxsize=4096)
def check_owner(tenant_id: str, workspace_id: str) -> None:
    """The same of both. Those that were good are remembered: every job asks.

    :raises InvalidInput: names the field.
    """
    check_name("tenant_id", tenant_id)
    check_name("workspace_id", workspace_id)


@dataclass(frozen=True, slots=True)
class Whose:
    """Of which tenant and workspace a thing must be to be found; None: of any."""

    tenant_id: str | None = None
    workspace_id: str | None = None

    def has(self, tenant_id: str | None, workspace_id: str | None) -> bool:
        return self.tenant_id in (None, tenant_id) and self.workspace_id in (None, workspace_id)


ANYBODYS = Whose()


@dataclass(frozen=True, slots=True)
class TenantContext:
    """A tenant and one of its workspaces."""

    tenant_id: str = DEFAULT_TENANT
    workspace_id: str = DEFAULT_WORKSPACE

    def __post_init__(self) -> None:
        check_owner(self.tenant_id, self.workspace_id)

    def to_headers(self) -> dict[str, str]:
        """As Celery message headers: `{"tenant": ..., "workspace": ...}`."""
        return {TENANT_HEADER: self.tenant_id, WORKSPACE_HEADER: self.workspace_id}

    @classmethod
    def from_headers(cls, headers: Mapping[str, object]) -> TenantContext | None:
        """What `to_headers` wrote, or None if the message carries no (valid) tenant."""
        tenant, workspace = headers.get(TENANT_HEADER), headers.get(WORKSPACE_HEADER, DEFAULT_WORKSPACE)
        if not isinstance(tenant, str) or not isinstance(workspace, str):
            return None
        try:
            return tenant_of(tenant, workspace)
        except InvalidInput:
            return None


@lru_cache(maxsize=4096)
def tenant_of(tenant_id: str, workspace_id: str) -> TenantContext:
    """The same one for each job of a workspace: to check its names is half of what a job's context costs. :raises InvalidInput:"""
    return TenantContext(tenant_id, workspace_id)


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What a tenant may; None: the default of the installation, or no limit."""

    #: Its part of the slots, relative to other tenants'. Default 1.
    weight: float | None = None
    #: Most slots at once.
    max_concurrent: int | None = None
    #: Most jobs that wait.
    max_queued: int | None = None
    #: Most jobs that wait for a signal; of one more the run fails. Default: `PIPELINE_MAX_PARKED_PER_TENANT`.
    max_parked: int | None = None
    #: Jobs submitted a second, with a second's worth (at least one) in reserve.
    submit_rate: float | None = None
    #: Jobs started a second, likewise.
    start_rate: float | None = None
    #: Starts nothing; what runs goes on.
    paused: bool | None = None
    #: Most bytes of artifacts and uploads kept; at that no new job or upload is taken. Default: `PIPELINE_MAX_STORAGE_BYTES_PER_TENANT`.
    max_storage_bytes: int | None = None
    #: Most ended jobs that are kept; of more, those that ended first are removed. Default: `PIPELINE_MAX_ENDED_PER_TENANT`.
    max_ended: int | None = None
    #: Most bytes of copies in Google Drive; 0: it has none. Default: `PIPELINE_MAX_DRIVE_BYTES_PER_TENANT`.
    max_drive_bytes: int | None = None
    #: Most tokens of the operator's language model that its jobs may use in a day; 0: none. Default: `PIPELINE_LLM_TOKENS_PER_TENANT`.
    daily_llm_tokens: int | None = None
    #: Longest that a job may run, in seconds, where that of its pipeline is longer.
    max_run_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not 0.001 <= self.weight <= 1000:
            raise InvalidInput("weight must be 0.001..1000", field="weight")
        for name in (
            "max_concurrent",
            "max_queued",
            "max_parked",
            "submit_rate",
            "start_rate",
            "max_storage_bytes",
            "max_ended",
            "max_drive_bytes",
            "daily_llm_tokens",
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1e15:
                raise InvalidInput(f"{name} must be 0..{10**15}", field=name)
        if self.max_run_seconds is not None and not 1 <= self.max_run_seconds <= 31_536_000:
            raise InvalidInput("max_run_seconds must be 1..31536000", field="max_run_seconds")

    def to_dict(self) -> dict[str, float | int | bool | None]:
        return {field: getattr(self, field) for field in self.__slots__}

    @classmethod
    def from_numbers(cls, flat: Mapping[str, float]) -> TenantLimits:
        """From what the store keeps: numbers for what is set."""
        values: dict[str, float | int | bool] = {name: int(value) if name in WHOLE_LIMITS else value for name, value in flat.items()}
        if "paused" in values:
            values["paused"] = bool(values["paused"])
        return cls(**values)  # type: ignore[arg-type]


#: Limits that are whole numbers.
WHOLE_LIMITS = frozenset(f.name for f in fields(TenantLimits) if f.type == "int | None")

_current: ContextVar[TenantContext | None] = ContextVar("pipeline_jobs_tenant", default=None)


def current_tenant() -> TenantContext | None:
    """The tenant for whom this code runs, or None outside `with_tenant`."""
    return _current.get()


def with_tenant(context: TenantContext) -> AbstractContextManager[TenantContext]:
    """Run a block for a tenant: `with with_tenant(TenantContext("acme", "main")): ...`

    A ContextVar: each thread started inside begins *without* it unless it copies the context.
    """
    return Within(_current, context)
