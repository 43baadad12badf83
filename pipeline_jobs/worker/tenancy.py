"""The tenant travels with the tasks that a stage starts: into the headers when one is sent, out of them when it runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from celery.signals import before_task_publish, task_postrun, task_prerun

from pipeline_jobs.tenants import TenantContext, current_tenant, with_tenant

_ATTRIBUTE = "_pipeline_jobs_tenant"


def into_headers(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """`before_task_publish`: a task sent for a tenant says so, unless it names one itself."""
    tenant = current_tenant()
    if tenant is not None and headers is not None:
        for name, value in tenant.to_headers().items():
            headers.setdefault(name, value)


def enter(task: Any = None, **_: Any) -> None:
    """`task_prerun`: the task runs for the tenant of its message."""
    request = task.request
    tenant = TenantContext.from_headers({"tenant": getattr(request, "tenant", None), "workspace": getattr(request, "workspace", None)})
    if tenant is not None:
        context: AbstractContextManager[TenantContext] = with_tenant(tenant)
        context.__enter__()
        setattr(request, _ATTRIBUTE, context)


def leave(task: Any = None, **_: Any) -> None:
    """`task_postrun`: the next task of this process starts with no tenant."""
    context = getattr(task.request, _ATTRIBUTE, None)
    if context is not None:
        context.__exit__(None, None, None)


def install() -> None:
    """Connect the three; connecting twice is one connection."""
    before_task_publish.connect(into_headers, dispatch_uid="pipeline-jobs-tenant-out")
    task_prerun.connect(enter, dispatch_uid="pipeline-jobs-tenant-in")
    task_postrun.connect(leave, dispatch_uid="pipeline-jobs-tenant-end")
