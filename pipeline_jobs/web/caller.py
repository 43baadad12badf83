"""Who makes the request that is being answered, and what is theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flask import request

from pipeline_jobs.api_keys import ALL, ApiKey, Role
from pipeline_jobs.exceptions import UnknownJob
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.listing import JobQuery
from pipeline_jobs.tenants import DEFAULT_TENANT, DEFAULT_WORKSPACE
from pipeline_jobs.web.ports import JobHandle
from pipeline_jobs.web.problems import Refused

_KEY = "pipeline_jobs.caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request speaks for."""

    #: `*`: of all tenants.
    tenant_id: str
    #: None: of all workspaces of the tenant.
    workspace_id: str | None
    role: Role
    #: None: no key was needed.
    key_id: str | None = None
    #: The only stream that it opens (`stream_tokens`); None: no token is in play.
    scope: str | None = None

    @classmethod
    def of(cls, key: ApiKey) -> Caller:
        return cls(key.tenant_id, key.workspace_id, key.role, key.key_id)

    @property
    def actor(self) -> str:
        """The word for it in the audit log."""
        return "loopback" if self.key_id is None else f"key:{self.key_id}"

    @property
    def sees_all(self) -> bool:
        return self.tenant_id == ALL

    def sees(self, job: Job) -> bool:
        """The job is this caller's."""
        return self.sees_of(job.tenant_id, job.workspace_id)

    def sees_of(self, tenant_id: str, workspace_id: str) -> bool:
        """What is of this tenant and workspace is this caller's."""
        return self.tenant_id in (ALL, tenant_id) and self.workspace_id in (None, workspace_id)

    def opens(self, scope: str) -> bool:
        """No token narrows it to another stream."""
        return self.scope in (None, scope)

    def tenant(self, named: str | None) -> str | None:
        """The tenant that a request is about: the named one, else the key's; None: neither.

        :raises Refused: 403, the key is of another.
        """
        return self._own("tenant_id", named)

    def reaches(self, tenant_id: str, workspace_id: str | None = None) -> bool:
        """What is of this tenant (and workspace) is this caller's."""
        return self.tenant_id in (ALL, tenant_id) and self.workspace_id in (None, workspace_id)

    def place(self, tenant_id: str | None, workspace_id: str | None) -> tuple[str, str]:
        """Tenant and workspace of something new; what the request does not name is the key's, else the default.

        :raises Refused: 403, it names one that is not the key's.
        """
        return self._own("tenant_id", tenant_id) or DEFAULT_TENANT, self._own("workspace_id", workspace_id) or DEFAULT_WORKSPACE

    def new_job(self, new: NewJob, named: set[str]) -> NewJob:
        """The new job as this caller's: what it does not name is the key's.

        :param named: the fields that the body has.
        :raises Refused: 403, it names a tenant or workspace that is not the key's.
        """
        return replace(
            new,
            tenant_id=self._own("tenant_id", new.tenant_id if "tenant_id" in named else None) or new.tenant_id,
            workspace_id=self._own("workspace_id", new.workspace_id if "workspace_id" in named else None) or new.workspace_id,
        )

    def query(self, query: JobQuery) -> JobQuery:
        """The filters, narrowed to what this caller may see.

        :raises Refused: 403, they name a tenant or workspace that is not the key's.
        """
        self._own("workspace_id", query.workspace_id)
        return replace(query, tenant_id=self._own("tenant_id", query.tenant_id), within=self.workspace_id)

    def scope_of(self, tenant_id: str | None, workspace_id: str | None) -> tuple[str | None, str | None]:
        """The tenant and workspace that a request is about: the key's, else those it names; None: all.

        :raises Refused: 403, it names one that is not the key's.
        """
        return self._own("tenant_id", tenant_id), self._own("workspace_id", workspace_id)

    def _own(self, field: str, named: str | None) -> str | None:
        own = {"tenant_id": None if self.tenant_id == ALL else self.tenant_id, "workspace_id": self.workspace_id}[field]
        if own is None:
            return named
        if named not in (None, own):
            what = field.removesuffix("_id")
            raise Refused(403, f"foreign_{what}", f"{field}: your key is of another {what}", field=field)
        return own


#: Where no key is needed, everything is allowed.
ANYBODY = Caller(ALL, None, Role.ADMIN)


def caller() -> Caller:
    """Who makes this request. Only for routes that are not public."""
    found: Caller = request.environ[_KEY]
    return found


def set_caller(who: Caller) -> None:
    request.environ[_KEY] = who


@dataclass(frozen=True, slots=True)
class OwnHandle:
    """A job's handle for which another's job is an unknown one. An id may change hands between two calls: each answer is looked at."""

    handle: JobHandle
    who: Caller

    def record(self) -> Job:
        return self._own(self.handle.record())

    def revoke(self) -> Job:
        self.record()
        return self._own(self.handle.revoke())

    def forget(self) -> None:
        self.record()
        self.handle.forget()

    def until_ended(self, timeout: float) -> Job:
        self.record()
        return self._own(self.handle.until_ended(timeout))

    def _own(self, job: Job) -> Job:
        if not self.who.sees(job):
            raise UnknownJob
        return job
