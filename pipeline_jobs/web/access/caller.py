"""The caller of the current request, and what belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from flask import request

from pipeline_jobs.access.api_keys import ALL, ApiKey, Role
from pipeline_jobs.exceptions import RequestError, UnknownJob
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.handle import JobHandle
from pipeline_jobs.jobs.listing import JobQuery
from pipeline_jobs.store.cancelled import Cancelled
from pipeline_jobs.store.rates import Sender
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import Whose
from pipeline_jobs.web.access.throttle import group
from pipeline_jobs.web.asked import asked
from pipeline_jobs.web.problems import Refused

_KEY = "pipeline_jobs.caller"


class Owned(Protocol):
    """What is of a workspace of a tenant."""

    @property
    def tenant_id(self) -> str: ...

    @property
    def workspace_id(self) -> str: ...


Thing = TypeVar("Thing", bound=Owned)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request speaks for.

    Which method for what: `query` for a list of jobs, `narrowed` for other lists; `new_job` and `place` for what is made; `own`, `look` and
    `reaches` for a thing that there is; `tenant` and `one_tenant` where only a tenant is named.
    """

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

    def own(self, thing: Thing, unknown: type[RequestError]) -> Thing:
        """The job, schedule, ... if it is this caller's. Another's is an unknown one.

        :raises unknown: what is said of one that there is not.
        """
        if not self.reaches(thing.tenant_id, thing.workspace_id):
            raise unknown
        return thing

    def look(self, store: Store, kind: str, name: str, unknown: type[RequestError]) -> None:
        """Ask whose a thing is before anything else of it is read: to find that it is another's is the same work as to find none.

        :param kind: of its record's key, which has one part: `name`.
        :raises unknown: it is none of this caller's, or there is none.
        """
        if self.sees_all and self.workspace_id is None:
            return
        tenant_id, workspace_id = store.fields(("tenant_id", "workspace_id"), kind, name)
        if tenant_id is None or not self.reaches(tenant_id, workspace_id):
            raise unknown

    def narrowed(self, tenant_id: str | None, workspace_id: str | None) -> tuple[str | None, str | None]:
        """The tenant and workspace of a list, narrowed to what this caller may see.

        :raises Refused: 403, they are not the key's.
        """
        return self._own("tenant_id", tenant_id), self._own("workspace_id", workspace_id)

    def opens(self, scope: str) -> bool:
        """No token narrows it to another stream."""
        return self.scope in (None, scope)

    def tenant(self, named: str | None) -> str | None:
        """The tenant that a request is about: the named one, else the key's; None: neither.

        :raises Refused: 403, the key is of another.
        """
        return self._own("tenant_id", named)

    def one_tenant(self, named: str | None) -> str:
        """The same, where it must be one.

        :raises Refused: 403, the key is of another; 422, none is named and the key is for all.
        """
        found = self.tenant(named)
        if found is None:
            raise Refused(422, "invalid_input", "tenant_id: required with a key for all tenants", field="tenant_id")
        return found

    @property
    def whose(self) -> Whose:
        """What is this caller's, for the scripts that ask."""
        return Whose(None if self.sees_all else self.tenant_id, self.workspace_id)

    def reaches(self, tenant_id: str, workspace_id: str | None = None) -> bool:
        """What is of this tenant (and workspace) is this caller's."""
        return self.tenant_id in (ALL, tenant_id) and self.workspace_id in (None, workspace_id)

    def new_job(self, new: NewJob, named: set[str]) -> NewJob:
        """The new job as this caller's: what it does not name is the key's, and what it may depend on is what the key sees.

        :param named: the fields that the body has.
        :raises Refused: 403, it names a tenant or workspace that is not the key's.
        """
        tenant_id, workspace_id = self.place(new.tenant_id, new.workspace_id, named)
        if (tenant_id, workspace_id, self.workspace_id) == (new.tenant_id, new.workspace_id, new.depends_within):
            return new
        return replace(new, tenant_id=tenant_id, workspace_id=workspace_id, depends_within=self.workspace_id)

    def place(self, tenant_id: str, workspace_id: str, named: set[str]) -> tuple[str, str]:
        """Whose a new thing is: what the body does not name is the key's.

        :param named: the fields that the body has.
        :raises Refused: 403, it names a tenant or workspace that is not the key's.
        """
        return (
            self._own("tenant_id", tenant_id if "tenant_id" in named else None) or tenant_id,
            self._own("workspace_id", workspace_id if "workspace_id" in named else None) or workspace_id,
        )

    def sender(self, route: str) -> Sender:
        """This caller as the sender of a new job. Its Idempotency-Keys are its workspace's own, if it is bound to one, and the route's."""
        principal = f"key:{self.key_id}" if self.key_id else f"address:{group(request.remote_addr or '')}"
        return Sender(principal, f"{route}\n{self.workspace_id or ''}")

    def query(self, query: JobQuery) -> JobQuery:
        """The filters, narrowed to what this caller may see.

        :raises Refused: 403, they name a tenant or workspace that is not the key's.
        """
        self._own("workspace_id", query.workspace_id)
        return replace(query, tenant_id=self._own("tenant_id", query.tenant_id), within=self.workspace_id)

    def _own(self, field: str, named: str | None) -> str | None:
        own = {"tenant_id": None if self.tenant_id == ALL else self.tenant_id, "workspace_id": self.workspace_id}[field]
        if own is None:
            return named
        if named not in (None, own):
            what = field.removesuffix("_id")
            raise Refused(403, f"foreign_{what}", f"{field}: your key belongs to another {what}", field=field)
        return own


#: Where no key is needed, everything is allowed.
ANYBODY = Caller(ALL, None, Role.ADMIN)


def caller() -> Caller:
    """Who makes this request. Only for routes that are not public."""
    found: Caller = asked().environ[_KEY]
    return found


def maybe_caller() -> Caller | None:
    """Who makes this request; None where nobody was asked."""
    return caller_in(asked().environ)


def caller_in(environ: Mapping[str, Any]) -> Caller | None:
    """The same of a request by its WSGI environment."""
    found: Caller | None = environ.get(_KEY)
    return found


def set_caller(who: Caller) -> None:
    asked().environ[_KEY] = who


@dataclass(frozen=True, slots=True)
class OwnHandle:
    """A job's handle for which another's job is an unknown one. An id may change hands between two calls: each answer is looked at.

    For whoever sees all jobs, too: to AsyncResult an id without a record is another task's, which it would revoke.
    """

    handle: JobHandle
    who: Caller

    def record(self) -> Job:
        return self.who.own(self.handle.record(self.who.whose), UnknownJob)

    def revoke(self) -> Job:
        return self.cancel(whole=True).job

    def cancel(self, whole: bool = False) -> Cancelled:
        """Of a job that had not ended it is written down who asked for its end."""
        return self.handle.cancel(self.who.whose, actor=self.who.actor, whole=whole)

    def forget(self, order: int | None) -> None:
        """:param order: of a job of theirs."""
        self.handle.forget(order)

    def until_ended(self, timeout: float) -> Job:
        self.record()
        return self.who.own(self.handle.until_ended(timeout), UnknownJob)


#: A job's handle as a view gets it.
Handle = JobHandle | OwnHandle
